"""Losses, metrics and observers as plain functions of a plug-in: exact, checked, and located in the user's file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LinearRegression

from dltrain.cli.main import to_dltrain_error
from dltrain.config.experiment import load_experiment
from dltrain.errors import ConfigError, DltrainError
from dltrain.runtime.interrupts import Interrupts
from support.commands import call, good
from support.runs import Recorded, StopAt, outcome, run_once, run_to_end

PLUGIN = """
import torch
from torch import Tensor

from dltrain.registry import losses, metrics, observers


@losses.register("power", takes=("numbers", "classes"))
def power_loss(outputs: Tensor, targets: Tensor, *, exponent: float = 2.0) -> Tensor:
    if targets.dtype == torch.int64:
        return -outputs.log_softmax(1).gather(1, targets[:, None])[:, 0]
    return (outputs - targets).abs() ** exponent


@losses.register("squares", takes="numbers", convex=True)
def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets) ** 2


@losses.register("weighed", takes="numbers")
def weighed(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return ((outputs - targets) ** 2 * (1 if weights is None else weights[:, None])).mean()


@metrics.register("share_within", direction="max", takes="numbers")
def share_within(predictions: Tensor, targets: Tensor, *, limit: float = 50.0) -> float:
    return ((predictions - targets).abs() < limit).double().mean()


@metrics.register("mistakes", direction="min", takes="classes")
def mistakes(predictions: Tensor, targets: Tensor, probabilities: Tensor, labels: tuple[str, ...]) -> float:
    assert probabilities.shape == (len(targets), len(labels))
    return float((predictions != targets).sum())


@observers.register("watch")
def watch(event, run, *, file: str = "seen.txt") -> None:
    with (run.directory / file).open("a") as out:
        print(type(event).__name__, file=out)
"""
POWER, WITHIN = "(outputs - targets).abs() ** exponent", "((predictions - targets).abs() < limit).double().mean()"
NUMBERS = """plugins: [mine.py]
task: {name: regression, loss: power, metrics: [share_within]}
data: {name: bundled_table, table: diabetes}
model: {name: dense, hidden: [8]}
trainer: {epochs: 3, device: cpu, threads: 1}
"""
LABELS = """plugins: [mine.py]
task: {name: tabular_classification, loss: power, metrics: [mistakes]}
data: {name: bundled_table, table: iris}
model: {name: dense, hidden: [8]}
trainer: {epochs: 3, device: cpu, threads: 1}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN)
    Path("numbers.yaml").write_text(NUMBERS)
    Path("labels.yaml").write_text(LABELS)
    return tmp_path


def history(run: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "epoch"]


def test_the_square_of_a_plugin_trains_as_mse_does(here: Path) -> None:
    """Another way to the same numbers: the losses differ in rounding at most."""
    good("fit", "numbers.yaml", "-o", "own", "-q")
    good("fit", "numbers.yaml", "-o", "mse", "-q", "--set", "task.loss=mse")
    for own, mse in zip(history("own"), history("mse"), strict=True):
        for name in ("training_loss", "validation_loss", "validation_rmse", "validation_share_within"):
            assert own[name] == pytest.approx(mse[name], rel=1e-4), name


def test_cross_entropy_of_a_plugin_trains_as_the_tasks_own(here: Path) -> None:
    for flags, name in (((), "own"), (("--set", "task.loss=cross_entropy"), "plain")):
        good("fit", "labels.yaml", "-o", name, "-q", *flags)
    for own, plain in zip(history("own"), history("plain"), strict=True):
        assert own["training_loss"] == pytest.approx(plain["training_loss"], rel=1e-5)
        assert own["validation_loss"] == pytest.approx(plain["validation_loss"], rel=1e-5)
        assert own["validation_cross_entropy"] == pytest.approx(own["validation_loss"], rel=1e-6)
        assert "validation_cross_entropy" not in plain


def test_a_metric_is_computed_from_the_whole_split_and_may_decide(here: Path) -> None:
    flags = ("--set", "task.goal=mistakes", "--set", "data.batch_size=7")
    good("fit", "labels.yaml", "-o", "run", "-q", *flags)
    found = json.loads(good("eval", "run", "--json").stdout)
    examples = sum(map(sum, found["confusion"])) if "confusion" in found else None
    wrong = found["metrics"]["mistakes"]
    assert wrong == int(wrong)
    if examples:
        assert found["metrics"]["accuracy"] == pytest.approx(1 - wrong / examples)
    best = min(range(3), key=lambda epoch: history("run")[epoch]["validation_mistakes"])
    assert history("run")[best]["improved"]
    refused = call("fit", "labels.yaml", "-o", "other", "--set", "task.goal=mistake")
    assert "did you mean 'mistakes'?" in str(refused.exception)


