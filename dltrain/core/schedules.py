"""Learning-rate schedules: the factor on the learning rate, as a function of where training stands.

A schedule keeps nothing from one step to the next, the plateau's included, which reads the validation scores so far.
So there is nothing of it in a checkpoint that could be restored wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from annotated_types import Gt, Lt

from dltrain.options import Fraction, NonNegativeInt, PositiveInt, UnitInterval
from dltrain.registry import schedules


class Moment(NamedTuple):
    """Where training stands before an update.

    `scores` are the validation scores so far, one for each epoch that has ended or more, turned so that more is better.
    `improved` says of each whether it was better than all before it: of equal scores the lower loss is the better.
    """

    step: int
    steps: int
    epoch: int
    scores: Sequence[float]
    improved: Sequence[bool] = ()


class Schedule(Protocol):
    spans_run: bool = False
    """Whether the factor at a step depends on how many steps the whole run has."""
    reads_scores: bool = False
    """Whether it waits for validation scores."""

    def __call__(self, moment: Moment) -> float: ...


@schedules.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The learning rate as it is, after an optional linear warm-up.

    Options:
        warmup_steps: updates over which the learning rate rises from near zero.
    """

    warmup_steps: NonNegativeInt = 0

    def __call__(self, moment: Moment) -> float:
        return min(1.0, (moment.step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


@schedules.register("step")
@dataclass(frozen=True, kw_only=True)
class Staircase(Schedule):
    """Multiply the learning rate by a factor every few epochs.

    Options:
        every_epochs: epochs between two falls.
        after_epochs: epochs at the full learning rate before these are counted.
        gamma: the factor.
    """

    every_epochs: PositiveInt = 10
    after_epochs: NonNegativeInt = 0
    gamma: Annotated[float, Gt(0), Lt(1)] = 0.1

    def __call__(self, moment: Moment) -> float:
        return float(self.gamma ** (max(0, moment.epoch - self.after_epochs) // self.every_epochs))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@schedules.register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Fall along half a cosine over the run, after a linear warm-up (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Options:
        warmup: share of the run over which the learning rate rises from near zero.
        final: what is left of the learning rate at the end, as a share of it.
    """

    spans_run = True
    warmup: Fraction = 0.0
    final: UnitInterval = 0.0

    def __call__(self, moment: Moment) -> float:
        rising = round(self.warmup * moment.steps)
        if moment.step < rising:
            return (moment.step + 1) / rising
        return _half_cosine(1.0, self.final, (moment.step - rising) / max(1, moment.steps - rising))


@schedules.register("one_cycle")
@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up, then down to almost nothing, along half cosines (Smith and Topin 2018, arXiv:1708.07120).

    The learning rate of the optimizer is the highest of the cycle. Momentum stays as it is.

    Options:
        rising: share of the run in which the learning rate rises.
        start: the first learning rate, as a share of the highest.
        final: the last learning rate, as a share of the highest.
    """

    spans_run = True
    rising: Fraction = 0.3
    start: UnitInterval = 0.04
    final: UnitInterval = 4e-6

    def __call__(self, moment: Moment) -> float:
        last = moment.steps - 1
        peak = self.rising * moment.steps - 1
        if moment.step <= peak:
            return _half_cosine(self.start, 1.0, moment.step / peak) if peak > 0 else 1.0
        return _half_cosine(1.0, self.final, (moment.step - peak) / (last - peak)) if last > peak else self.final


@schedules.register("plateau")
@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """Multiply the learning rate by a factor whenever validation has not improved for a while.

    Options:
        patience: number of epochs (or evaluations) without a better score that are tolerated; of equal scores the
            lower loss is the better.
        gamma: the factor.
    """

    reads_scores = True
    patience: NonNegativeInt = 2
    gamma: Annotated[float, Gt(0), Lt(1)] = 0.1

    def __call__(self, moment: Moment) -> float:
        stale, falls = 0, 0
        for improved in moment.improved:
            stale = 0 if improved else stale + 1
            if stale > self.patience:
                stale, falls = 0, falls + 1
        return float(self.gamma**falls)


@schedules.register("inverse_square_root")
@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(Schedule):
    """Linear warm-up, then a fall with the root of the step (Vaswani et al. 2017, arXiv:1706.03762).

    The learning rate of the optimizer is reached at the end of the warm-up.

    Options:
        warmup_steps: updates over which the learning rate rises.
    """

    warmup_steps: PositiveInt = 4000

    def __call__(self, moment: Moment) -> float:
        step = moment.step + 1
        return min(step / self.warmup_steps, math.sqrt(self.warmup_steps / step))
