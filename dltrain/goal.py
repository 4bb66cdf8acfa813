"""What "best" means, and when to stop looking for better: functions of the scores so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple


class Goal(NamedTuple):
    """The report's metric that decides, and whether more or less of it is better.

    `counted` is what a batch's count counts, for people to read.
    """

    metric: str
    direction: Literal["max", "min"]
    counted: str = "examples"

    def better(self, score: float | None, than: float | None) -> bool:
        """Whether `score` beats `than`. A score that is missing or not a number beats nothing."""
        if score is None or score != score:
            return False
        if than is None or than != than:
            return True
        return score > than if self.direction == "max" else score < than

    def best(self, scores: Sequence[float | None]) -> int | None:
        """Index of the best score, the first of equals; None where there is none."""
        best: int | None = None
        for index, score in enumerate(scores):
            if self.better(score, None if best is None else scores[best]):
                best = index
        return best


def epochs_without_improvement(goal: Goal, scores: Sequence[float | None]) -> int:
    """How many epochs have passed since the best one; all of them where none has a score."""
    best = goal.best(scores)
    return len(scores) - (0 if best is None else best + 1)


def finished(goal: Goal, scores: Sequence[float | None], epochs: int, patience: int | None) -> str | None:
    """Why training is over, or None while it is not. `scores` holds one for each epoch that has ended."""
    if len(scores) >= epochs:
        return f"all {epochs} epochs done"
    stale = epochs_without_improvement(goal, scores)
    if patience is not None and scores and stale >= patience:
        return f"stopped early: no better {goal.metric} in {stale} epochs"
    return None
