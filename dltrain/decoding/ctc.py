"""From a CTC model's probabilities to text: greedy decoding, prefix beam search, and alignment of symbols to frames.

Connectionist temporal classification, Graves et al. 2006. A path names one symbol of the alphabet for each frame; its
labelling is what remains once repeats are merged and blanks dropped. Symbol 0 is the blank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.data.speech.recognition import Word
from dltrain.data.speech.transcripts import count_needed_frames
from dltrain.decoding.ngram import END, UNKNOWN, NGramModel, WordTuple

BLANK = 0
SPACE = " "
IMPOSSIBLE = -math.inf


def decode_greedily(log_probabilities: Tensor, frames: Tensor) -> list[list[int]]:
    """The labelling of the likeliest path of each clip: a `Decoder`."""
    best = log_probabilities.argmax(2)  # (N, T)
    kept = best != BLANK
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    kept &= torch.arange(best.shape[1], device=best.device) < frames[:, None]
    symbols, counts = best[kept].tolist(), kept.sum(1).tolist()
    ends = numpy.cumsum(counts, dtype=int).tolist()
    return [symbols[end - count : end] for count, end in zip(counts, ends, strict=True)]


class Hypothesis(NamedTuple):
    """A labelling and its score: log p in nats, and the language model's score if there is one."""

    symbols: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class BeamSearch:
    """Prefix beam search (Hannun et al. 2014, arXiv:1408.2873), in log space: a `Decoder`.

    Sums over the paths of each labelling, where `decode_greedily` takes the single likeliest path. With a language
    model a labelling scores log p(labelling | clip) + alpha * log p(words) + beta * number of words, in nats; a word is
    scored once a space or the end follows it, and before that, as <unk>, once no word of the model starts like it.

    `floor` limits the work: in each frame, symbols less likely than it are skipped, except the likeliest. In the many
    frames of a trained model that are clearly blank, only the blank remains. Raises ValueError for a language model of
    words if the alphabet has no space.
    """

    alphabet: Sequence[str]
    width: int = 16
    language_model: NGramModel | None = None
    alpha: float = 0.5
    beta: float = 1.0
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if self.language_model is not None and SPACE not in self.alphabet:
            raise ValueError("the alphabet has no space, so a language model of words finds none to score")

    @cached_property
    def _starts(self) -> frozenset[str]:
        """All prefixes of the language model's words."""
        known = self.language_model.vocabulary if self.language_model is not None else ()
        return frozenset(word[:end] for word in known for end in range(1, len(word) + 1))

    def __call__(self, log_probabilities: Tensor, frames: Tensor) -> list[list[int]]:
        every = log_probabilities.float().cpu().numpy()
        return [
            list(self.hypotheses(clip[:length])[0].symbols) for clip, length in zip(every, frames.tolist(), strict=True)
        ]

    def hypotheses(self, log_probabilities: NDArray[numpy.float32]) -> list[Hypothesis]:
        """Up to `width` labellings of one clip (T, alphabet), the best first."""
        root = _Prefix(None, BLANK)
        root.ends_in_blank = root.total = 0.0
        if self.language_model is not None:
            root.context = self.language_model.beginning
        beam = [root]
        threshold = math.log(self.floor) if self.floor > 0 else IMPOSSIBLE
        for frame in log_probabilities:
            likely = numpy.flatnonzero(frame >= min(threshold, frame.max()))
            chosen = list(zip(likely.tolist(), frame[likely].tolist(), strict=True))
            reached: dict[_Prefix, None] = {}  # in the order of arrival: equals rank the same in every process
            for prefix in beam:
                self._extend(prefix, chosen, reached)
            for prefix in reached:
                prefix.advance()
            beam = sorted(reached, key=_Prefix.rank, reverse=True)[: self.width]
        found = [Hypothesis(prefix.symbols(), prefix.total + self._ended(prefix)) for prefix in beam]
        return sorted(found, key=lambda hypothesis: hypothesis.score, reverse=True)

    def _extend(self, prefix: _Prefix, chosen: list[tuple[int, float]], reached: dict[_Prefix, None]) -> None:
        """Pass the prefix's probability on to itself and to the prefixes one symbol longer."""
        for symbol, log_probability in chosen:
            if symbol == BLANK:
                prefix.next_blank = add_logs(prefix.next_blank, prefix.total + log_probability)
                reached[prefix] = None
                continue
            before = prefix.total
            if symbol == prefix.symbol:  # the same symbol continues; only after a blank is it a new one
                prefix.next_symbol = add_logs(prefix.next_symbol, prefix.ends_in_symbol + log_probability)
                reached[prefix] = None
                before = prefix.ends_in_blank
            if before > IMPOSSIBLE:
                longer = prefix.longer.get(symbol) or self._longer(prefix, symbol)
                longer.next_symbol = add_logs(longer.next_symbol, before + log_probability)
                reached[longer] = None

    def _longer(self, prefix: _Prefix, symbol: int) -> _Prefix:
        longer = prefix.longer[symbol] = _Prefix(prefix, symbol)
        if self.language_model is None:
            return longer
        letter = self.alphabet[symbol]
        if letter == SPACE:
            longer.words = longer.bonus = prefix.words + self._word(prefix)
            longer.context = self.language_model.after(prefix.context, prefix.word) if prefix.word else prefix.context
        else:
            longer.words, longer.context, longer.word = prefix.words, prefix.context, prefix.word + letter
            longer.bonus = prefix.bonus
            if prefix.bonus == prefix.words and longer.word not in self._starts:
                longer.bonus += self._scaled(self.language_model.score(longer.context, UNKNOWN)) + self.beta
        return longer

    def _word(self, prefix: _Prefix) -> float:
        """The score of the word that a prefix ends in, once it is complete."""
        if self.language_model is None or not prefix.word:
            return 0.0
        return self._scaled(self.language_model.score(prefix.context, prefix.word)) + self.beta

    def _ended(self, prefix: _Prefix) -> float:
        """The language model's score of a whole labelling."""
        if self.language_model is None:
            return 0.0
        context = self.language_model.after(prefix.context, prefix.word) if prefix.word else prefix.context
        return prefix.words + self._word(prefix) + self._scaled(self.language_model.score(context, END))

    def _scaled(self, log10: float) -> float:
        return self.alpha * math.log(10) * log10


