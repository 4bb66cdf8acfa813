"""Texts as the numbers of their words or characters, and batches of texts of like lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, ClassVar, Literal, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.data.text.vocabulary import END, Vocabulary, choose_words
from dltrain.runtime.seeds import generator, permutation

Unit = Literal["word", "character"]
Int64s = NDArray[numpy.int64]

_POOL_BATCHES = 100

# Marks of Latin, Devanagari, Arabic and CJK scripts; not every sign that is no letter: vowel signs belong to words.
_MARKS = (
    r"!-/:-@\[-\^`{-~\u00a1-\u00bf\u00d7\u00f7\u0964\u0965\u060c\u061b\u061f\u2010-\u205e"
    r"\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20"
)
_WORD = re.compile(rf"[^\s{_MARKS}]+(?:['\u2019-][^\s{_MARKS}]+|(?<=\d)[.,]\d+)*|[{_MARKS}]")


@dataclass(frozen=True, slots=True)
class Documents:
    """Texts with a label each: tokens (N, T) int64, 0 after each text's number of tokens `lengths` (N,) int64.

    `targets` (N,) int64 are classes.
    """

    tokens: Tensor
    lengths: Tensor
    targets: Tensor
    rate: ClassVar[float] = 1.0

    @property
    def count(self) -> int:
        return self.targets.shape[0]

    @property
    def arguments(self) -> tuple[Tensor, Tensor]:
        return (self.tokens, self.lengths)


class Tokenizer(NamedTuple):
    """How text becomes tokens.

    With `punctuation` each mark is a word of its own, but for those within words and numbers (don't, 3.14).
    """

    unit: Unit
    lowercase: bool
    punctuation: bool

    def tokens(self, text: str) -> Iterable[str]:
        if self.lowercase:
            text = text.lower()
        if self.unit == "character":
            return text.replace("\n", " ")
        return _WORD.findall(text) if self.punctuation else text.split()


def learn_document_vocabulary(
    texts: Iterable[str], cut: Tokenizer, max_tokens: int, min_count: int, max_vocabulary: int | None
) -> tuple[list[str], str | None]:
    """The vocabulary of texts, `<eos>` at each one's end included, and its `<unk>` or None; see `chosen_words`."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(islice(chain(cut.tokens(text), [END]), max_tokens))
    counts.setdefault(END, 0)
    return choose_words(counts, min_count, max_vocabulary)


class EncodedDocument(NamedTuple):
    """The numbers of a text's tokens; how many it had, how many of them were unknown, and whether more were cut off."""

    ids: list[int]
    tokens: int
    unknown: int
    cut: bool


class DocumentEncoder:
    """Turns texts into the numbers of a dataset's assets, a checkpoint's too.

    Every text ends with `<eos>`, so that an empty one has a token as well, and is cut after `max_tokens`. A token that
    is not in the vocabulary is `<unk>`; it is left out where there is no such token.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._vocabulary = Vocabulary(assets)
        self._cut = Tokenizer(assets["unit"], assets["lowercase"], assets["punctuation"])
        self._most: int = assets["max_tokens"]

    def encode(self, text: str) -> EncodedDocument:
        known, unknown = self._vocabulary.ids, self._vocabulary.unknown
        tokens = list(islice(self._cut.tokens(text), self._most + 1))
        cut = len(tokens) > self._most
        del tokens[self._most :]
        ids = [number for token in tokens if (number := known.get(token, unknown)) is not None]
        if len(ids) < self._most:
            ids.append(self._vocabulary.end)
        return EncodedDocument(ids, len(tokens), sum(token not in known for token in tokens), cut)


class DocumentSet(NamedTuple):
    """Encoded texts, one after the other in `ids` (tokens,): where each begins, its length and its class, (N,) each."""

    ids: Int64s
    starts: Int64s
    lengths: Int64s
    targets: Int64s

    @classmethod
    def of(cls, encoded: Sequence[Sequence[int]], targets: Sequence[int]) -> DocumentSet:
        lengths = numpy.array([len(ids) for ids in encoded], numpy.int64)
        ids = numpy.fromiter(chain.from_iterable(encoded), numpy.int64, int(lengths.sum()))
        return cls(ids, numpy.cumsum(lengths) - lengths, lengths, numpy.array(targets, numpy.int64))

    def padded(self, chosen: Int64s) -> tuple[Tensor, Tensor]:
        """Some texts side by side: tokens (N, T), 0 after each one's end, and lengths (N,)."""
        lengths = self.lengths[chosen]
        steps = numpy.arange(lengths.max())
        inside = steps < lengths[:, None]
        tokens = numpy.zeros(inside.shape, numpy.int64)
        tokens[inside] = self.ids[(self.starts[chosen][:, None] + steps)[inside]]
        return torch.from_numpy(tokens), torch.from_numpy(lengths)

    def batch(self, chosen: Int64s) -> Documents:
        return Documents(*self.padded(chosen), torch.from_numpy(self.targets[chosen]))


@dataclass
class TrainingBatches:
    """Shuffled batches of texts of like lengths: a function of (seed, epoch, index)."""

    texts: DocumentSet
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        self._order = (-1, numpy.empty(0, numpy.int64))

    def __len__(self) -> int:
        return -(-len(self.texts.lengths) // self.batch_size)

    def batch(self, epoch: int, index: int) -> Documents:
        return self.texts.batch(self.order(epoch)[index * self.batch_size : (index + 1) * self.batch_size])

    def order(self, epoch: int) -> Int64s:
        """All texts in the epoch's order."""
        known, order = self._order  # read once: another thread may replace it
        if known != epoch:
            order = by_length(self.texts.lengths, self.batch_size, self.seed, epoch)
            self._order = (epoch, order)
        return order


def by_length(lengths: Int64s, batch_size: int, seed: int, epoch: int) -> Int64s:
    """Places (N,) shuffled, sorted by length within pools of 100 batches, then the batches shuffled.

    What is left over when all batches are full comes last.
    """
    places: Int64s = permutation(seed, epoch, len(lengths)).numpy()
    whole = len(places) // batch_size
    left, places = numpy.split(places, [len(places) - whole * batch_size])
    pools = numpy.arange(len(places)) // (_POOL_BATCHES * batch_size)
    places = places[numpy.lexsort((lengths[places], pools))]
    batches = torch.randperm(whole, generator=generator("batches", seed, epoch)).numpy()
    return numpy.concatenate((places.reshape(whole, batch_size)[batches].reshape(-1), left))


@dataclass
class EvaluationBatches:
    """Batches in the order of the files, the same in every epoch."""

    texts: DocumentSet
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.texts.lengths) // self.batch_size)

    def batch(self, epoch: int, index: int) -> Documents:
        end = min(len(self.texts.lengths), (index + 1) * self.batch_size)
        return self.texts.batch(numpy.arange(index * self.batch_size, end))
