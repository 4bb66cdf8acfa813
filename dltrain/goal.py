"""The metric that decides, and what "best" means for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf, isnan
from typing import Any, Literal, NamedTuple

LOSS = "loss"
"""The metric that every task reports, and that decides between equal scores: the lower one is better."""

COVERAGE = "coverage_"
"""What the share of true values in a prediction interval is called: this, and the nominal percentage, with _ as the
decimal point."""

Direction = Literal["max", "min"]

DIRECTIONS: dict[str, Direction] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "precision", "recall", "f1"), "max"),
    **dict.fromkeys(("roc_auc", "average_precision", "r2", "psnr"), "max"),
    **dict.fromkeys((LOSS, "mse", "rmse", "mae", "mase", "pinball_loss", "cross_entropy"), "min"),
    **dict.fromkeys(("perplexity", "bits_per_character"), "min"),
    **dict.fromkeys(("word_error_rate", "character_error_rate", "utterance_error_rate"), "min"),
}
"""Whether more or less of a metric is better. A plug-in's task may declare others, with its fact `metrics`."""

FORMER_NAMES = {f"weighted_{name}": f"row_weighted_{name}" for name in ("rmse", "mse", "mae", "r2")}
"""Metrics by the names that earlier versions gave them, in configs and in run directories."""

VARIANTS = ("row_weighted_", "class_weighted_", "unweighted_", "weighted_", "macro_")
"""Prefixes that change nothing about the direction."""


def find_direction(metric: str, declared: Mapping[str, Direction] | Collection[str] | None = None) -> Direction | None:
    """Whether more or less of a metric is better, as `declared` or as known; None for an unknown metric."""
    if isinstance(declared, Mapping) and metric in declared:
        return declared[metric]
    if metric in DIRECTIONS:
        return DIRECTIONS[metric]
    plain = next((metric.removeprefix(prefix) for prefix in VARIANTS if metric.startswith(prefix)), None)
    return None if plain is None else find_direction(plain)


def get_current_name(metric: str, reported: Collection[str]) -> str:
    """The metric's name among those that are reported, which earlier versions may have called otherwise."""
    current = FORMER_NAMES.get(metric, metric)
    return current if metric not in reported and current in reported else metric


def rename_metrics(entry: dict[str, Any]) -> dict[str, Any]:
    """Metrics by their names in this version; the same object where these are the same.

    Earlier versions reported all of the renamed ones or none; others are a plug-in's.
    """
    if not FORMER_NAMES.keys() <= entry.keys():
        return entry
    return {FORMER_NAMES.get(name, name): value for name, value in entry.items()}


class Ranked(NamedTuple):
    """The score of an epoch or of a run by the metric that decides, and its loss; None where there is none."""

    score: float | None
    loss: float | None = None


class Goal(NamedTuple):
    """The report's metric that decides, and whether more or less of it is better.

    `counted` is what a batch's count counts, for people to read.
    """

    metric: str
    direction: Direction
    counted: str = "examples"

    def best(self, results: Sequence[Ranked]) -> int | None:
        """Index of the best result; None where none has a score."""
        return next(iter(self.rank(results)), None)

    def rank(self, results: Sequence[Ranked]) -> list[int]:
        """Indices of the results that have a score, the best first.

        Of equal scores the one with the lower loss is the better; a missing loss is the worst. Those that are equal in
        both keep their order. What is not a number counts as missing.
        """
        keys = {index: key for index, result in enumerate(results) if (key := self._key(result)) is not None}
        return sorted(keys, key=keys.__getitem__, reverse=True)

    def find_improvements(self, results: Sequence[Ranked]) -> list[bool]:
        """Of each result in the order of time, whether it is better than all before it, by the rule of `rank`."""
        improved, best = [], None
        for key in map(self._key, results):
            improved.append(key is not None and (best is None or key > best))
            best = key if improved[-1] else best
        return improved

    def _key(self, result: Ranked) -> tuple[float, float] | None:
        """What results are ordered by, more is better; None without a score."""
        score, loss = result
        if score is None or isnan(score):
            return None
        return (score if self.direction == "max" else -score), (-inf if loss is None or isnan(loss) else -loss)
