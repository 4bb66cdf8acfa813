"""Scores of classes against scikit-learn: absent classes, ties, classes that are never predicted, weights."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics
from torch import Tensor, nn

from dltrain.batch import Examples
from dltrain.core.evaluate import accumulate_counts
from dltrain.runtime.precision import Runtime
from dltrain.stream import Loader
from dltrain.tasks import class_scores
from dltrain.tasks.binary_classification import BinaryClassification
from dltrain.tasks.classification import Classification

CPU = Runtime(torch.device("cpu"), "")


class Batches:
    """Examples in ragged batches, so that the counts of several are added."""

    def __init__(self, examples: Examples, size: int = 7) -> None:
        count, weights = examples.count, examples.weights
        self.parts = [
            Examples(
                examples.inputs[start : start + size],
                examples.targets[start : start + size],
                None if weights is None else weights[start : start + size],
            )
            for start in range(0, count, size)
        ]

    def __len__(self) -> int:
        return len(self.parts)

    def batch(self, epoch: int, index: int) -> Examples:
        return self.parts[index]


def report(task: Any, examples: Examples) -> dict[str, float]:
    found: dict[str, float] = task.report(accumulate_counts(nn.Identity(), task, Loader(Batches(examples)), CPU))
    return found


def draw_case(number: int) -> tuple[int, Tensor, Tensor, Tensor]:
    """Classes, logits, targets and weights: classes absent from truth, prediction or both, ties, few examples."""
    draw = numpy.random.default_rng(number)
    classes, count = int(draw.integers(2, 7)), int(draw.integers(1, 40))
    shares = draw.dirichlet(numpy.full(classes, 0.5))
    targets = torch.from_numpy(draw.choice(classes, count, p=shares))
    logits = draw.normal(size=(count, classes)) + 2 * numpy.eye(classes)[targets.numpy()] * draw.random()
    logits[:, draw.random(classes) < 0.3] -= 20  # never predicted
    if number % 3 == 0:
        logits = logits.round(0)
    weights = draw.exponential(size=count) * (draw.random(count) < 0.9) + 1e-3
    return classes, torch.from_numpy(logits.astype(numpy.float32)), targets, torch.from_numpy(weights).float()


def average_ovr(truth: NDArray[Any], odds: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """scikit-learn's area of each class against the others, averaged over those that have one."""
    areas = [
        metrics.roc_auc_score(truth == one, odds[:, one], sample_weight=weights)
        for one in range(odds.shape[1])
        if 0 < (truth == one).sum() < len(truth)
    ]
    return float(numpy.mean(areas)) if areas else numpy.nan


def expected_scores(truth: NDArray[Any], logits: Tensor, weights: NDArray[Any] | None) -> dict[str, float]:
    chances, odds = logits.softmax(1).numpy(), class_scores.compute_log_odds(logits).numpy()
    predicted = chances.argmax(1)
    options: dict[str, Any] = {"zero_division": 0, "sample_weight": weights}
    macro = metrics.precision_recall_fscore_support(truth, predicted, average="macro", **options)
    return {
        "accuracy": metrics.accuracy_score(truth, predicted, sample_weight=weights),
        "macro_precision": macro[0],
        "macro_recall": macro[1],
        "macro_f1": macro[2],
        "weighted_f1": metrics.f1_score(truth, predicted, average="weighted", **options),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted, sample_weight=weights),
        "roc_auc": average_ovr(truth, odds, weights),
        "loss": metrics.log_loss(truth, chances, labels=range(chances.shape[1]), sample_weight=weights),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_scores_are_scikit_learns_on_random_cases(first: int) -> None:
    for number in range(first, first + 50):
        classes, logits, targets, weights = draw_case(number)
        task = Classification([f"class {one}" for one in range(classes)])
        truth, exact = targets.numpy(), logits.double()
        found = report(task, Examples(logits, targets))
        wanted = expected_scores(truth, exact, None)
        assert found == pytest.approx(wanted, abs=1e-9, nan_ok=True), number
        found = report(task, Examples(logits, targets, weights))
        wanted = expected_scores(truth, exact, weights.double().numpy())
        assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-9), number
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
            assert found[f"row_weighted_{name}"] == pytest.approx(wanted[name], abs=1e-9, nan_ok=True), (number, name)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_binary_scores_are_scikit_learns_on_random_cases() -> None:
    for number in range(200):
        _, logits, targets, weights = draw_case(number)
        logit, truth = logits[:, 1] - logits[:, 0], targets.clamp(max=1)
        task = BinaryClassification({"inputs": ["x"], "labels": ["legit", "fraud"]}, positive="fraud")
        for rows in (None, weights):
            found = report(task, Examples(logit[:, None], truth, rows))
            heavy = None if rows is None else rows.double().numpy()
            wanted = expected_binary(truth.numpy(), logit.double().numpy(), heavy)
            for name, value in wanted.items():
                key = name if rows is None or name == "loss" else f"row_weighted_{name}"
                assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (number, key)


