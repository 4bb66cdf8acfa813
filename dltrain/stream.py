"""Batches as a function of (seed, epoch, position): no sampler state, nothing to save."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy
import torch
from numpy.typing import NDArray

B_co = TypeVar("B_co", covariant=True)
B = TypeVar("B")
Item = TypeVar("Item")
Made = TypeVar("Made")


class Stream(Protocol[B_co]):
    """Batches of one split. The same arguments always give the same batches."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B_co]:
        """Return the batches of `epoch` from position `start` on."""


class Source(Protocol[B_co]):
    """Batches by index, which workers may make in any order and at the same time."""

    def __len__(self) -> int: ...

    def batch(self, epoch: int, index: int) -> B_co: ...


@runtime_checkable
class Pads(Protocol):
    """A source whose batches hold padding."""

    def padding_share(self, epoch: int) -> float:
        """Return the share of padding in the epoch's batches."""


@runtime_checkable
class Selects(Protocol):
    """A source of evaluation batches that can do with some of its examples."""

    def select(self, examples: NDArray[numpy.int64]) -> Source[Any]:
        """The same batches of the examples with these indices only, in order; they are the split's, from 0."""


def map_in_order(
    function: Callable[[Item], Made], items: Iterable[Item], workers: int, ahead: int = 2
) -> Generator[Made]:
    """Apply `function` to each item, in order, in threads that each work up to `ahead` items ahead.

    Each thread uses one intra-op thread, so that it does not fight the training step for cores.
    """
    pool = ThreadPoolExecutor(workers, "dltrain-ahead", initializer=torch.set_num_threads, initargs=(1,))
    pending: deque[Future[Made]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Loader(Generic[B]):
    """The stream of a source's batches, in order; with `workers` threads, prepared in advance.

    Threads, not processes: what a batch costs is spent in torch, outside the interpreter lock.
    """

    source: Source[B]
    workers: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B]:
        if self.workers == 0:
            return (self.source.batch(epoch, index) for index in range(start, len(self.source)))
        return map_in_order(partial(self.source.batch, epoch), range(start, len(self.source)), self.workers)