def test_a_killed_run_continues_to_the_same_bytes(here: Path) -> None:
    for config in ("numbers.yaml", "labels.yaml"):
        run_to_end(Path(config), here / f"whole-{config}", [])
        run_to_end(Path(config), here / f"killed-{config}", [StopAt(3), StopAt(4, kill=True)])
        assert outcome(here / f"killed-{config}") == outcome(here / f"whole-{config}")


def test_a_linear_model_is_solved_only_with_a_convex_loss(here: Path) -> None:
    notes = {}
    for loss in ("power", "squares", "log_cosh", "mae"):
        text = NUMBERS.replace("{name: dense, hidden: [8]}", "linear").replace("loss: power", f"loss: {loss}")
        Path("linear.yaml").write_text(text)
        messages = Recorded()
        training = run_once(Path("linear.yaml"), here / loss, Interrupts(), messenger=messages)
        notes[loss] = " ".join(training.notes)
        if loss == "squares":
            batches = list(training.dataset.training().epoch(0))
            inputs, targets = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("inputs", "targets"))
            exact = LinearRegression().fit(inputs.double().numpy(), targets.double().numpy())
            found = next(iter(training.state.model.parameters()))
            torch.testing.assert_close(found.detach().double(), torch.from_numpy(exact.coef_), rtol=1e-4, atol=1e-5)
    assert "not solved at once but trained, because of task.loss: power" in notes["power"]
    assert "not solved at once but trained, because of task.loss: mae" in notes["mae"]
    assert notes["squares"].startswith("solved at once")
    assert "not solved" not in notes["log_cosh"]


def test_weights_of_rows_reach_a_loss(here: Path) -> None:
    rows = [f"{number},{number * 2 + number % 3},{1 + number % 4}" for number in range(60)]
    Path("rows.csv").write_text("x,y,w\n" + "\n".join(rows) + "\n")
    text = NUMBERS.replace(
        "{name: bundled_table, table: diabetes}", "{name: table, training: rows.csv, target: y, weight: w}"
    )
    Path("rows.yaml").write_text(text)
    for loss in ("mse", "power", "weighed"):
        good("fit", "rows.yaml", "-o", loss, "-q", "--set", f"task.loss={loss}")
    for other in ("power", "weighed"):
        for own, mse in zip(history(other), history("mse"), strict=True):
            assert own["training_loss"] == pytest.approx(mse["training_loss"], rel=1e-4)
            assert own["validation_loss"] == pytest.approx(mse["validation_loss"], rel=1e-4)
    Path("mine.py").write_text(PLUGIN.replace(POWER, "(outputs - targets).square().mean()"))
    result = call("fit", "rows.yaml", "-o", "refused")
    assert str(result.exception).startswith("mine.py:8: loss 'power' returns one number, so it leaves out the weights")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (POWER, "3.0", "mine.py:8: loss 'power' returns float"),
        (
            POWER,
            "targets.long()",
            "mine.py:8: loss 'power' returns a tensor of int64",
        ),
        (
            POWER,
            "(outputs - targets)[1:]",
            r"mine.py:8: loss 'power' returns a tensor of the shape \(\d+, 1\) for a batch of \d+ examples",
        ),
        (
            POWER,
            "(outputs - targets).detach() ** 2",
            "mine.py:8: loss 'power' returns a loss without a gradient\nnext: compute it from the outputs",
        ),
        (
            POWER,
            "(outputs - target).abs()",
            r"NameError in mine.py:12: name 'target' is not defined.*\n    return \(outputs - target\).abs\(\)",
        ),
        (
            WITHIN,
            "predictions - targets",
            r"mine.py:25: metric 'share_within' returns an array of the shape \(\d+, 1\)",
        ),
        (
            WITHIN,
            "'good'",
            "mine.py:25: metric 'share_within' returns str 'good'",
        ),
        (
            WITHIN,
            "predictions.nothing()",
            "AttributeError in mine.py:27: .*\n    return predictions.nothing()",
        ),
    ],
)
def test_what_a_function_returns_is_checked_before_training(before: str, after: str, message: str, here: Path) -> None:
    assert before in PLUGIN
    Path("mine.py").write_text(PLUGIN.replace(before, after))
    result = call("fit", "numbers.yaml", "-o", "run")
    assert isinstance(result.exception, Exception)
    error = to_dltrain_error(result.exception)
    assert re.search(message, str(error), re.DOTALL), str(error)
    assert error.advice
    assert not Path("run").exists()


