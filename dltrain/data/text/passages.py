"""Passages of an encoded text, in batches: each a function of (seed, epoch, index).

An encoded text is `ids` (1 + n,): the id of `<eos>`, which precedes every text, and the n tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import ceil
from statistics import NormalDist
from typing import Any

import numpy
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Generator, Tensor

from dltrain.batch import NO_TARGET
from dltrain.data.batching import IndexedBatches, order_by_length
from dltrain.data.synthetic import EXAMPLES, STEPS
from dltrain.runtime.seeds import draw_permutation, make_generator

Ids = NDArray[Any]
Int64s = NDArray[numpy.int64]

WARM_UP = 256
"""Tokens that a column of an evaluation reads before the first one it scores."""

_PIECE_TOKENS = 1 << 22
_SHORTEST, _DEVIATION, _HALVED = 5, 5.0, 0.05  # Merity et al. 2018


@dataclass(frozen=True, slots=True)
class Passages:
    """Stretches of text side by side: tokens `inputs` (T, N) int64, and `targets` (T, N) int64, the tokens after them.

    `count` is the number of targets that are not NO_TARGET. `continues` means that each passage continues the same
    column of the batch before it, so that a state can be carried over.
    """

    inputs: Tensor
    targets: Tensor
    count: int
    continues: bool
    rate: float = 1.0

    @property
    def arguments(self) -> tuple[Tensor, None]:
        return (self.inputs, None)

    def divide(self, parts: int) -> list[Passages]:
        """Up to `parts` batches of neighbouring columns."""
        pieces = min(parts, self.inputs.shape[1])
        columns = zip(self.inputs.tensor_split(pieces, 1), self.targets.tensor_split(pieces, 1), strict=True)
        return [
            replace(self, inputs=inputs, targets=targets, count=int((targets != NO_TARGET).sum()))
            for inputs, targets in columns
        ]


class TextWindows:
    """Training on a text in `columns` passages side by side, window after window down to their end.

    Each column is one stretch of n // columns tokens (the last n % columns are left out), and each window continues
    the one before it, so a hidden state can be carried along (Zaremba et al. 2014, arXiv:1409.2329). Windows are
    `length` tokens long, the last one is shorter. With `random_lengths` they vary as in Merity et al. 2018
    (arXiv:1708.02182, section 4.1): a length is drawn around `length`, one time in twenty around half of it, with
    standard deviation 5; a batch's `rate` is its length divided by `length`. The lengths are drawn once and reordered
    for each epoch, so that all epochs have the same number of batches.
    """

    def __init__(self, ids: Ids, columns: int, length: int, *, seed: int, random_lengths: bool = False) -> None:
        self._rows = (len(ids) - 1) // columns
        step = ids.strides[0]
        # Column n is ids[n * rows : (n + 1) * rows + 1]: its tokens, and before them the one that they follow.
        self._columns = as_strided(ids, (self._rows + 1, columns), (step, step * self._rows), writeable=False)
        self._length, self._seed, self._random = length, seed, random_lengths
        if random_lengths:
            lengths = draw_lengths(self._rows, length, seed)
        else:
            lengths = [min(length, self._rows - start) for start in range(0, self._rows, length)]
        self._lengths = numpy.array(lengths)
        self._fixed_ends = numpy.cumsum(self._lengths)
        self._random_ends = lru_cache(maxsize=1)(self._reorder)

    def __len__(self) -> int:
        return len(self._lengths)

    def batch(self, epoch: int, index: int) -> Passages:
        ends = self._random_ends(epoch) if self._random else self._fixed_ends
        start, end = int(ends[index - 1]) if index else 0, int(ends[index])
        window = torch.from_numpy(self._columns[start : end + 1].astype(numpy.int64, order="C"))  # (T + 1, N)
        rate = (end - start) / self._length if self._random else 1.0
        return Passages(window[:-1], window[1:], (end - start) * window.shape[1], continues=True, rate=rate)

    def _reorder(self, epoch: int) -> Int64s:
        return numpy.cumsum(self._lengths[draw_permutation(self._seed, epoch, len(self)).numpy()])


def draw_lengths(rows: int, length: int, seed: int) -> list[int]:
    """Draw random lengths of windows that add up to `rows` rows, none below 5 unless `rows` is."""
    draw, normal = make_generator("window lengths", seed), NormalDist()
    lengths: list[int] = []
    total = 0
    while total < rows:
        halved, quantile = torch.rand(2, dtype=torch.float64, generator=draw).tolist()
        centre = length / 2 if halved < _HALVED else length
        drawn = max(_SHORTEST, int(centre + _DEVIATION * normal.inv_cdf(quantile or 0.5)))
        lengths.append(min(drawn, rows - total))
        total += lengths[-1]
    if len(lengths) > 1 and lengths[-1] < _SHORTEST:
        last = lengths.pop()
        lengths[-1] += last
    return lengths


class SentenceBatches(IndexedBatches[Passages]):
    """Training or evaluation line by line: each passage of a batch is one line, padded to the longest one's length.

    A line w1..wn is read as `<eos>` w1..wn and asked for w1..wn `<eos>`. A line of more than `max_words` words is cut
    into pieces, each of which follows the word before it, so that every token is asked for once. Batches hold
    `batch_size` lines. `shuffled` by (seed, epoch), lines of similar length share a batch, which saves padding;
    otherwise they keep the order of the text.
    """

    def __init__(self, ids: Ids, end: int, batch_size: int, *, max_words: int, seed: int, shuffled: bool) -> None:
        self._ids, self._end = ids, end
        self._starts, lengths = cut_lines(ids, end, max_words)
        self._lengths = lengths
        order = partial(order_by_length, lengths, batch_size, seed)
        super().__init__(len(lengths), batch_size, self._pad, order if shuffled else None)

    def _pad(self, epoch: int, lines: Tensor) -> Passages:
        chosen = lines.numpy()
        lengths = self._lengths[chosen]
        inputs = numpy.full((int(lengths.max()), len(chosen)), self._end, numpy.int64)
        targets = numpy.full_like(inputs, NO_TARGET)
        for column, (start, length) in enumerate(zip(self._starts[chosen], lengths, strict=True)):
            inputs[:length, column] = self._ids[start : start + length]
            targets[:length, column] = self._ids[start + 1 : start + length + 1]
        return Passages(torch.from_numpy(inputs), torch.from_numpy(targets), int(lengths.sum()), continues=False)


def cut_lines(ids: Ids, end: int, max_words: int) -> tuple[Int64s, Int64s]:
    """Find where each line of a text, or piece of a long one, starts, and its number of targets, (lines,) each.

    A piece is `ids[start : start + length]` as inputs, one token further as targets.
    """
    parts = range(1, len(ids), _PIECE_TOKENS)
    found = [part + numpy.flatnonzero(ids[part : part + _PIECE_TOKENS] == end) for part in parts]
    ends: Int64s = numpy.concatenate(found or [numpy.empty(0, numpy.int64)])
    starts = numpy.concatenate(([0], ends))[:-1]
    many = numpy.maximum(1, -(-(ends - starts - 1) // max_words))
    piece = numpy.arange(many.sum()) - numpy.repeat(numpy.cumsum(many) - many, many)
    begins = numpy.repeat(starts, many) + piece * max_words
    return begins, numpy.diff(begins, append=ends[-1:])


class EvaluationWindows:
    """A whole text, every token scored exactly once, in up to `columns` passages side by side.

    Every column but the first starts WARM_UP tokens before the first one it scores, with NO_TARGET there: an initial
    state has settled by then, so the score does not depend on the number of columns. There are fewer columns if each
    would score less than it reads to warm up. Only the end of the last one is padded.
    """

    def __init__(self, ids: Ids, end: int, columns: int, length: int) -> None:
        self._ids, self._end, self._length = ids, end, length
        after_first = max(1, len(ids) - 1 - WARM_UP)
        columns = max(1, min(columns, after_first // WARM_UP))
        self._share = ceil(after_first / columns)
        self._columns = ceil(after_first / self._share)
        self._rows = min(len(ids) - 1, WARM_UP + self._share)

    def __len__(self) -> int:
        return ceil(self._rows / self._length)

    def batch(self, epoch: int, index: int) -> Passages:
        first = index * self._length
        last = min(first + self._length, self._rows)
        inputs = numpy.full((last - first, self._columns), self._end, numpy.int64)
        targets = numpy.full_like(inputs, NO_TARGET)
        for column in range(self._columns):
            start = column * self._share + first
            passage = self._ids[start : column * self._share + last + 1]
            rows = max(0, len(passage) - 1)
            inputs[:rows, column] = passage[:rows]
            scored = max(0, WARM_UP - first) if column else 0
            targets[scored:rows, column] = passage[1:][scored:]
        count = int((targets != NO_TARGET).sum())
        return Passages(torch.from_numpy(inputs), torch.from_numpy(targets), count, continues=True)


def make_synthetic_passages(sizes: Mapping[str, int], draw: Generator) -> Passages:
    inputs, targets = (torch.randint(sizes["vocabulary"], (STEPS, EXAMPLES), generator=draw) for _ in range(2))
    return Passages(inputs, targets, STEPS * EXAMPLES, continues=True)
