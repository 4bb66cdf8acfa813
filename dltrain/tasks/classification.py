"""What all classification tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Batch
from dltrain.goal import Goal
from dltrain.task import Counts, Score, Step


class LabelledBatch(Batch, Protocol):
    """A batch of N examples, each of one class."""

    @property
    def targets(self) -> Tensor:
        """Classes (N,) int64."""
        ...


class Classification:
    """Cross-entropy over classes, of a model that gives logits (N, classes) for a batch's `arguments`.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`). The best epoch has the highest validation accuracy by default.

    Options:
        label_smoothing: share of the target spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    goal = Goal("accuracy", "max")

    def __init__(self, labels: Sequence[str], label_smoothing: float = 0.0) -> None:
        self.labels: tuple[str, ...] = tuple(labels)
        self.label_smoothing = label_smoothing

    def step(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Step:
        logits = model(*batch.arguments)
        return Step(functional.cross_entropy(logits, batch.targets, label_smoothing=self.label_smoothing))

    def score(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Score:
        logits = model(*batch.arguments).float()  # (N, classes)
        nats = functional.cross_entropy(logits, batch.targets, reduction="sum")
        confusion = compute_confusion_matrix(batch.targets, logits.argmax(1), len(self.labels))
        return Score({"nats": nats.double() if nats.device.type != "mps" else nats, "confusion": confusion})

    def report(self, counts: Counts) -> dict[str, float]:
        by_class = self.by_class(counts)
        return {
            **self.accuracy_and_loss(counts),
            **{f"macro_{name}": float(values.mean()) for name, values in by_class.items() if name != "examples"},
        }

    def accuracy_and_loss(self, counts: Counts) -> dict[str, float]:
        confusion = counts["confusion"].double().cpu()
        examples = confusion.sum()
        return {"accuracy": float(confusion.trace() / examples), "loss": float(counts["nats"].cpu() / examples)}

    def confusion(self, counts: Counts) -> Tensor:
        confusion: Tensor = counts["confusion"].cpu()
        return confusion

    def by_class(self, counts: Counts) -> dict[str, Tensor]:
        """Precision, recall, F1 and the number of examples of each class, (classes,) float64 each."""
        confusion = counts["confusion"].double().cpu()
        correct, predicted, present = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
        return {
            "precision": correct / predicted.clamp(min=1),
            "recall": correct / present.clamp(min=1),
            "f1": 2 * correct / (predicted + present).clamp(min=1),
            "examples": present,
        }

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        probabilities: Tensor = model(*inputs).float().softmax(1)
        return probabilities


def compute_confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64: how often each class (rows) was predicted as each (columns)."""
    pairs = targets * classes + predictions
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)
