"""Linear models solved at once, against scikit-learn and numpy."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from sklearn import datasets, linear_model

from dltrain.batch import Examples
from dltrain.core.solving import Solution, Unsolvable, solve_linear
from dltrain.models.mlp import DenseNetwork, LinearModel
from dltrain.models.series import Autoregression
from dltrain.tasks.binary_classification import BinaryClassification
from dltrain.tasks.classification import TabularClassification
from dltrain.tasks.forecasting import SequenceRegression
from dltrain.tasks.regression import Regression

CLOSE = 1e-6


def standardize(values: Any) -> Any:
    """Standardised columns, rounded to float32 as a model reads them, in float64."""
    spread = values.std(0)
    scaled = (values - values.mean(0)) / numpy.where(spread > 0, spread, 1)
    return scaled.astype(numpy.float32).astype(float)


def batches(inputs: Any, targets: Any, size: int = 32) -> list[Examples]:
    rows = torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets)
    return [Examples(*(part[start : start + size] for part in rows)) for start in range(0, len(inputs), size)]


def regression(inputs: int, outputs: int = 1, **options: Any) -> Regression:
    names = [str(index) for index in range(outputs)]
    target = {"columns": names, "normalize": "none", "mean": [0.0] * outputs, "std": [1.0] * outputs}
    return Regression({"inputs": [""] * inputs, "target": target}, **options)


def labelled(inputs: int, classes: int) -> dict[str, Any]:
    return {"inputs": [""] * inputs, "target": {"columns": ["y"]}, "labels": [str(each) for each in range(classes)]}


def predict(model: LinearModel, inputs: Any) -> Any:
    with torch.no_grad():
        return model(torch.tensor(inputs, dtype=torch.float32)).double().numpy()


def solve_regression(inputs: Any, targets: Any, bias: bool = True, **decay: float) -> tuple[Any, Solution]:
    model = LinearModel(inputs.shape[1], targets.shape[1], bias=bias)
    task = regression(inputs.shape[1], targets.shape[1])
    solution = solve_linear(model, task, batches(inputs, targets.astype(numpy.float32)), **decay)
    return predict(model, inputs), solution


@pytest.mark.parametrize("bias", [True, False])
def test_regression_is_scikit_learns_least_squares(bias: bool) -> None:
    inputs, target = datasets.load_diabetes(return_X_y=True)
    inputs, targets = standardize(inputs), standardize(numpy.stack((target, target**2), 1))
    found, solution = solve_regression(inputs, targets, bias)
    expected = linear_model.LinearRegression(fit_intercept=bias).fit(inputs, targets).predict(inputs)
    assert numpy.abs(found - expected).max() < CLOSE
    assert solution == Solution(442, 10, steps=1, penalty=0.0, separable=False)


@pytest.mark.parametrize("decay", [0.01, 1.0])
def test_weight_decay_is_the_penalty_of_ridge_regression(decay: float) -> None:
    inputs, target = datasets.load_diabetes(return_X_y=True)
    inputs, targets = standardize(inputs), standardize(target[:, None])
    found, _ = solve_regression(inputs, targets, weight_decay=decay)
    # (1/N) sum of squares + decay/2 |w|^2, times N, is scikit-learn's objective
    expected = linear_model.Ridge(alpha=decay / 2 * len(inputs), solver="svd").fit(inputs, targets).predict(inputs)
    assert numpy.abs(found - expected.reshape(found.shape)).max() < CLOSE


def test_a_bias_that_decays_is_one_more_input() -> None:
    inputs, target = datasets.load_diabetes(return_X_y=True)
    inputs, targets = standardize(inputs), standardize(target[:, None]) + 2
    found, _ = solve_regression(inputs, targets, weight_decay=0.5, bias_decay=0.5)
    ones = numpy.c_[inputs, numpy.ones(len(inputs))]
    weights = numpy.linalg.solve(ones.T @ ones + 0.25 * len(ones) * numpy.eye(11), ones.T @ targets)
    assert numpy.abs(found - ones @ weights).max() < CLOSE


def test_redundant_and_constant_inputs_change_nothing() -> None:
    inputs, target = datasets.load_diabetes(return_X_y=True)
    inputs, targets = standardize(inputs), standardize(target[:, None])
    expected = linear_model.LinearRegression().fit(inputs, targets).predict(inputs)
    kinds = numpy.arange(len(inputs)) % 3
    one_hot = (kinds[:, None] == numpy.arange(3)).astype(float)
    redundant = numpy.c_[inputs, inputs[:, :2], numpy.full(len(inputs), 7.0)]
    assert numpy.abs(solve_regression(redundant, targets)[0] - expected).max() < CLOSE
    found, _ = solve_regression(numpy.c_[inputs, standardize(one_hot)], targets)
    expected = (
        linear_model.LinearRegression().fit(numpy.c_[inputs, one_hot], targets).predict(numpy.c_[inputs, one_hot])
    )
    assert numpy.abs(found - expected).max() < CLOSE


def test_inputs_of_unlike_scales_and_more_inputs_than_examples() -> None:
    draw = numpy.random.default_rng(0)
    inputs = (draw.normal(size=(50, 4)) * [1e-6, 1, 1e3, 1e6]).astype(numpy.float32).astype(float)
    targets = draw.normal(size=(50, 1))
    scaled = standardize(inputs)
    expected = linear_model.LinearRegression().fit(scaled, targets).predict(scaled)
    assert numpy.abs(solve_regression(inputs, targets)[0] - expected).max() < CLOSE
    wide = draw.normal(size=(20, 40))
    assert numpy.abs(solve_regression(wide, targets[:20])[0] - targets[:20]).max() < 1e-5


def test_row_weights_and_huber() -> None:
    draw = numpy.random.default_rng(1)
    inputs, weights = standardize(draw.normal(size=(80, 3))), draw.uniform(0.1, 2, 80)
    targets = inputs @ [[1.0], [2.0], [-1.0]] + draw.standard_t(2, size=(80, 1))
    model, parts = LinearModel(3, 1), batches(inputs, targets.astype(numpy.float32))
    heavy = torch.tensor(weights, dtype=torch.float32).split(32)
    weighted = [Examples(part.inputs, part.targets, own) for part, own in zip(parts, heavy, strict=True)]
    solve_linear(model, regression(3), weighted)
    expected = linear_model.LinearRegression().fit(inputs, targets, weights.astype(numpy.float32)).predict(inputs)
    assert numpy.abs(predict(model, inputs) - expected).max() < CLOSE
    solve_linear(model, regression(3, loss="huber", huber_delta=0.5), parts)
    errors = predict(model, inputs) - targets
    pull = numpy.clip(errors, -0.5, 0.5)  # the derivative of Huber's loss
    assert numpy.abs(numpy.c_[inputs, numpy.ones(80)].T @ pull).max() < 1e-4


@pytest.mark.parametrize("columns", [2, 5])
def test_logistic_regression_is_scikit_learns(columns: int) -> None:
    inputs, classes = datasets.load_breast_cancer(return_X_y=True)
    inputs = standardize(inputs[:, :columns])
    known = linear_model.LogisticRegression(C=numpy.inf, tol=1e-12, max_iter=100_000).fit(inputs, classes)
    expected = known.predict_proba(inputs)
    one, two = LinearModel(columns, 1), LinearModel(columns, 2)
    binary, multinomial = BinaryClassification(labelled(columns, 2)), TabularClassification(labelled(columns, 2))
    assert not solve_linear(one, binary, batches(inputs, classes)).separable
    assert not solve_linear(two, multinomial, batches(inputs, classes)).separable
    assert numpy.abs(1 / (1 + numpy.exp(-predict(one, inputs)[:, 0])) - expected[:, 1]).max() < CLOSE
    shares = numpy.exp(predict(two, inputs))
    assert numpy.abs(shares / shares.sum(1, keepdims=True) - expected).max() < CLOSE


def test_multinomial_regression_is_scikit_learns_with_and_without_penalty() -> None:
    inputs, classes = datasets.load_wine(return_X_y=True)
    inputs = standardize(inputs[:, :2])
    for decay in (0.0, 0.1):
        strength = numpy.inf if decay == 0 else 1 / (decay * len(inputs))
        known = linear_model.LogisticRegression(C=strength, tol=1e-12, max_iter=100_000).fit(inputs, classes)
        model = LinearModel(2, 3)
        solve_linear(model, TabularClassification(labelled(2, 3)), batches(inputs, classes), weight_decay=decay)
        shares = numpy.exp(predict(model, inputs))
        assert numpy.abs(shares / shares.sum(1, keepdims=True) - known.predict_proba(inputs)).max() < CLOSE


@pytest.mark.parametrize("load", [datasets.load_wine, datasets.load_iris])
def test_separable_classes_give_finite_weights_and_say_so(load: Any) -> None:
    inputs, classes = load(return_X_y=True)
    inputs = standardize(inputs)
    model = LinearModel(inputs.shape[1], 3)
    solution = solve_linear(model, TabularClassification(labelled(inputs.shape[1], 3)), batches(inputs, classes))
    assert solution.separable
    assert "separate the classes" in str(solution)
    known = linear_model.LogisticRegression(C=1, tol=1e-12, max_iter=100_000).fit(inputs, classes)
    shares = numpy.exp(predict(model, inputs))
    assert numpy.abs(shares / shares.sum(1, keepdims=True) - known.predict_proba(inputs)).max() < CLOSE


def test_label_smoothing_and_a_positive_weight_are_part_of_the_loss() -> None:
    inputs, classes = datasets.load_breast_cancer(return_X_y=True)
    inputs = standardize(inputs[:, :2])
    model = LinearModel(2, 1)
    task = BinaryClassification(labelled(2, 2), positive_weight=3.0)
    solve_linear(model, task, batches(inputs, classes))
    known = linear_model.LogisticRegression(C=numpy.inf, tol=1e-12, max_iter=100_000, class_weight={0: 1, 1: 3})
    expected = known.fit(inputs, classes).predict_proba(inputs)[:, 1]
    assert numpy.abs(1 / (1 + numpy.exp(-predict(model, inputs)[:, 0])) - expected).max() < CLOSE
    wide = LinearModel(2, 2)
    solve_linear(wide, TabularClassification(labelled(2, 2), label_smoothing=0.2), batches(inputs, classes))
    shares = numpy.exp(predict(wide, inputs))
    shares /= shares.sum(1, keepdims=True)
    smooth = numpy.where(numpy.arange(2) == classes[:, None], 0.9, 0.1)
    assert numpy.abs(numpy.c_[inputs, numpy.ones(len(inputs))].T @ (shares - smooth)).max() < 1e-4


def test_autoregression_is_least_squares_over_its_lags() -> None:
    draw = numpy.random.default_rng(2)
    series = numpy.zeros((400, 2))
    for step in range(2, 400):
        series[step] = 0.6 * series[step - 1] - 0.3 * series[step - 2][::-1] + draw.normal(size=2)
    series = standardize(series)
    windows = numpy.stack([series[start : start + 5] for start in range(394)])
    targets = numpy.stack([series[start + 5 : start + 7].reshape(-1) for start in range(394)])
    assets = {"columns": ["a", "b"], "targets": ["a", "b"], "window": 5, "horizon": 2, "mean": [0, 0], "std": [1, 1]}
    model = Autoregression(2, 5, 4, lags=3)
    solve_linear(model, SequenceRegression(assets), batches(windows, targets.astype(numpy.float32)))
    design = numpy.c_[windows[:, 2:].reshape(394, -1), numpy.ones(394)]
    weights, *_ = numpy.linalg.lstsq(design, targets, rcond=None)
    with torch.no_grad():
        found = model(torch.tensor(windows, dtype=torch.float32)).double().numpy()
    assert numpy.abs(found - design @ weights).max() < CLOSE


def test_what_cannot_be_solved_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = numpy.ones((4, 2)), numpy.ones((4, 1), numpy.float32)
    with pytest.raises(Unsolvable, match="there are no examples"):
        solve_linear(LinearModel(2, 1), regression(2), [])
    with pytest.raises(Unsolvable, match="an input is not a finite number"):
        solve_linear(LinearModel(2, 1), regression(2), batches(inputs * numpy.nan, targets))
    with pytest.raises(Unsolvable, match=r"no curvature|no minimum"):
        solve_linear(LinearModel(2, 1), regression(2, loss="mae"), batches(inputs, targets))
    with pytest.raises(Unsolvable, match="no minimum"):  # all errors are on the straight part
        solve_linear(LinearModel(2, 1), regression(2, loss="huber"), batches(inputs, 9 * targets))
    monkeypatch.setattr("dltrain.core.solving.MOST_VALUES", 7)
    with pytest.raises(Unsolvable, match="more than 0 examples of 2 inputs are too many"):
        solve_linear(LinearModel(2, 1), regression(2), batches(inputs, targets))
    assert not hasattr(DenseNetwork(2, 1), "output_layer")
