"""The metric that decides, and what "best" means for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan
from typing import Literal, NamedTuple

LOSS = "loss"
"""The metric that every task reports, and that decides between equal scores: the lower one is better."""


class Ranked(NamedTuple):
    """The score of an epoch or of a run by the metric that decides, and its loss; None where there is none."""

    score: float | None
    loss: float | None = None


class Goal(NamedTuple):
    """The report's metric that decides, and whether more or less of it is better.

    `counted` is what a batch's count counts, for people to read.
    """

    metric: str
    direction: Literal["max", "min"]
    counted: str = "examples"

    def best(self, results: Sequence[Ranked]) -> int | None:
        """Index of the best result; None where none has a score."""
        return next(iter(self.rank(results)), None)

    def rank(self, results: Sequence[Ranked]) -> list[int]:
        """Indices of the results that have a score, the best first.

        Of equal scores the one with the lower loss is the better; a missing loss is the worst. Those that are equal in
        both keep their order. What is not a number counts as missing.
        """
        sign = 1.0 if self.direction == "max" else -1.0
        keys: dict[int, tuple[float, float]] = {}
        for index, (score, loss) in enumerate(results):
            if score is not None and not isnan(score):
                keys[index] = (sign * score, -inf if loss is None or isnan(loss) else -loss)
        return sorted(keys, key=keys.__getitem__, reverse=True)
