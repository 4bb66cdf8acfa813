"""What a task is, to the trainer: a step, a score and a report. What else it can do: `dltrain.capabilities`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.goal import Goal

B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)

Counts = Mapping[str, Any]
"""Additive counts: adding those of two sets of examples gives those of both together. Tensors, but for `Each`."""


@dataclass(frozen=True)
class Each:
    """Values of each example: the count where no sum suffices, such as for a ranking. Adding concatenates them.

    `parts` are tensors (n, ...), one for each batch.
    """

    parts: tuple[Tensor, ...]

    def __add__(self, other: Each) -> Each:
        return Each(self.parts + other.parts)

    def values(self) -> Tensor:
        """Those of all examples, (N, ...)."""
        return torch.cat(self.parts)


class Step(NamedTuple):
    """The loss of one batch (its mean over the batch's count), and what the next step starts from."""

    loss: Tensor
    carry: Any = None


class Score(NamedTuple):
    """The counts of one batch, and what the next one starts from."""

    counts: Counts
    carry: Any = None


class Task(Protocol[B_contra]):
    """A task is frozen: it never changes while training."""

    goal: Goal

    @property
    def sizes(self) -> Mapping[str, int]:
        """The sizes that a model is built with, by parameter name."""

    def step(self, model: nn.Module, batch: B_contra, carry: Any) -> Step: ...

    def score(self, model: nn.Module, batch: B_contra, carry: Any) -> Score: ...

    def report(self, counts: Counts) -> dict[str, float]:
        """The metrics of a whole split: the one division. Holds `loss` and the goal's metric."""
