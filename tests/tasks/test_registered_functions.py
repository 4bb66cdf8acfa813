"""The package's own losses and metrics against torch, scikit-learn and sums by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.registry import metrics
from dltrain.tasks import losses
from dltrain.tasks import metrics as own
from dltrain.tasks.binary_classification import BinaryClassification
from dltrain.tasks.classification import TabularClassification
from dltrain.tasks.regression import Regression


def draw(classes: int = 4, examples: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = 2 * torch.randn(examples, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (examples,), generator=generator)


def test_class_metrics_are_scikit_learns() -> None:
    logits, targets = draw()
    probabilities, predictions = logits.softmax(1), logits.argmax(1)
    assert own.compute_matthews_corrcoef(predictions, targets) == pytest.approx(
        sklearn_metrics.matthews_corrcoef(targets, predictions)
    )
    weighted = sklearn_metrics.cohen_kappa_score(targets, predictions, weights="quadratic")
    assert own.compute_cohen_kappa(predictions, targets, weights="quadratic") == pytest.approx(weighted)
    for k in (1, 2, 3):
        expected = sklearn_metrics.top_k_accuracy_score(targets, probabilities, k=k)
        assert own.compute_top_k_accuracy(probabilities, targets, k=k) == pytest.approx(expected)
    assert own.compute_top_k_accuracy(probabilities, targets, k=9) == 1
    per_class = [
        sklearn_metrics.brier_score_loss((targets == label).numpy(), probabilities[:, label].numpy())
        for label in range(4)
    ]
    assert own.compute_brier_score(probabilities, targets) == pytest.approx(sum(per_class))
    expected = sklearn_metrics.fbeta_score(targets, predictions, beta=2, average="macro")
    assert own.compute_f_beta(predictions, targets, beta=2) == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    """Two bins: 0.9 sure and always right, 0.6 sure and right half of the time."""
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], dtype=torch.float64)
    targets = torch.tensor([0, 0, 0, 1])
    assert own.compute_calibration_error(probabilities, targets) == pytest.approx((0.1 + 0.1) / 2)


def test_number_metrics_are_scikit_learns() -> None:
    truth, errors = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = truth + errors
    for name, function in (
        ("mape", sklearn_metrics.mean_absolute_percentage_error),
        ("median_absolute_error", sklearn_metrics.median_absolute_error),
        ("explained_variance", sklearn_metrics.explained_variance_score),
    ):
        assert metrics[name](found, truth) == pytest.approx(function(truth, found)), name
    largest = [sklearn_metrics.max_error(truth[:, one], found[:, one]) for one in range(2)]
    assert own.compute_max_error(found, truth) == pytest.approx(sum(largest) / 2)
    assert own.compute_smape(torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [1.0]])) == pytest.approx(0.5)


def test_log_cosh_is_the_logarithm_of_cosh_and_stays_finite() -> None:
    errors = torch.tensor([[-3.0], [0.0], [0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    found = losses.compute_log_cosh(errors, torch.zeros_like(errors))
    torch.testing.assert_close(found, errors.cosh().log())
    (slope,) = torch.autograd.grad(found.sum(), errors)
    torch.testing.assert_close(slope[[0, 2, 3]], errors.tanh()[[0, 2, 3]])
    assert losses.compute_log_cosh(torch.tensor(1e4), torch.tensor(0.0)).isfinite()


TABLE = {"inputs": ["x"], "labels": ["no", "yes", "perhaps", "never"], "class_counts": [1, 2, 3, 4]}


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0] * 25)])
@pytest.mark.parametrize("class_weights", [None, {"yes": 3.0}])
def test_the_focal_loss_is_focal_gamma_by_another_name(weights: torch.Tensor | None, class_weights: object) -> None:
    logits, targets = draw()
    batch = Examples(logits.float(), targets, weights)
    old = TabularClassification(TABLE, focal_gamma=2.0, class_weights=class_weights)  # type: ignore[arg-type]
    new = TabularClassification(TABLE, loss="focal", class_weights=class_weights)  # type: ignore[arg-type]
    assert float(new.step(nn.Identity(), batch, None).loss) == pytest.approx(
        float(old.step(nn.Identity(), batch, None).loss), rel=1e-6
    )
    report = new.report(new.score(nn.Identity(), batch, None).counts)
    plain = functional.cross_entropy(logits, targets, reduction="none")
    each = plain * (1 - logits.softmax(1).gather(1, targets[:, None])[:, 0]) ** 2
    row = torch.ones(50) if weights is None else weights
    assert report["loss"] == pytest.approx(float((each * row).sum() / row.sum()), rel=1e-6)
    assert report["cross_entropy"] == pytest.approx(float(plain.mean()), rel=1e-6)


def test_a_binary_task_gives_a_loss_the_logits_of_both_labels() -> None:
    logits, targets = draw(2)
    single = logits[:, :1].float()
    assets = {"inputs": ["x"], "labels": ["no", "yes"]}
    for positive in ("no", "yes"):
        plain = BinaryClassification(assets, positive=positive)
        chosen = BinaryClassification(assets, positive=positive, loss="focal")
        chosen_step = chosen.step(nn.Identity(), Examples(single, targets), None).loss
        focal = BinaryClassification(assets, positive=positive, focal_gamma=2.0)
        expected = focal.step(nn.Identity(), Examples(single, targets), None).loss
        assert float(chosen_step) == pytest.approx(float(expected), rel=1e-5)
        counts = chosen.score(nn.Identity(), Examples(single, targets), None).counts
        own_report = plain.report(plain.score(nn.Identity(), Examples(single, targets), None).counts)
        assert chosen.report(counts)["cross_entropy"] == pytest.approx(own_report["loss"], rel=1e-6)
    with pytest.raises(ValueError, match="positive_weight changes cross_entropy"):
        BinaryClassification(assets, loss="focal", positive_weight=2.0)
    with pytest.raises(ValueError, match="focal_gamma changes cross_entropy, but loss is hinge"):
        BinaryClassification(assets, loss="hinge", focal_gamma=2.0)


def test_metrics_of_a_task_are_in_units() -> None:
    target = {"columns": ["y"], "mean": [10.0], "std": [2.0], "normalize": "standard"}
    task = Regression({"inputs": ["x"], "target": target}, metrics=["max_error", "mape"])
    batches = [
        Examples(torch.tensor([[0.5], [1.0]]), torch.tensor([[0.0], [1.0]])),
        Examples(torch.ones(1, 1), -torch.ones(1, 1)),
    ]
    counts = [task.score(nn.Identity(), batch, None).counts for batch in batches]
    report = task.report({name: counts[0][name] + counts[1][name] for name in counts[0]})
    assert report["max_error"] == pytest.approx(4)  # 12 for 8
    assert report["mape"] == pytest.approx((1 / 10 + 0 + 4 / 8) / 3)
