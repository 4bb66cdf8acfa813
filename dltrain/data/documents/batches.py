"""Texts as the ids of their words or characters, and batches of texts of similar lengths."""

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
from torch import Generator, Tensor

from dltrain.batch import divide_tensors
from dltrain.data.batching import IndexedBatches, order_by_length
from dltrain.data.cleaning import FORM, compose_prose
from dltrain.data.sampling import Sampling, draw_examples
from dltrain.data.synthetic import EXAMPLES, STEPS, random_lengths
from dltrain.data.text.vocabulary import END, Vocabulary, choose_words
from dltrain.stream import Loader

Unit = Literal["word", "character"]
Int64s = NDArray[numpy.int64]

# Marks of Latin, Devanagari, Arabic and CJK scripts; not every sign that is no letter: vowel signs belong to words.
_MARKS = (
    r"!-/:-@\[-\^`{-~\u00a1-\u00bf\u00d7\u00f7\u0964\u0965\u060c\u061b\u061f\u2010-\u205e"
    r"\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20"
)
_WORD = re.compile(rf"[^\s{_MARKS}]+(?:['\u2019-][^\s{_MARKS}]+|(?<=\d)[.,]\d+)*|[{_MARKS}]")

_UNSPACED = re.compile("[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff]")
"""Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Labelled texts: tokens (N, T) int64, 0 after each text's number of tokens `lengths` (N,) int64.

    `targets` (N,) int64 are classes. `weights` (N,) float32 are how much each text counts in the loss, 1 on average
    over the training split; None for 1 each.
    """

    tokens: Tensor
    lengths: Tensor
    targets: Tensor
    weights: Tensor | None = None
    rate: ClassVar[float] = 1.0

    @property
    def count(self) -> int:
        return self.targets.shape[0]

    @property
    def arguments(self) -> tuple[Tensor, Tensor]:
        return (self.tokens, self.lengths)

    def divide(self, parts: int) -> list[Documents]:
        return divide_tensors(self, parts)


class Tokenizer(NamedTuple):
    """Splits text into tokens.

    With `punctuation` each mark is a separate word, except within words and numbers (don't, 3.14).
    """

    unit: Unit
    lowercase: bool
    punctuation: bool

    def tokenize(self, text: str) -> Sequence[str]:
        if self.lowercase:
            text = text.lower()
        if self.unit == "character":
            return text.replace("\n", " ")
        return _WORD.findall(text) if self.punctuation else text.split()


def learn_document_vocabulary(
    texts: Iterable[str], tokenizer: Tokenizer, *, max_tokens: int, min_count: int, max_vocabulary: int | None
) -> tuple[list[str], str | None]:
    """Learn the vocabulary of texts, including the final `<eos>`, and its `<unk>` or None; see `choose_words`."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(islice(chain(tokenizer.tokenize(text), [END]), max_tokens))
    counts.setdefault(END, 0)
    return choose_words(counts, min_count, max_vocabulary)


class EncodedDocument(NamedTuple):
    """The ids of a text's tokens, the number of tokens read, of unknown ones, and of all tokens of the text.

    `length` is larger than `tokens` if the text was truncated. `spaced` is false for a text in a script that does not
    separate words, such as Chinese, Japanese or Thai.
    """

    ids: list[int]
    tokens: int
    unknown: int
    length: int
    spaced: bool = True


class DocumentEncoder:
    """Encodes texts with the vocabulary of a dataset's assets, which a checkpoint stores.

    Every text ends with `<eos>`, so that an empty one has a token as well, and is truncated to `max_tokens`. A token
    that is not in the vocabulary becomes `<unk>`, or is left out if there is no such token.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self._vocabulary = Vocabulary(assets)
        self._tokenizer = Tokenizer(assets["unit"], assets["lowercase"], assets["punctuation"])
        self._most: int = assets["max_tokens"]
        self._composed = assets.get("unicode") == FORM

    def encode(self, text: str) -> EncodedDocument:
        known, unknown = self._vocabulary.ids, self._vocabulary.unknown
        whole = self._tokenizer.tokenize(compose_prose(text) if self._composed else text)
        tokens = whole[: self._most]
        ids = [number for token in tokens if (number := known.get(token, unknown)) is not None]
        if len(ids) < self._most:
            ids.append(self._vocabulary.end)
        unknown = sum(token not in known for token in tokens)
        return EncodedDocument(ids, len(tokens), unknown, len(whole), spaced=_UNSPACED.search(text) is None)


