"""The metric that decides, and what "best" means for it."""

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
