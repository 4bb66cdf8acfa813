"""`dltrain eval` with a model that adapts, and metrics that no task reports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dltrain.errors import DataError, Diverged, RequirementNotMet, UsageError
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.tasks.adaptive_language import DynamicEvaluation, GradientSquares, NeuralCache, compute_root_mean_squares
from support.commands import call, good
from support.files import lines
from support.language import ToyTask, measured, passages, random_text

Write = Callable[[Mapping[str, Any]], Path]

PLUGIN = '''
import math

from support.language import ToyLSTM, ToyTask, passages, random_text

from dltrain.goal import Goal
from dltrain.options import PositiveInt
from dltrain.registry import datasets, models, tasks
from dltrain.task import Step


@datasets.register("repeated", data="toy")
class Repeated:
    """Eight times the same random text.

    Options:
        columns: of the training text.
        sequence_length: rows of a window.
        evaluation_batch_size: columns of an evaluation.
    """

    assets, fingerprint, notice = {}, {}, None

    def __init__(self, name, seed, assets, *, columns: PositiveInt = 4, sequence_length: PositiveInt = 9,
                 evaluation_batch_size: PositiveInt = 2):
        self.name, self.length = name, sequence_length
        self.columns, self.evaluation_columns = columns, evaluation_batch_size

    def text(self, columns, seed):
        return passages(random_text(20, columns, seed).repeat(8, 1), self.length)

    def training(self):
        return self.text(self.columns, 1)

    def validation(self):
        return self.text(self.evaluation_columns, 2)

    def test(self):
        return self.text(self.evaluation_columns, 3)


@datasets.register("plain", data="toy")
class Plain(Repeated):
    """The same without options."""

    def __init__(self, name, seed, assets):
        super().__init__(name, seed, assets)


@models.register("toy_lstm")
class Model(ToyLSTM):
    """A small one."""

    def __init__(self):
        super().__init__()


@tasks.register("toy_language", data="toy", sizes=())
class Task(ToyTask):
    """Perplexity."""

    goal, sizes = Goal("perplexity", "min"), {}

    def __init__(self, assets):
        pass

    def step(self, model, batch, carry):
        reading = model(batch.inputs, carry)
        return Step(model.nats(reading.features.flatten(0, 1), batch.targets.flatten()).mean(), reading.state)

    def report(self, counts):
        loss = float(counts["nats"] / counts["tokens"])
        return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
'''


def fit(folder: Path, dataset: str) -> Path:
    (folder / "toy.py").write_text(PLUGIN)
    config = folder / "toy.yaml"
    config.write_text(
        f"""
