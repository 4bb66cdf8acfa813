"""Rows of a table to one of several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.options import Fraction
from dltrain.registry import tasks
from dltrain.tasks.classification import Classification


@tasks.register("tabular_classification", data="table", sizes=("inputs", "outputs"))
class TabularClassification(Classification):
    """Cross-entropy over the labels of a table's target; the best epoch has the lowest validation loss.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`).
    """

    goal = Goal("loss", "min")  # a small table's accuracy has few values, and many epochs share the best

    def __init__(self, assets: Mapping[str, Any], *, label_smoothing: Fraction = 0.0) -> None:
        super().__init__(read_target_labels(assets, "tabular_classification"), label_smoothing)
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": len(self.labels)}


def read_target_labels(assets: Mapping[str, Any], task: str) -> Sequence[str]:
    """The labels of a table's target. Raises UsageError, naming the `task`, where it holds numbers."""
    labels: Sequence[str] | None = assets.get("labels")
    if labels is None:
        columns = assets["target"]["columns"]
        raise UsageError(
            f"task '{task}' needs a categorical target, but {', '.join(map(repr, columns))} is numeric",
            advice="set data.target_holds: labels if each of its numbers is a class, or use task regression",
        )
    return labels
