"""What happens while training, as frozen facts. Observers receive them and cannot steer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EpochStarted:
    """An epoch begins, or goes on at `position` of its `batches` after a resume."""

    epoch: int
    epochs: int
    position: int
    batches: int


@dataclass(frozen=True)
class Logged:
    """The updates since the last such event: `loss` is their mean over `examples` examples.

    `position` counts the batches of this epoch so far.
    """

    step: int
    epoch: int
    position: int
    batches: int
    examples: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Evaluated:
    """An epoch has ended. `report` is the validation report, empty where there is no validation set.

    `shown` are lines that the task made to show what the model does by now.
    """

    step: int
    epoch: int
    epochs: int
    training_loss: float
    learning_rate: float
    report: Mapping[str, float] = field(default_factory=dict)
    improved: bool = False
    shown: Sequence[str] = ()


@dataclass(frozen=True)
class Saved:
    """A checkpoint stands under its final name."""

    step: int
    epoch: int
    name: str


@dataclass(frozen=True)
class Finished:
    """Training is over, and why."""

    step: int
    epoch: int
    why: str


Event = EpochStarted | Logged | Evaluated | Saved | Finished
Observer = Callable[[Event], None]
