"""The learning-rate range test: train while the rate rises from far too low to far too high.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186. The loop is the trainer's own:
the rates are a schedule, the losses are what it logs, and the end is a reason to stop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from dltrain.batch import Batch
from dltrain.core.schedules import Moment, Schedule
from dltrain.core.state import TrainState
from dltrain.core.trainer import train_model
from dltrain.errors import Diverged, Stopped
from dltrain.events import Event, Logged
from dltrain.options import Plan
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Task

EndReason = Literal["all rates tried", "the loss blew up", "the loss or a gradient was not finite"]

FEWEST = 10
"""Updates that a curve needs at least."""
_RECENT = 5
_BLOWN = 4.0  # times the lowest loss so far, as in Howard and Gugger 2020 (fastai)
_SMOOTHING = 1 / 40  # of all updates: the standard deviation of the bell that losses are averaged under
_LEAST_FALL = 0.02  # of the first loss
_AT_THE_END = 0.95


@dataclass(frozen=True)
class RisingRates(Schedule):
    """A schedule whose learning rate rises from `low` by equal factors, to `high` at the last of `steps` updates.

    `base` is the optimizer's own learning rate, of which a schedule gives multiples.
    """

    low: float
    high: float
    steps: int
    base: float

    def at(self, step: int) -> float:
        return float(self.low * (self.high / self.low) ** (step / (self.steps - 1)))

    def __call__(self, moment: Moment) -> float:
        return self.at(moment.step) / self.base


class RangeTestDone(Stopped):
    """The range test is complete."""


class LossRecorder:
    """The session of a test: it keeps the loss of each update and saves nothing."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.losses: list[float] = []
        self._lowest = math.inf

    def emit(self, event: Event) -> None:
        if isinstance(event, Logged):
            self.losses.append(event.loss)

    def save(self, state: TrainState, evaluated: bool) -> None:
        """Nothing outlives a test."""

    def pending(self) -> Stopped | None:
        if self.blown():
            return RangeTestDone("the loss blew up", 0)
        return RangeTestDone("all rates tried", 0) if len(self.losses) >= self.steps else None

    def take_save_request(self) -> bool:
        return False

    def blown(self) -> bool:
        """Whether the last few losses are worse than the first ones, and several times as large as the lowest."""
        if len(self.losses) < _RECENT:
            return False
        recent, initial = median(self.losses[-_RECENT:]), find_initial_loss(self.losses)
        self._lowest = min(self._lowest, recent, initial)
        return recent > _BLOWN * self._lowest and recent > initial


def find_initial_loss(losses: Sequence[float]) -> float:
    """The loss before any update, or the median of the first few where the first batch was an outlier."""
    return min(losses[0], median(losses[:_RECENT]))


class NoBatches:
    """The validation set of a test, which scores nothing."""

    def __len__(self) -> int:
        return 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(())


@dataclass(frozen=True)
class Curve:
    """The loss of each update and the learning rate that it was made with, and why the test ended.

    `steps` is how many updates there would have been.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    ended: EndReason
    steps: int

    @cached_property
    def smoothed(self) -> NDArray[numpy.float64]:
        """The losses averaged under a bell around each, so that no step lags behind.

        Single bad batches are left out first, by the median of each loss and its neighbours, and blown-up losses cut.
        Averages are geometric, unless a loss is not positive: so little of what is blown up gets into those before.
        """
        losses, around = self.losses, _RECENT // 2
        ceiling = 2 * abs(find_initial_loss(losses))
        calm = numpy.array(
            [min(ceiling, median(losses[max(0, index - around) : index + around + 1])) for index in range(len(losses))]
        )
        steps = numpy.arange(len(losses))
        bell = numpy.exp(-0.5 * ((steps[:, None] - steps) / max(1.0, self.steps * _SMOOTHING)) ** 2)
        bell /= bell.sum(1, keepdims=True)
        averages: NDArray[numpy.float64] = numpy.exp(bell @ numpy.log(calm)) if calm.min() > 0 else bell @ calm
        return averages

    @property
    def lowest(self) -> int:
        """Index of the lowest smoothed loss."""
        return int(self.smoothed.argmin())

    @property
    def fault(self) -> str | None:
        """Why nothing can be read from the curve, and what to do; None where something can."""
        first, last = f"{self.rates[0]:.2g}", f"{self.rates[-1]:.2g}"
        if len(self.losses) < FEWEST:
            return f"{self.ended} after {len(self.losses)} of {self.steps} updates, at {last}: lower --low"
        fall = self.smoothed[0] - self.smoothed[self.lowest]
        scatter = (numpy.array(self.losses) - self.smoothed)[: self.lowest + 1].std()
        if fall > max(scatter, _LEAST_FALL * abs(self.smoothed[0])):
            return None
        if self.ended != "all rates tried":
            return f"the loss only rises from {first} to {last}: lower --low"
        return f"the loss does not fall from {first} to {last}: try other --low and --high, or look at data and model"

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest, against the logarithm of the rate."""
        return self.rates[int(numpy.gradient(self.smoothed)[: self.lowest + 1].argmin())]

    @property
    def tenth_of_lowest(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest."""
        return self.rates[self.lowest] / 10

    @property
    def still_falling(self) -> bool:
        """Whether the loss was at its lowest where the test ended, so that higher rates may be better."""
        return self.ended == "all rates tried" and self.lowest >= _AT_THE_END * (len(self.losses) - 1)


def run_range_test(
    state: TrainState, task: Task[Any], training: Stream[Batch], plan: Plan, runtime: Runtime, rates: RisingRates
) -> Curve:
    """Train with rising rates, as often through the training set as need be, until the loss blows up.

    `plan` says how updates are made (accumulate, clip_norm); how long, and what is kept, is the test's own affair.
    Raises Diverged where the very first update cannot be made.
    """
    epochs = math.ceil(rates.steps / math.ceil(len(training) / plan.accumulate))
    tested = Plan(epochs=epochs, accumulate=plan.accumulate, clip_norm=plan.clip_norm, log_every_steps=1)
    recorder = LossRecorder(rates.steps)
    ended: EndReason = "all rates tried"
    try:
        train_model(
            state,
            task,
            training=training,
            validation=NoBatches(),
            plan=tested,
            schedule=rates,
            runtime=runtime,
            session=recorder,
        )
    except RangeTestDone:
        ended = "the loss blew up" if recorder.blown() else ended
    except Diverged as diverged:
        if not recorder.losses:
            raise Diverged(
                f"the first update, at learning rate {rates.low:g}: the loss or a gradient is not finite",
                advice="look for bad values in the data, or for what in the model makes them",
            ) from diverged
        ended = "the loss or a gradient was not finite"
    losses = recorder.losses
    return Curve([rates.at(step) for step in range(len(losses))], losses, ended, rates.steps)
