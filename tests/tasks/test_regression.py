"""Regression and classification of tables: metrics as scikit-learn computes them, and the models' closed forms."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import linear_model, metrics
from torch import nn

from dltrain.batch import Examples
from dltrain.core.evaluate import accumulate_counts
from dltrain.data.tables.table_files import load_bundled_table
from dltrain.errors import UsageError
from dltrain.models.mlp import DenseNetwork, LinearModel
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.precision import Runtime
from dltrain.stream import Loader
from dltrain.task import Each
from dltrain.tasks.binary_classification import BinaryClassification
from dltrain.tasks.class_scores import compute_roc_auc
from dltrain.tasks.classification import TabularClassification
from dltrain.tasks.regression import Regression, compute_r2
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]

CPU = Runtime(torch.device("cpu"), "")


class Batches:
    """Examples in batches of a few, so that the counts of several are added."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, size: int = 7) -> None:
        self.parts = list(zip(inputs.split(size), targets.split(size), strict=True))

    def __len__(self) -> int:
        return len(self.parts)

    def batch(self, epoch: int, index: int) -> Examples:
        return Examples(*self.parts[index])


def report(task: Any, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """What a task reports of a model that gives `outputs`."""
    found: dict[str, float] = task.report(
        accumulate_counts(nn.Identity(), task, Loader(Batches(outputs, targets)), CPU)
    )
    return found


def numbers(count: int, normalize: str = "standard", mean: float = 3.0, std: float = 2.0) -> dict[str, Any]:
    columns = [f"y{place}" for place in range(count)]
    return {
        "inputs": ["x"],
        "target": {"columns": columns, "normalize": normalize, "mean": [mean] * count, "std": [std] * count},
    }


def labels(*names: str) -> dict[str, Any]:
    return {"inputs": ["x"], "target": {"columns": ["kind"]}, "labels": list(names)}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("normalize", ["standard", "none"])
@pytest.mark.parametrize("mean", [3.0, 1e6])
def test_regression_reports_what_scikit_learn_does(count: int, normalize: str, mean: float) -> None:
    draw = torch.Generator().manual_seed(count)
    truth = torch.randn(50, count, generator=draw)
    found = truth + 0.3 * torch.randn(50, count, generator=draw)
    told = report(Regression(numbers(count, normalize, mean)), found, truth)
    scale, shift = (2.0, mean) if normalize == "standard" else (1.0, 0.0)
    y, p = (scale * values.double().numpy() + shift for values in (truth, found))
    assert told["mse"] == pytest.approx(metrics.mean_squared_error(y, p), rel=1e-9)
    assert told["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p), rel=1e-9)
    assert told["mae"] == pytest.approx(metrics.mean_absolute_error(y, p), rel=1e-9)
    if normalize == "standard" or mean == 3.0:  # else the training targets lie far from these, as nobody's do
        assert told["r2"] == pytest.approx(metrics.r2_score(y, p), rel=1e-9)
    assert told["loss"] == pytest.approx(float((truth - found).square().mean()), rel=1e-6)


def test_row_weights_count_in_training_and_in_scores_of_their_own() -> None:
    draw = torch.Generator().manual_seed(5)
    truth = torch.randn(50, 2, generator=draw)
    found = truth + 0.3 * torch.randn(50, 2, generator=draw)
    weights = torch.rand(50, generator=draw)
    task = Regression(numbers(2))
    parts = [Examples(*part) for part in zip(found.split(7), truth.split(7), weights.split(7), strict=True)]
    counts: dict[str, Any] = {}
    for score in (task.score(nn.Identity(), part, None).counts for part in parts):
        counts = {name: counts.get(name, 0) + value for name, value in score.items()}
    y, p, w = (values.double().numpy() for values in (2 * truth + 3, 2 * found + 3, weights))
    told = task.report(counts)
    for prefix, sample_weight in (("", None), ("row_weighted_", w)):
        mean_squares = metrics.root_mean_squared_error(y, p, sample_weight=sample_weight)
        assert told[f"{prefix}rmse"] == pytest.approx(mean_squares, rel=1e-6)
        mean_absolute = metrics.mean_absolute_error(y, p, sample_weight=sample_weight)
        assert told[f"{prefix}mae"] == pytest.approx(mean_absolute, rel=1e-6)
        assert told[f"{prefix}r2"] == pytest.approx(metrics.r2_score(y, p, sample_weight=sample_weight), rel=1e-6)
    squares = (truth - found).square().mean(1)
    assert told["loss"] == pytest.approx(float((squares * weights).sum() / weights.sum()), rel=1e-6)
    step = task.step(nn.Identity(), Examples(found, truth, weights), None)
    assert float(step.loss) == pytest.approx(float((squares * weights).mean()), rel=1e-6)


def test_a_weight_of_two_is_the_row_twice(write_settings: Write, tmp_path: Path) -> None:
    weighted = {"x": [1, 2, 3, 4], "y": [2, 3, 7, 5], "n": [1, 2, 1, 3]}
    repeated = {name: np.repeat(weighted[name], weighted["n"]).tolist() for name in ("x", "y")}
    found = []
    for values, more in ((weighted, {"weight": "n"}), (repeated, {})):
        data = {"name": "table", "values": values, "target": "y", "validation": 0, "test": 0, "batch_size": None}
        tree = {
            "task": "regression",
            "data": {**data, "normalize": "none", "normalize_target": "none", **more},
            "model": "linear",
            "optimizer": {"name": "sgd", "learning_rate": 0.05},
            "trainer": {"epochs": 1000, "device": "cpu", "checkpoint_every_epochs": 1000, "threads": 1},
        }
        model = run_once(write_settings(tree), tmp_path / str(len(found)), Interrupts()).state.model
        found.append([float(parameter.detach().flatten()[0]) for parameter in model.parameters()])
    slope, intercept = np.polyfit(repeated["x"], repeated["y"], 1)
    assert found[0] == pytest.approx([slope, intercept], abs=1e-4)
    assert found[1] == pytest.approx([slope, intercept], abs=1e-4)


@pytest.mark.parametrize(("loss", "expected"), [("mae", nn.L1Loss()), ("huber", nn.HuberLoss(delta=0.2))])
def test_other_losses(loss: Any, expected: nn.Module) -> None:
    truth, found = torch.linspace(0, 1, 20)[:, None], torch.linspace(1, 0, 20)[:, None]
    task = Regression(numbers(1), loss=loss, huber_delta=0.2)
    wanted = float(expected(found, truth))
    assert report(task, found, truth)["loss"] == pytest.approx(wanted, rel=1e-6)
    assert float(task.step(nn.Identity(), Examples(found, truth), None).loss) == pytest.approx(wanted, rel=1e-6)


def test_r2_where_the_target_never_changes() -> None:
    constant = torch.full((9, 1), 0.5)
    assert report(Regression(numbers(1)), constant, constant)["r2"] == 1.0
    assert report(Regression(numbers(1)), constant + 1, constant)["r2"] == 0.0
    assert metrics.r2_score(constant, constant) == 1.0
    assert metrics.r2_score(constant, constant + 1) == 0.0
    one = torch.ones(1)
    assert np.isnan(compute_r2(one, one, one, 1))


def test_estimates_are_in_the_datas_units() -> None:
    task = Regression(numbers(2))
    assert task.estimates(nn.Identity(), torch.tensor([[0.0, 1.0], [2.0, -1.0]])).tolist() == [[3, 5], [7, 1]]
    plain = Regression(numbers(1, "none"))
    assert plain.estimates(nn.Identity(), torch.tensor([[0.25]])).tolist() == [[0.25]]
    seconds = Regression(numbers(1, mean=1.7e9, std=10.0))
    assert seconds.estimates(nn.Identity(), torch.tensor([[0.5], [1.5]])).tolist() == [[1.7e9 + 5], [1.7e9 + 15]]


@pytest.mark.parametrize("positive", ["no", "yes"])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.83])
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_binary_classification_reports_what_scikit_learn_does(positive: str, threshold: float, decimals: int) -> None:
    draw = torch.Generator().manual_seed(4)
    targets = (torch.rand(200, generator=draw) < 0.3).long()
    logits = (targets - 0.5 + torch.randn(200, generator=draw)).round(decimals=decimals)  # few decimals, many ties
    task = BinaryClassification(labels("no", "yes"), positive=positive, threshold=threshold)
    told = report(task, logits[:, None], targets)
    truth = (targets == (positive == "yes")).numpy()
    scores = logits.double().sigmoid().numpy()
    given = scores >= threshold
    assert told["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, logits.numpy()), abs=1e-12)
    assert told["loss"] == pytest.approx(metrics.log_loss(truth, scores), rel=1e-9)
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(truth, given), abs=1e-12)
    for name in ("precision", "recall", "f1"):
        assert told[name] == pytest.approx(getattr(metrics, f"{name}_score")(truth, given), abs=1e-12)
    chances = task.probabilities(nn.Identity(), logits[:, None])
    np.testing.assert_allclose(chances[:, int(positive == "yes")], scores, rtol=1e-6)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)
    assert (task.decisions(chances) == torch.from_numpy(given == (positive == "yes"))).all()