def expected_binary(truth: NDArray[Any], logits: NDArray[Any], weights: NDArray[Any] | None) -> dict[str, float]:
    chances = 1 / (1 + numpy.exp(-logits))
    predicted = (chances >= 0.5).astype(int)
    options: dict[str, Any] = {"sample_weight": weights, "zero_division": 0}
    both = 0 < truth.sum() < len(truth)
    return {
        "accuracy": metrics.accuracy_score(truth, predicted, sample_weight=weights),
        "precision": metrics.precision_score(truth, predicted, **options),
        "recall": metrics.recall_score(truth, predicted, **options),
        "f1": metrics.f1_score(truth, predicted, **options),
        "macro_f1": metrics.f1_score(truth, predicted, average="macro", **options),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted, sample_weight=weights),
        "roc_auc": metrics.roc_auc_score(truth, chances, sample_weight=weights) if both else numpy.nan,
        "average_precision": metrics.average_precision_score(truth, chances, sample_weight=weights)
        if truth.any()
        else numpy.nan,
        "loss": numpy.average(numpy.logaddexp(0, numpy.where(truth, -logits, logits)), weights=weights),
    }


def test_a_class_that_does_not_occur_counts_for_nothing() -> None:
    task = Classification(["ant", "cat", "dog"])
    logits = torch.tensor([[-9.0, 1, 0], [-9, 0, 1], [-9, 2, 0]])
    counts = accumulate_counts(nn.Identity(), task, Loader(Batches(Examples(logits, torch.tensor([1, 2, 1])))), CPU)
    assert task.report(counts)["macro_f1"] == 1.0
    assert task.by_class(counts)["f1"].isnan().tolist() == [True, False, False]


def test_a_class_without_examples_that_is_predicted_counts_as_zero() -> None:
    found = report(Classification(["ant", "cat"]), Examples(torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([1, 1])))
    assert found["macro_f1"] == pytest.approx(1 / 3)
    assert found["balanced_accuracy"] == 0.5


def test_log_odds_rank_where_probabilities_are_all_one() -> None:
    logits = torch.tensor([[60.0, 0, 0], [50, 0, 0], [0, 1, 0]], dtype=torch.float64)
    odds = class_scores.compute_log_odds(logits)
    chances = logits.softmax(1)
    assert chances[0, 0] == chances[1, 0] == 1
    assert odds[0, 0] > odds[1, 0]
    assert odds[2] == pytest.approx(torch.log(chances[2] / (1 - chances[2])))
    two = class_scores.compute_log_odds(torch.tensor([[3.0, 1.0]], dtype=torch.float64))
    assert two.tolist() == [[2.0, -2.0]]


def test_more_classes_than_can_be_ranked_have_no_area() -> None:
    logits, targets = torch.randn(5, 101, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    assert "roc_auc" not in report(Classification([str(one) for one in range(101)]), Examples(logits, targets))