class _Prefix:
    """A node of the tree of labellings: its probabilities in this frame and the next, by how its paths end."""

    __slots__ = (
        "bonus", "context", "ends_in_blank", "ends_in_symbol", "longer", "next_blank", "next_symbol", "shorter",
        "symbol", "total", "word", "words",
    )  # fmt: skip

    def __init__(self, shorter: _Prefix | None, symbol: int) -> None:
        self.shorter, self.symbol = shorter, symbol
        self.longer: dict[int, _Prefix] = {}
        self.ends_in_blank = self.ends_in_symbol = self.total = IMPOSSIBLE
        self.next_blank = self.next_symbol = IMPOSSIBLE
        self.context: WordTuple = ()
        self.word = ""
        self.words = 0.0  # score of the complete words
        self.bonus = 0.0  # the same, with the score of the incomplete word so far

    def advance(self) -> None:
        """The next frame becomes this one."""
        self.ends_in_blank, self.ends_in_symbol = self.next_blank, self.next_symbol
        self.total = add_logs(self.ends_in_blank, self.ends_in_symbol)
        self.next_blank = self.next_symbol = IMPOSSIBLE

    def rank(self) -> float:
        return self.total + self.bonus

    def symbols(self) -> tuple[int, ...]:
        backwards = []
        prefix: _Prefix = self
        while prefix.shorter is not None:
            backwards.append(prefix.symbol)
            prefix = prefix.shorter
        return tuple(reversed(backwards))


def add_logs(first: float, second: float) -> float:
    """log(exp(first) + exp(second))."""
    if first < second:
        first, second = second, first
    if second == IMPOSSIBLE:
        return first
    return first + math.log1p(math.exp(second - first))


class SymbolSpan(NamedTuple):
    """The frames of a symbol, `first` <= frame < `end`, and the mean of its log-probabilities there."""

    first: int
    end: int
    log_probability: float


def align_symbols(log_probabilities: NDArray[numpy.float32], symbols: Sequence[int]) -> list[SymbolSpan]:
    """Align each symbol to frames on the likeliest of the paths (T, alphabet) with the labelling `symbols`.

    Raises ValueError if there are too few frames for any path.
    """
    length = len(log_probabilities)
    if count_needed_frames(symbols) > length:
        raise ValueError(f"{len(symbols)} symbols need {count_needed_frames(symbols)} frames, found {length}")
    if not symbols:
        return []
    states = numpy.zeros(2 * len(symbols) + 1, dtype=numpy.int64)  # blank, symbol, blank, symbol, ..., blank
    states[1::2] = symbols
    path = _find_likeliest_states(log_probabilities[:, states].astype(numpy.float64), states)
    spans = []
    for number, symbol in enumerate(symbols):
        frames = numpy.flatnonzero(path == 2 * number + 1)
        spans.append(SymbolSpan(int(frames[0]), int(frames[-1]) + 1, float(log_probabilities[frames, symbol].mean())))
    return spans


def _find_likeliest_states(scores: NDArray[numpy.float64], states: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """Find the state of each frame (T,) on the best path through `scores` (T, states) (Viterbi 1967)."""
    may_skip = numpy.zeros(len(states), dtype=bool)
    may_skip[2:] = (states[2:] != BLANK) & (states[2:] != states[:-2])
    best = numpy.full(len(states), IMPOSSIBLE)
    best[:2] = scores[0, :2]
    steps = numpy.zeros(scores.shape, dtype=numpy.int64)  # how many states the best path advances by, in each frame
    ways = numpy.full((3, len(states)), IMPOSSIBLE)
    for frame in range(1, len(scores)):
        ways[0], ways[1, 1:] = best, best[:-1]
        ways[2, 2:] = numpy.where(may_skip[2:], best[:-2], IMPOSSIBLE)
        steps[frame] = ways.argmax(0)
        best = ways.max(0) + scores[frame]
    path = numpy.empty(len(scores), dtype=numpy.int64)
    path[-1] = len(states) - 1 if best[-1] > best[-2] else len(states) - 2
    for frame in range(len(scores) - 1, 0, -1):
        path[frame - 1] = path[frame] - steps[frame, path[frame]]
    return path


def group_words(symbols: Sequence[int], spans: Sequence[SymbolSpan], alphabet: Sequence[str]) -> list[Word]:
    """Group a labelling into words, which spaces separate, each with its frames from the symbols' `spans`.

    If the alphabet has no space, each character is a word.
    """
    letters = [alphabet[symbol] for symbol in symbols]
    spaces = [index for index, letter in enumerate(letters) if letter == SPACE]
    ranges = list(zip([0, *(index + 1 for index in spaces)], [*spaces, len(letters)], strict=True))
    if SPACE not in alphabet:
        ranges = [(index, index + 1) for index in range(len(letters))]
    words: list[Word] = []
    for start, end in ranges:
        if own := spans[start:end]:
            confidence = math.exp(sum(span.log_probability for span in own) / len(own))
            words.append(Word("".join(letters[start:end]), own[0].first, own[-1].end, confidence))
    return words