def test_no_positive_prediction_is_no_division_by_zero() -> None:
    told = report(BinaryClassification(labels("no", "yes")), torch.full((4, 1), -3.0), torch.tensor([0, 1, 0, 0]))
    assert (told["precision"], told["recall"], told["f1"], told["accuracy"]) == (0, 0, 0, 0.75)


def test_roc_auc_by_hand() -> None:
    scores, truth = torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([False, False, True, True])
    assert compute_roc_auc(scores, truth) == 3.5 / 4
    assert np.isnan(compute_roc_auc(scores, torch.ones(4, dtype=torch.bool)))
    signed = torch.tensor([-0.0, 0.0])
    assert compute_roc_auc(signed, torch.tensor([True, False])) == 0.5


def test_the_weight_of_positive_examples_is_training_only() -> None:
    logits, targets = torch.tensor([[0.3], [-1.0], [2.0]]), torch.tensor([1, 0, 1])
    weighty = BinaryClassification(labels("no", "yes"), positive_weight=4.0)
    plain = BinaryClassification(labels("no", "yes"))
    each = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float(), reduction="none")
    step = weighty.step(nn.Identity(), Examples(logits, targets), None)
    assert float(step.loss) == pytest.approx(float((each * torch.tensor([4.0, 1, 4])).mean()), rel=1e-6)
    assert report(weighty, logits, targets) == report(plain, logits, targets)