@dataclass
class DocumentCounts:
    """Counts of encoded texts: all, truncated ones, those in scripts without spaces; tokens, unknown ones.

    `longest` is the number of tokens of the longest text.
    """

    texts: int = 0
    truncated: int = 0
    unspaced: int = 0
    tokens: int = 0
    unknown: int = 0
    longest: int = 0

    @classmethod
    def of(cls, encoded: Iterable[EncodedDocument]) -> DocumentCounts:
        counts = cls()
        for one in encoded:
            counts.add(one)
        return counts

    def add(self, encoded: EncodedDocument) -> None:
        self.texts += 1
        self.truncated += encoded.length > encoded.tokens
        self.unspaced += not encoded.spaced
        self.tokens += encoded.tokens
        self.unknown += encoded.unknown
        self.longest = max(self.longest, encoded.length)


class DocumentSet(NamedTuple):
    """Encoded texts, concatenated in `ids` (tokens,): the start of each, its length and its class, (N,) each.

    `weights` (N,) are those of the texts, in units of the training texts' mean, if they have any.
    """

    ids: Int64s
    starts: Int64s
    lengths: Int64s
    targets: Int64s
    weights: NDArray[numpy.float32] | None = None

    @classmethod
    def concatenate(cls, encoded: Sequence[Sequence[int]], targets: Sequence[int]) -> DocumentSet:
        lengths = numpy.array([len(ids) for ids in encoded], numpy.int64)
        ids = numpy.fromiter(chain.from_iterable(encoded), numpy.int64, int(lengths.sum()))
        return cls(ids, numpy.cumsum(lengths) - lengths, lengths, numpy.array(targets, numpy.int64))

    def pad(self, chosen: Int64s) -> tuple[Tensor, Tensor]:
        """Pad some texts to the same length: tokens (N, T), 0 after each one's end, and lengths (N,)."""
        lengths = self.lengths[chosen]
        steps = numpy.arange(lengths.max())
        inside = steps < lengths[:, None]
        tokens = numpy.zeros(inside.shape, numpy.int64)
        tokens[inside] = self.ids[(self.starts[chosen][:, None] + steps)[inside]]
        return torch.from_numpy(tokens), torch.from_numpy(lengths)

    def batch(self, epoch: int, chosen: Tensor) -> Documents:
        rows = chosen.numpy()
        weights = None if self.weights is None else torch.from_numpy(self.weights[rows])
        return Documents(*self.pad(rows), torch.from_numpy(self.targets[rows]), weights)


def load_training(
    documents: DocumentSet, batch_size: int, seed: int, sampling: Sampling = "shuffled"
) -> Loader[Documents]:
    """Load shuffled batches of texts of similar lengths, as a function of (seed, epoch, index)."""
    targets = torch.from_numpy(documents.targets)

    def order(epoch: int) -> Tensor:
        drawn = draw_examples(sampling, targets, seed, epoch).numpy()
        return order_by_length(documents.lengths, batch_size, seed, epoch, drawn=drawn)

    return Loader(IndexedBatches(len(documents.lengths), batch_size, documents.batch, order))


def load_evaluation(documents: DocumentSet, batch_size: int) -> Loader[Documents]:
    """Load batches in the order of the files, the same in every epoch."""
    return Loader(IndexedBatches(len(documents.lengths), batch_size, documents.batch))


def make_synthetic_documents(sizes: Mapping[str, int], draw: Generator) -> Documents:
    lengths = random_lengths(draw)
    tokens = torch.randint(sizes["vocabulary"], (EXAMPLES, STEPS), generator=draw)
    inside = torch.arange(STEPS) < lengths[:, None]
    return Documents(tokens * inside, lengths, torch.zeros(EXAMPLES, dtype=torch.int64))