task: toy_language
data: {dataset}
model: toy_lstm
optimizer: {{name: sgd, learning_rate: 0.1}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
plugins: [toy.py]
"""
    )
    good("fit", config, "-o", folder / "run", "-q")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("repeated"), "repeated")


def found(run: Path, *words: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(good("eval", run, "--json", *words).stdout)
    return result


def perplexity_of(run: Path, adapted: Any, length: int) -> float:
    """Of the run's model on its test text in one column."""
    model = load_trained(find_checkpoint(run)).model
    counts = measured(model, adapted, passages(random_text(20, 1, 3).repeat(8, 1), length))
    return math.exp(float(counts["nats"] / counts["tokens"]))


def test_a_neural_cache(run: Path) -> None:
    result = found(run, "--adapt", "cache=30,weight=0.4,flatness=50")
    assert result["adaptation"] == {"method": "neural_cache", "size": 30, "weight": 0.4, "flatness": 50.0}
    expected = perplexity_of(run, NeuralCache(ToyTask(), 30, 0.4, 50.0), 9)
    assert result["metrics"]["perplexity"] == pytest.approx(expected, rel=1e-9)
    assert lines(run / "evaluations.jsonl")[-1]["adaptation"] == result["adaptation"]
    plain = found(run)
    assert "adaptation" not in plain
    assert expected < 0.9 * plain["metrics"]["perplexity"]
    defaults = found(run, "--adapt", "cache=30")["adaptation"]
    assert defaults == {"method": "neural_cache", "size": 30, "weight": 0.1, "flatness": 1.0}


def test_dynamic_evaluation(run: Path) -> None:
    result = found(run, "--adapt", "dynamic=0.5,decay=0.01,window=7")
    numbers = {"learning_rate": 0.5, "decay": 0.01, "window": 7, "rms": False}
    assert result["adaptation"] == {"method": "dynamic_evaluation", **numbers}
    expected = perplexity_of(run, DynamicEvaluation(ToyTask(), 0.5, 0.01), 7)
    assert result["metrics"]["perplexity"] == pytest.approx(expected, rel=1e-9)
    numbers = {"learning_rate": 0.5, "decay": 0.0, "window": 5, "rms": False}
    assert found(run, "--adapt", "dynamic=0.5")["adaptation"] == {"method": "dynamic_evaluation", **numbers}


def test_dynamic_evaluation_by_the_training_texts_gradients(run: Path) -> None:
    result = found(run, "--adapt", "dynamic=1e-3, rms=true, decay=0.02")
    assert result["adaptation"]["rms"] is True
    training = passages(random_text(20, 4, 1).repeat(8, 1), 5)
    roots = compute_root_mean_squares(
        measured(load_trained(find_checkpoint(run)).model, GradientSquares(ToyTask()), training)
    )
    expected = perplexity_of(run, DynamicEvaluation(ToyTask(), 1e-3, 0.02, roots), 5)
    assert result["metrics"]["perplexity"] == pytest.approx(expected, rel=1e-9)


def test_the_first_line_says_how_it_adapted(run: Path) -> None:
    text = good("eval", run, "--adapt", "cache=30").stdout
    assert text.startswith("test split of repeated, neural cache (size 30, weight 0.1, flatness 1), checkpoint step-")
    text = good("eval", run, "--adapt", "dynamic=1e-4,rms=true", "--split", "validation").stdout
    assert text.startswith(
        "validation split of repeated, dynamic evaluation (learning rate 0.0001, decay 0, window 5, rms), checkpoint"
    )


@pytest.mark.parametrize(
    ("adapt", "method", "key"),
    [
        ("dynamic=1e30", "dynamic evaluation (learning rate 1e+30, decay 0, window 5)", "dynamic"),
        ("weight=1,cache=1", "neural cache (size 1, weight 1, flatness 1)", "weight"),
    ],
)
def test_what_diverges_leaves_no_record(run: Path, adapt: str, method: str, key: str) -> None:
    found(run)
    before = (run / "evaluations.jsonl").read_text()
    diverged = call("eval", run, "--adapt", adapt)
    assert isinstance(diverged.exception, Diverged)
    assert str(diverged.exception) == f"{run}: with {method} the loss is not finite\nnext: lower {key} in --adapt"
    assert (run / "evaluations.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("adapt", "message"),
    [
        ("weight=0.1", "--adapt: weight goes with cache, which was not given\nnext: add cache=..., or leave weight"),
        ("flatness=0", "--adapt: flatness goes with cache"),
        ("decay=0", "--adapt: decay goes with dynamic, which was not given"),
        ("rms=true,window=5", "--adapt: rms goes with dynamic"),
        ("cache=9,rms=true", "--adapt: cache and rms do not go together\nnext: leave one"),
        ("cache=9,dynamic=1", "--adapt: cache and dynamic do not go together\nnext: leave one"),
        ("dynamic=1,dynamic=2", "--adapt: dynamic is given twice"),
        ("cache=9,wieght=1", "--adapt: unknown key 'wieght'; available: cache, weight, flatness, dynamic, decay, window"
         ", rms\ndid you mean 'weight'?"),
        ("help", "--adapt: found 'help'; allowed is KEY=VALUE"),
        ("", "--adapt: found ''; allowed is KEY=VALUE"),
        ("cache=0", "--adapt: cache: found '0'; allowed is an integer >= 1"),
        ("cache=2.5", "--adapt: cache: found '2.5'; allowed is an integer >= 1"),
        ("cache=9,weight=2", "--adapt: weight: found '2'; allowed is a number in [0, 1]"),
        ("cache=9,flatness=.inf", "--adapt: flatness: found '.inf'; allowed is a number >= 0"),
        ("dynamic=-1", "--adapt: dynamic: found '-1'; allowed is a number >= 0"),
        ("dynamic=1,rms=1", "--adapt: rms: found '1'; allowed is true or false"),
    ],
)  # fmt: skip
def test_keys_and_values_that_are_refused(run: Path, adapt: str, message: str) -> None:
    refused = call("eval", run, "--adapt", adapt)
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception).startswith(message)


@pytest.mark.slow
def test_a_task_or_a_dataset_that_cannot_adapt(write_settings: Write, settings: dict[str, Any], tmp_path: Path) -> None:
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "images", "-q")
    for adapt in ("cache=5", "dynamic=0.1"):
        refused = call("eval", tmp_path / "images", "--adapt", adapt)
        assert isinstance(refused.exception, UsageError)
        assert str(refused.exception).startswith(
            f"{tmp_path}/images: --adapt is for language models; the task 'image_classification' has none"
        )
    plain = call("eval", fit(tmp_path, "plain"), "--adapt", "cache=5")
    assert isinstance(plain.exception, UsageError)
    assert "sets data.evaluation_batch_size, and the dataset 'plain' has no such option" in str(plain.exception)


def test_a_requirement_of_an_unknown_metric_is_refused_before_the_evaluation(
    run: Path, write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "run", "-q")
    refused = call("eval", tmp_path / "run", "--root", tmp_path / "nothing", "--require", "training_loss<1")
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        "--require training_loss<1: unknown metric 'training_loss'; "
        "available: accuracy, loss, macro_precision, macro_recall, macro_f1, balanced_accuracy, weighted_f1, roc_auc"
    )
    assert not (tmp_path / "run" / "evaluations.jsonl").exists()
    known = call("eval", tmp_path / "run", "--root", tmp_path / "nothing", "--require", "accuracy>0")
    assert isinstance(known.exception, DataError)
    missed = call("eval", run, "--adapt", "cache=5", "--require", "perplexity<1")
    assert isinstance(missed.exception, RequirementNotMet)


@pytest.mark.slow
def test_without_validations_metrics_are_known_after_the_evaluation(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["trainer"]["epochs"] = 1
    settings["data"]["validation"] = 0
    good("fit", write_settings(settings), "-o", tmp_path / "run", "-q")
    good("eval", tmp_path / "run", "--require", "accuracy>=0")
    refused = call("eval", tmp_path / "run", "--require", "acuracy>=0")
    assert isinstance(refused.exception, UsageError)
    assert "unknown metric 'acuracy'; available: accuracy, loss" in str(refused.exception)
    assert len(lines(tmp_path / "run" / "evaluations.jsonl")) == 2