def test_tabular_classification_reports_what_scikit_learn_does() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(60, 3, generator=draw), torch.randint(0, 3, (60,), generator=draw)
    told = report(TabularClassification(labels("a", "b", "c")), logits, targets)
    found = logits.argmax(1)
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(targets, found), abs=1e-12)
    assert told["macro_f1"] == pytest.approx(metrics.f1_score(targets, found, average="macro"), abs=1e-12)
    assert told["loss"] == pytest.approx(metrics.log_loss(targets, logits.double().softmax(1)), rel=1e-6)


def test_values_of_each_example_add_up_by_going_together() -> None:
    parts = [torch.tensor([1.0, 2.0]), torch.tensor([3.0])]
    assert (Each((parts[0],)) + Each((parts[1],))).values().tolist() == [1, 2, 3]


def test_tasks_that_the_target_does_not_fit() -> None:
    with pytest.raises(
        UsageError, match=r"'regression' needs a numeric target, but 'kind' is categorical: a, b\nnext: se"
    ):
        Regression(labels("a", "b"))
    for task in (BinaryClassification, TabularClassification):
        with pytest.raises(
            UsageError, match=r"needs a categorical target, but 'y0' is numeric\nnext: set data.target_ho"
        ):
            task(numbers(1))
    with pytest.raises(
        UsageError, match=r"takes two labels, but the target has 3: a, b, c\nnext: use task tabular_class"
    ):
        BinaryClassification(labels("a", "b", "c"))
    with pytest.raises(UsageError, match=r"task.positive: 'maybe' is not a label of the target; allowed are no, yes"):
        BinaryClassification(labels("no", "yes"), positive="maybe")


def line_settings(values: Mapping[str, Any], target: str | list[str], **data: Any) -> dict[str, Any]:
    return {
        "task": "regression",
        "data": {
            "name": "table", "values": dict(values), "target": target, "validation": 0, "test": 0, "batch_size": None,
            **data,
        },
        "model": "linear",
        "optimizer": {"name": "sgd", "learning_rate": 0.2, "momentum": 0.7},
        "trainer": {"epochs": 120, "device": "cpu", "threads": 1, "checkpoint_every_epochs": 120},
    }  # fmt: skip


