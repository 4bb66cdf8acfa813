"""Which trials of a sweep are stopped early."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from dltrain.config.search import Search

MEDIAN_OF = 5
EPOCHS_PLANNED = "epochs_planned"
"""The attribute of a trial with the number of epochs that it trains for if it is not stopped."""


class RungPruner(BasePruner):
    """Asynchronous successive halving, ASHA (Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning).

    Rungs are the epochs first, first * reduction, first * reduction^2, ... At a rung a trial continues if its best
    cost so far is among the best 1/reduction of all trials that have reached this rung, itself included; at least the
    best one continues. Nothing but the journal's costs decides, and a rung is decided once, at the first cost reported
    there or after it; so a trial whose process was killed in between gets the same decision (Optuna's
    `SuccessiveHalvingPruner` marks the rung as passed before it returns its decision).
    """

    def __init__(self, first: int, reduction: int, is_counted: Callable[[FrozenTrial], bool]) -> None:
        self._first, self._reduction, self._is_counted = first, reduction, is_counted

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        costs = trial.intermediate_values
        if not costs:
            return False
        epochs = sorted(costs)
        before = epochs[-2] if len(epochs) > 1 else 0
        planned = trial.user_attrs.get(EPOCHS_PLANNED, math.inf)
        reached = [rung for rung in list_rungs(self._first, self._reduction, epochs[-1]) if before < rung < planned]
        others = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        known = [one.intermediate_values for one in others if self._is_counted(one)]
        for rung in reached:
            rivals = [find_cost(one, rung) for one in known if max(one, default=0) >= rung]
            if not is_promoted(find_cost(costs, rung), rivals, self._reduction):
                return True
        return False


def list_rungs(first: int, reduction: int, last: int) -> Iterator[int]:
    """The epochs after which it is decided whether a trial continues, up to `last`."""
    rung = first
    while rung <= last:
        yield rung
        rung *= reduction


def find_cost(costs: Mapping[int, float], rung: int) -> float:
    """The lowest cost of the epochs up to a rung that has been reached; the first one where none of them has any."""
    return min((cost for epoch, cost in costs.items() if epoch <= rung), default=costs[min(costs)])


def is_promoted(cost: float, rivals: Sequence[float], reduction: int) -> bool:
    """Whether a cost is among the lowest 1/reduction of all, itself included, at least one; equal ones share a rank."""
    kept = max(1, (len(rivals) + 1) // reduction)
    return sum(rival < cost for rival in rivals) < kept


def make_pruner(search: Search, is_counted: Callable[[FrozenTrial], bool]) -> BasePruner:
    if search.pruner == "median":
        return MedianPruner(MEDIAN_OF, search.warmup_epochs)
    if search.pruner == "asha":
        return RungPruner(max(1, search.warmup_epochs), search.reduction, is_counted)
    return NopPruner()
