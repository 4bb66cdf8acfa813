"""The shards of a batch: how it is divided, what is random in each, and how their results become one.

A batch is divided into `shards` parts of nearly the same size. That number belongs to the experiment, not to the
machine. What is random is a function of (seed, step, batch, shard), and sums over shards are taken in one fixed order,
a binary tree. So no bit depends on which process computes a shard: see `dltrain.runtime.processes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dltrain.batch import Batch, continues_before, shard_batch
from dltrain.runtime.seeds import make_seed
from dltrain.runtime.shard_statistics import ShardStatistics

Sums = Mapping[str, Any]
"""Counts by name, which add up."""


class Tally(Protocol):
    """Adds up the counts of an evaluation."""

    def add(self, batch: int, shard: int, counts: Sums) -> None: ...

    def total(self) -> Sums: ...


class World(Protocol):
    """Who computes which shards of a batch. All processes call its methods in the same order."""

    rank: int
    size: int
    """The number of processes."""
    shards: int
    own: Sequence[int]
    """The shards that this process computes."""

    def prepare(self, model: nn.Module) -> AbstractContextManager[None]:
        """While this lasts, `model` is trained."""

    def share(self, batch: Batch, shard: int) -> Sequence[Batch]:
        """The part of a batch, or none where it has fewer examples than there are shards."""

    def seed(self, *key: int) -> None:
        """Seed the global generators, from which dropout draws, with (seed, *key)."""

    def keep(self, parameters: Sequence[Tensor], losses: Sequence[Tensor]) -> None:
        """Take the gradients of one shard and its share in the loss away from `parameters`."""

    def total(self, parameters: Sequence[Tensor]) -> Tensor:
        """Give `parameters` the gradients of all shards; the loss of them all."""

    def drop(self) -> None:
        """Forget the shards that were kept since the last total."""

    def deal(self, number: int, batch: Batch) -> Sequence[tuple[int, Batch]]:
        """The parts of batch `number` of an evaluation that this process scores, each with its shard."""

    def start_tally(self) -> Tally:
        """What adds up the counts of an evaluation."""


class Alone:
    """One process and one shard: nothing is divided, and nothing is added up."""

    rank, size, shards = 0, 1, 1
    own: Sequence[int] = (0,)
    _loss: Tensor

    def prepare(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def share(self, batch: Batch, shard: int) -> Sequence[Batch]:
        return (batch,)

    def seed(self, *key: int) -> None: ...

    def keep(self, parameters: Sequence[Tensor], losses: Sequence[Tensor]) -> None:
        self._loss = losses[0] if len(losses) == 1 else torch.stack(tuple(losses)).sum()

    def total(self, parameters: Sequence[Tensor]) -> Tensor:
        return self._loss

    def drop(self) -> None: ...

    def deal(self, number: int, batch: Batch) -> Sequence[tuple[int, Batch]]:
        return ((0, batch),)

    def start_tally(self) -> Tally:
        return RunningTally()


class Shards:
    """One process that computes all shards of each batch, one after the other."""

    rank, size = 0, 1

    def __init__(self, shards: int, seed: int) -> None:
        self.shards = shards
        self.own: Sequence[int] = range(shards)
        self._seed = seed
        self._tree: list[tuple[int, Tensor]] = []
        self._used: list[bool] | None = None
        self._statistics: ShardStatistics | None = None

    @contextmanager
    def prepare(self, model: nn.Module) -> Iterator[None]:
        with ShardStatistics(model) as self._statistics:
            yield
        self._statistics = None

    def share(self, batch: Batch, shard: int) -> Sequence[Batch]:
        parts = shard_batch(batch, self.shards)
        return parts[shard : shard + 1]

    def seed(self, *key: int) -> None:
        torch.manual_seed(make_seed("shard", self._seed, *key))

    def keep(self, parameters: Sequence[Tensor], losses: Sequence[Tensor]) -> None:
        if losses:  # all shards use the same parameters; one without examples uses none
            self._used = [parameter.grad is not None for parameter in parameters]
        flat = torch.zeros(sum(parameter.numel() for parameter in parameters) + 1, device=parameters[0].device)
        for parameter, place in zip(parameters, _find_places(parameters, flat), strict=True):
            if parameter.grad is not None:
                place.copy_(parameter.grad)
                parameter.grad = None
        if losses:
            flat[-1] = torch.stack(tuple(losses)).sum()
        level = 0
        while self._tree and self._tree[-1][0] == level:
            flat = self._tree.pop()[1].add_(flat)
            level += 1
        self._tree.append((level, flat))

    def total(self, parameters: Sequence[Tensor]) -> Tensor:
        parts = [flat for _, flat in self._tree]
        while len(parts) > 1:  # a number of shards that is no power of two
            last = parts.pop()
            parts[-1].add_(last)
        flat = self._combine(parts[0])
        used = self._agree_on_used(self._used, len(parameters))
        for parameter, place, is_used in zip(parameters, _find_places(parameters, flat), used, strict=True):
            parameter.grad = place if is_used else None
        if self._statistics is not None:
            self._statistics.apply(self._collect(self._statistics.take()))
        self._tree, self._used = [], None
        return flat[-1].clone()

    def drop(self) -> None:
        self._tree, self._used = [], None
        if self._statistics is not None:
            self._statistics.take()

    def deal(self, number: int, batch: Batch) -> Sequence[tuple[int, Batch]]:
        if not continues_before(batch):
            return ((0, batch),)
        return [(shard, part) for shard in self.own for part in self.share(batch, shard)]

    def start_tally(self) -> Tally:
        return RunningTally()

    def _combine(self, flat: Tensor) -> Tensor:
        """The sum over processes of their sums over shards."""
        return flat

    def _agree_on_used(self, used: list[bool] | None, count: int) -> list[bool]:
        """Which parameters have a gradient; None where this process had no examples."""
        return used or [True] * count

    def _collect(self, statistics: list[Tensor]) -> list[Tensor]:
        """The statistics of all shards, in order."""
        return statistics


class RunningTally:
    """Adds counts up as they come, on their device."""

    def __init__(self) -> None:
        self._total: dict[str, Any] = {}

    def add(self, batch: int, shard: int, counts: Sums) -> None:
        for name, count in counts.items():
            self._total[name] = self._total[name] + count if name in self._total else count

    def total(self) -> Sums:
        return self._total


def _find_places(parameters: Sequence[Tensor], flat: Tensor) -> Iterator[Tensor]:
    """The part of `flat` that belongs to each parameter, in its shape."""
    end = 0
    for parameter in parameters:
        start, end = end, end + parameter.numel()
        yield flat[start:end].view(parameter.shape)