@pytest.mark.parametrize("normalize_target", ["standard", "none"])
def test_linear_regression_is_least_squares(normalize_target: str, write_settings: Write, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    inputs = draw.normal(2.0, [1.0, 3.0, 0.5], (80, 3))
    outputs = inputs @ np.array([[1.0, -4.0], [2.0, 0.5], [-3.0, 7.0]]) + [10, -20] + draw.normal(size=(80, 2))
    values = {f"x{n}": inputs[:, n].tolist() for n in range(3)} | {f"y{n}": outputs[:, n].tolist() for n in range(2)}
    settings = line_settings(values, ["y0", "y1"], normalize_target=normalize_target)
    training = run_once(write_settings(settings), tmp_path / "run", Interrupts())
    solution, *_ = np.linalg.lstsq(np.column_stack([inputs, np.ones(80)]), outputs)
    batch = training.dataset.training().epoch(0).__next__()
    found = training.task.estimates(training.state.model, batch.inputs).detach().numpy()  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, np.column_stack([inputs, np.ones(80)]) @ solution, atol=1e-4)


def test_logistic_regression_is_scikit_learns(write_settings: Write, tmp_path: Path) -> None:
    columns = load_bundled_table("breast_cancer").columns
    chosen = ["mean radius", "mean texture"]
    settings: dict[str, Any] = {
        "task": {"name": "binary_classification", "positive": "malignant"},
        "data": {
            "name": "table", "values": {name: columns[name].tolist() for name in (*chosen, "diagnosis")},
            "target": "diagnosis", "validation": 0, "test": 0, "batch_size": None,
        },
        "model": "linear",
        "optimizer": {"name": "sgd", "learning_rate": 2.0, "momentum": 0.9},
        "trainer": {"epochs": 200, "device": "cpu", "threads": 1, "checkpoint_every_epochs": 200},
    }  # fmt: skip
    training = run_once(write_settings(settings), tmp_path / "run", Interrupts())
    inputs = np.column_stack([columns[name] for name in chosen])
    truth = columns["diagnosis"] == "malignant"
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(inputs, truth)
    batch = training.dataset.training().epoch(0).__next__()
    ours = training.task.probabilities(training.state.model, batch.inputs).detach().numpy()  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours[:, 1], theirs.predict_proba(inputs)[:, 1], atol=1e-3)
    layer = training.state.model.layer
    deviations = inputs.std(0)
    np.testing.assert_allclose(layer.weight[0].detach().numpy() / deviations, theirs.coef_[0], rtol=1e-3)


KINDS: dict[str, tuple[str | dict[str, Any], dict[str, Any]]] = {
    "regression": ("regression", {"table": "diabetes"}),
    "binary": ({"name": "binary_classification", "positive_weight": 1.5}, {"table": "breast_cancer"}),
    "classes": ({"name": "tabular_classification", "label_smoothing": 0.05}, {"table": "wine"}),
}


def settings_of(name: str, model: str) -> dict[str, Any]:
    task, data = KINDS[name]
    return {
        "task": task,
        "data": {"name": "bundled_table", "batch_size": 16, **data},
        "model": {"name": "dense", "hidden": [16, 8], "dropout": 0.1, "batch_norm": True}
        if model == "dense"
        else model,
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1, "log_every_steps": 2},
    }


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_trains_too(name: str, write_settings: Write, tmp_path: Path) -> None:
    settings = settings_of(name, "dense")
    settings["trainer"] |= {"precision": "bf16", "epochs": 1}
    history = run_once(write_settings(settings), tmp_path / "run", Interrupts()).state.history
    assert 0 < history[-1]["loss"] < 2


def test_a_line_without_a_constant() -> None:
    assert LinearModel(2, 1, bias=False)(torch.zeros(1, 2)).tolist() == [[0]]
    assert len(list(LinearModel(2, 1, bias=False).parameters())) == 1


def test_dense_layers_are_as_told() -> None:
    model = DenseNetwork(3, 2, hidden=[8, 4], activation="gelu", dropout=0.5, batch_norm=True)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Linear", "BatchNorm1d", "GELU", "Dropout"] * 2 + ["Linear"]
    assert model(torch.ones(5, 3)).shape == (5, 2)


def test_folds_differ_and_cover_all(write_settings: Write, tmp_path: Path) -> None:
    settings = settings_of("classes", "linear")
    tested = []
    for index in range(3):
        folded = copy.deepcopy(settings)
        folded["data"]["fold"] = {"index": index, "of": 3}
        folded["trainer"]["epochs"] = 1
        training = run_once(write_settings(folded), tmp_path / f"fold{index}", Interrupts())
        tested.append(sum(batch.count for batch in training.dataset.test().epoch(0)))
    assert sum(tested) == 178
