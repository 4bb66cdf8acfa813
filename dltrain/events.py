"""What happens while training, as frozen facts. Observers receive them and cannot steer.

An observer is anything that takes an event. One that a config can name is registered, and is built for each process
that trains, with the run that it follows; docs/extending.md has an example. `close`, if there is one, is called when
training ends for whatever reason. After a resume, steps since the last checkpoint are reported again. An observer that
raises an error other than OSError is dropped with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dltrain.goal import Goal


@dataclass(frozen=True)
class EpochStarted:
    """An epoch starts, or continues at `position` of its `batches` after a resume.

    `limit` is the number of batches in the whole run where its steps are limited.
    """

    epoch: int
    epochs: int
    position: int
    batches: int
    limit: int | None = None


@dataclass(frozen=True)
class Logged:
    """The updates since the last such event: `loss` is their mean over `examples` examples.

    `position` counts the batches of this epoch so far, `gradient_norm` is the L2 norm of the last update's gradient,
    before clipping.
    """

    step: int
    epoch: int
    position: int
    batches: int
    examples: int
    loss: float
    learning_rate: float
    gradient_norm: float | None = None


@dataclass(frozen=True)
class BatchesDivided:
    """Memory ran out: from update number `step` on, each batch is computed in so many `parts`."""

    step: int
    parts: int


@dataclass(frozen=True)
class Evaluated:
    """An epoch has ended, or the model was evaluated within one: then `epoch` has a fraction, as in 2.25.

    `report` is the validation report, empty where there is no validation set. `shown` are
    lines that the task made to show what the model does by now.
    """

    step: int
    epoch: float
    epochs: int
    training_loss: float
    learning_rate: float
    report: Mapping[str, float] = field(default_factory=dict)
    improved: bool = False
    shown: Sequence[str] = ()


@dataclass(frozen=True)
class Saved:
    """A checkpoint has its final name."""

    step: int
    epoch: int
    name: str


@dataclass(frozen=True)
class Finished:
    """Training is over, and why."""

    step: int
    epoch: int
    why: str


@dataclass(frozen=True)
class Interrupted:
    """Training ended before it was over, and why; if `resumable`, it was stopped, and the same command continues."""

    why: str
    resumable: bool


def ignore_message(text: str) -> None:
    """Print nothing."""


@dataclass(frozen=True)
class WatchedRun:
    """The run that an observer follows: its directory, its resolved `config`, and the `goal` of its task.

    `quiet` asks for no output but warnings, which `warn` prints; call it from the thread that trains.
    """

    directory: Path
    config: Mapping[str, Any]
    dataset: str
    goal: Goal
    quiet: bool = False
    warn: Callable[[str], None] = field(default=ignore_message, repr=False)


Event = EpochStarted | Logged | BatchesDivided | Evaluated | Saved | Finished | Interrupted
Observer = Callable[[Event], None]