def test_a_metric_that_is_no_number_is_announced(here: Path) -> None:
    Path("mine.py").write_text(PLUGIN.replace(WITHIN, "float('nan')"))
    result = good("fit", "numbers.yaml", "-o", "run")
    assert "warning: mine.py:25: metric 'share_within' is nan for the untrained model" in result.stderr
    assert [epoch["validation_share_within"] for epoch in history("run")] == [None, None, None]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("(outputs: Tensor, targets: Tensor) -> Tensor:\n    return (out", "(output: Tensor, targets: Tensor) -> Tensor:\n    return (out", "mine.py:16:13: error: the loss 'squares' cannot be given 'output'"),  # noqa: E501
        ("def squares(outputs: Tensor, targets: Tensor)", "def squares(outputs: Tensor)", "mine.py:15:1: error: the loss 'squares' lacks the parameter 'targets', such as def squares(outputs, targets, *, ...)"),  # noqa: E501
        (', takes="numbers", convex=True', "", "mine.py:15:1: error: loss 'squares' is registered without its fact takes="),  # noqa: E501
        ('takes="numbers", convex', 'takes="number", convex', "the fact takes of a loss names classes, numbers"),
        ('direction="max", ', "", "metric 'share_within' is registered without its fact direction="),
        ('direction="max"', 'direction="up"', "the fact direction of metric 'share_within' is 'max' or 'min'"),
        ("limit: float = 50.0", "limit=50.0", "mine.py:26:59: error: option 'limit' needs a type"),
        ("watch(event, run, *", "watch(event, runs, *", "the observer 'watch' cannot be given 'runs'"),
    ],
)  # fmt: skip
def test_signatures_are_checked_with_the_config(before: str, after: str, message: str, here: Path) -> None:
    assert before in PLUGIN
    Path("mine.py").write_text(PLUGIN.replace(before, after))
    with pytest.raises(ConfigError) as raised:
        load_experiment(Path("numbers.yaml"))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("task.loss=focal", "loss 'focal' takes classes, but task.loss needs one of numbers"),
        ("task.loss=powr", "loss 'powr' is not known"),
        ("task.loss={power: {exponents: 3}}", "'exponents' is not an option of loss 'power'"),
        ("task.loss={huber: -1}", "task.loss.delta must be a number > 0, found -1"),
        ("task.loss=[mse]", "task.loss must be a name, or a mapping with a name and options, found a list"),
        ("task.metrics=mape", "task.metrics must be a list of metrics, found 'mape'"),
        ("task.metrics=[r2]", "task 'regression' reports r2 already; leave it out here"),
        ("task.metrics=[mape, mape]", "task.metrics lists metric 'mape' twice"),
        ("task.metrics=[mistakes]", "metric 'mistakes' takes classes, but task.metrics[0] needs one of numbers"),
    ],
)
def test_what_cannot_be_chosen_is_refused(flag: str, message: str, here: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_experiment(Path("numbers.yaml"), [flag])
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "form", ["{name: power, exponent: 1.5}", "{power: {exponent: 1.5}}", "{power: 1.5}", "{power: {exponent: 1.50}}"]
)
def test_forms_of_one_choice_mean_the_same(form: str, here: Path) -> None:
    chosen = load_experiment(Path("numbers.yaml"), [f"task.loss={form}"]).experiment
    assert chosen.resolved()["task"]["loss"] == {"name": "power", "exponent": 1.5}
    Path("copy.yaml").write_text(chosen.yaml(here))
    assert load_experiment(Path("copy.yaml")).experiment == chosen


def test_huber_delta_is_the_losses_own(here: Path) -> None:
    forms = {"old": "loss: huber, huber_delta: 0.3", "new": "loss: {huber: 0.3}"}
    for name, form in forms.items():
        good("fit", "numbers.yaml", "-o", name, "-q", "--set", f"task={{name: regression, {form}}}")
    assert history("old") == history("new")
    both = "task={name: regression, loss: {huber: 2}, huber_delta: 3}"
    assert "huber_delta is 3" in str(call("fit", "numbers.yaml", "-o", "both", "--set", both).exception)


def test_a_function_of_an_event_is_an_observer(here: Path) -> None:
    good("fit", "numbers.yaml", "-o", "run", "-q", "--set", "observers=[{name: watch, file: all.txt}]")
    seen = Path("run/all.txt").read_text().split()
    assert seen.count("Evaluated") == 3
    assert seen[-1] == "Finished"
    Path("mine.py").write_text(PLUGIN.replace("print(type", "printed(type"))
    result = good("fit", "numbers.yaml", "-o", "other", "--set", "observers=[watch]")
    dropped = "warning: observer 'watch' failed and is dropped: NameError: name 'printed' is not defined (mine.py:39: "
    assert dropped in result.stderr
    assert history("other") == history("run")
    maker = PLUGIN + '\n\n@observers.register("none")\ndef make_none(run) -> None:\n    ...\n'
    Path("mine.py").write_text(maker)
    refused = call("fit", "numbers.yaml", "-o", "third", "--set", "observers=[none]")
    assert isinstance(refused.exception, DltrainError)
    assert "observer 'none' returns NoneType, which cannot be called" in str(refused.exception)
