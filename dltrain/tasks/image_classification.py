"""Images to one of several classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Batch
from dltrain.goal import Goal
from dltrain.options import Fraction
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step


@tasks.register("image_classification", data="images", sizes=("image_channels", "height", "width", "classes"))
class ImageClassification:
    """Cross-entropy over classes; the best epoch has the highest validation accuracy.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`).

    Options:
        label_smoothing: share of the target spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    goal = Goal("accuracy", "max")

    def __init__(self, assets: Mapping[str, Any], *, label_smoothing: Fraction = 0.0) -> None:
        self.labels: tuple[str, ...] = tuple(assets["labels"])
        self.image_shape = (int(assets["channels"]), int(assets["height"]), int(assets["width"]))
        self.label_smoothing = label_smoothing

    @property
    def sizes(self) -> Mapping[str, int]:
        channels, height, width = self.image_shape
        return {"image_channels": channels, "height": height, "width": width, "classes": len(self.labels)}

    def step(self, model: nn.Module, batch: Batch, carry: None) -> Step:
        return Step(functional.cross_entropy(model(batch.inputs), batch.targets, label_smoothing=self.label_smoothing))

    def score(self, model: nn.Module, batch: Batch, carry: None) -> Score:
        logits = model(batch.inputs).float()  # (N, classes)
        classes = len(self.labels)
        nats = functional.cross_entropy(logits, batch.targets, reduction="sum")
        pairs = batch.targets * classes + logits.argmax(1)
        confusion = torch.bincount(pairs, minlength=classes * classes).view(classes, classes)
        return Score({"nats": nats.double() if nats.device.type != "mps" else nats, "confusion": confusion})

    def report(self, counts: Counts) -> dict[str, float]:
        confusion = counts["confusion"].double().cpu()
        examples = confusion.sum()
        by_class = self.by_class(counts)
        return {
            "accuracy": float(confusion.trace() / examples),
            "loss": float(counts["nats"].cpu() / examples),
            **{f"macro_{name}": float(values.mean()) for name, values in by_class.items() if name != "examples"},
        }

    def confusion(self, counts: Counts) -> Tensor:
        return counts["confusion"].cpu()

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
