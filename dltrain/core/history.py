"""The epochs that a run has finished, and what their scores mean for its goal."""

from __future__ import annotations

from typing import Any

from dltrain.goal import Goal

_PROGRESS = {"epoch", "step", "training_loss", "learning_rate"}


class History(list[dict[str, Any]]):
    """One entry for each finished epoch: epoch, step, training loss, learning rate, and the validation metrics."""

    def metrics(self, index: int = -1) -> dict[str, float | None]:
        """The validation metrics of one epoch, by default the last; empty without an epoch or without validation."""
        return {name: value for name, value in self[index].items() if name not in _PROGRESS} if self else {}

    def scores(self, metric: str) -> list[float | None]:
        """One value for each epoch; None where it was not measured or not finite."""
        return [entry.get(metric) for entry in self]

    def best(self, goal: Goal) -> int | None:
        """Index of the best epoch, the first of equals; None where none has a score."""
        return goal.best(self.scores(goal.metric))

    def stale(self, goal: Goal) -> int:
        """Number of epochs since the best one; all of them where none has a score."""
        best = self.best(goal)
        return len(self) - (0 if best is None else best + 1)

    def finished(self, goal: Goal, epochs: int, patience: int | None) -> str | None:
        """Why training is over, or None while it is not."""
        if len(self) >= epochs:
            return f"all {epochs} epochs done"
        stale = self.stale(goal)
        if patience is not None and self and stale >= patience:
            return f"stopped early: no better {goal.metric} in {stale} epochs"
        return None
