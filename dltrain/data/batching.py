"""Batches of examples chosen by index, in the order of the data or shuffled in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.runtime.seeds import draw_permutation, make_generator

B = TypeVar("B")
Int64s = NDArray[numpy.int64]

_POOL_BATCHES = 100


class IndexedBatches(Generic[B]):
    """Batches of `count` examples, built by `make` from (epoch, indices (N,) int64).

    Examples follow `order(epoch)`, or the data's own order without it. With `join_single`, a single example left over
    at the end joins the batch before it, since batch normalisation cannot learn from one example.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        make: Callable[[int, Tensor], B],
        order: Callable[[int], Tensor] | None = None,
        *,
        join_single: bool = False,
    ) -> None:
        whole, left = divmod(count, batch_size)
        self._batches = max(1, whole + (left > 1)) if join_single else whole + (left > 0)
        self.count, self._batch_size, self.make = count, batch_size, make
        in_order = torch.arange(count)
        self.order = (lambda epoch: in_order) if order is None else lru_cache(maxsize=1)(order)

    def __len__(self) -> int:
        return self._batches

    def select(self, examples: Int64s) -> IndexedBatches[B]:
        """Those of some examples, in the data's order."""
        indices, make = torch.from_numpy(examples), self.make
        return IndexedBatches(len(indices), self._batch_size, lambda epoch, chosen: make(epoch, indices[chosen]))

    def batch(self, epoch: int, index: int) -> B:
        end = (index + 1) * self._batch_size if index < len(self) - 1 else None
        return self.make(epoch, self.order(epoch)[index * self._batch_size : end])


def order_by_length(lengths: Int64s, batch_size: int, seed: int, epoch: int, drawn: Int64s | None = None) -> Tensor:
    """Shuffle examples, (N,) int64, so that those of similar length share a batch.

    `drawn` (N,) are the epoch's examples in random order; without it they are shuffled here. They are sorted by length
    within pools of 100 batches, then the batches are shuffled. Examples left over when all batches are full come last.
    """
    indices = draw_permutation(seed, epoch, len(lengths)).numpy() if drawn is None else drawn
    whole = len(indices) // batch_size
    left, indices = numpy.split(indices, [len(indices) - whole * batch_size])
    pools = numpy.arange(len(indices)) // (_POOL_BATCHES * batch_size)
    indices = indices[numpy.lexsort((lengths[indices], pools))]
    batches = torch.randperm(whole, generator=make_generator("batches", seed, epoch)).numpy()
    return torch.from_numpy(numpy.concatenate((indices.reshape(whole, batch_size)[batches].reshape(-1), left)))
