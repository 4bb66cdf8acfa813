"""Curves and residuals against scikit-learn and numpy; what a recorder collects does not change the score."""

from __future__ import annotations

import numpy
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, roc_auc_score
from torch import nn

from dltrain.runs.class_findings import POINTS, calibrate, describe_probabilities, thin_curve
from dltrain.runs.number_findings import describe_numbers
from dltrain.runs.recording import remember_outputs


def draw_scores(examples: int, classes: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    draw = numpy.random.default_rng(0)
    targets = draw.integers(0, classes, examples)
    logits = draw.normal(size=(examples, classes)) + 1.5 * numpy.eye(classes)[targets]
    return numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True), targets


def test_the_thinned_curves_have_the_areas_of_all_points() -> None:
    probabilities, targets = draw_scores(5000, 3)
    found = describe_probabilities(probabilities, targets, ["a", "b", "c"], None)
    assert found["curves_left_out"] == 0
    assert len(found["curves"]) == 3
    for curve in found["curves"]:
        index = "abc".index(curve["label"])
        truth, scores = targets == index, probabilities[:, index]
        assert curve["roc_auc"] == pytest.approx(roc_auc_score(truth, scores))
        assert curve["average_precision"] == pytest.approx(average_precision_score(truth, scores))
        assert len(curve["roc"][0]) <= POINTS + 2
        assert auc(*curve["roc"]) == pytest.approx(curve["roc_auc"], abs=2e-3)
        assert auc(*curve["precision_recall"]) == pytest.approx(curve["average_precision"], abs=5e-3)


def test_two_labels_have_the_curve_of_the_positive_one() -> None:
    probabilities, targets = draw_scores(400, 2)
    for positive in (0, 1):
        (curve,) = describe_probabilities(probabilities, targets, ["no", "yes"], positive)["curves"]
        assert curve["label"] == ["no", "yes"][positive]
        assert curve["roc_auc"] == pytest.approx(roc_auc_score(targets == positive, probabilities[:, positive]))
    assert describe_probabilities(probabilities, numpy.zeros(400, int), ["no", "yes"], None)["curves"] == []


def test_more_classes_than_colours_leave_out_the_largest_areas() -> None:
    probabilities, targets = draw_scores(3000, 14)
    found = describe_probabilities(probabilities, targets, [str(index) for index in range(14)], None)
    areas = sorted(roc_auc_score(targets == index, probabilities[:, index]) for index in range(14))
    assert [curve["roc_auc"] for curve in found["curves"]] == pytest.approx(areas[:10])
    assert found["curves_left_out"] == 4


def test_calibration_is_that_of_scikit_learn() -> None:
    probabilities, targets = draw_scores(1000, 2)
    found = calibrate(probabilities[:, 1], targets == 1)
    observed, predicted = calibration_curve(targets == 1, probabilities[:, 1], n_bins=10)
    assert found["observed"] == pytest.approx(observed, abs=1e-4)
    assert found["predicted"] == pytest.approx(predicted, abs=1e-4)
    weights = numpy.array(found["counts"]) / 1000
    assert found["error"] == pytest.approx(float((weights * abs(observed - predicted)).sum()), abs=1e-6)


def test_the_ends_of_a_thinned_curve_stay() -> None:
    x = numpy.linspace(0, 1, 10_000)
    thinned = thin_curve(x, x**2)
    assert (thinned[0][0], thinned[0][-1]) == (0, 1)
    assert len(thinned[0]) <= POINTS + 2


def test_residuals_are_those_of_all_examples_and_points_are_few() -> None:
    draw = numpy.random.default_rng(1)
    truths = draw.normal(size=(5001, 1))
    estimates = truths + draw.normal(0.5, 0.2, size=truths.shape)
    (found,) = describe_numbers(["y"], estimates, truths)
    assert sum(found["counts"]) == 5001
    assert found["mean_error"] == pytest.approx(float((estimates - truths).mean()))
    assert found["deviation"] == pytest.approx(float((estimates - truths).std()))
    assert len(found["truth"]) == len(found["estimate"]) <= 800


def test_a_second_call_of_the_model_costs_nothing_and_other_tensors_are_computed() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return 2 * inputs

    model, one, other = Counting(), torch.ones(2), torch.zeros(2)
    with remember_outputs(model):
        assert model(one) is model(one)
        assert torch.equal(model(other), 2 * other)
        assert len(calls) == 2
    model(one)
    assert len(calls) == 3
