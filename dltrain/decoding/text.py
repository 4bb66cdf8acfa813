"""Generated tokens as text: where it ends, and which part of it is certain while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dltrain.decoding.generation import NextTokens, TextVocabulary


@dataclass(frozen=True)
class Ending:
    """A text ends before the first of `stops` that appears in it, and after `max_tokens` tokens at the latest."""

    max_tokens: int
    stops: tuple[str, ...] = ()


class GrowingText:
    """The text of one sample while it grows; a stop may span tokens, or end within one.

    `before` is the last token of the prompt. `ids` and `log_probabilities` are those of the tokens that start before
    the end of the text.
    """

    def __init__(self, vocabulary: TextVocabulary, before: int, ending: Ending) -> None:
        self.ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.ended: Literal["stop", "max_tokens"] | None = None
        self._vocabulary, self._before, self._ending = vocabulary, before, ending
        self._starts: list[int] = []
        self._pieces: list[str] = []
        self._held = ""  # may be the start of a stop
        self._length = 0

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, token: int, log_probability: float) -> str:
        """Add a token; the text that has become certain."""
        decode = self._vocabulary.decode
        self._held += decode([self._before, token])[len(decode([self._before])) :]
        self._before = token
        end = self._length + len(self._held)
        self.ids.append(token)
        self.log_probabilities.append(log_probability)
        self._starts.append(end - len(decode([token])))
        stops = [start for stop in self._ending.stops if (start := self._held.find(stop)) >= 0]
        if stops:
            self.ended = "stop"
            self._drop_tokens(self._length + min(stops))
            return self._release(min(stops))
        if len(self.ids) == self._ending.max_tokens:
            self.ended = "max_tokens"
            return self._release(len(self._held))
        return self._release(len(self._held) - max(self._partial_length(stop) for stop in ("", *self._ending.stops)))

    def _partial_length(self, stop: str) -> int:
        """How many characters at the end may be the start of `stop`."""
        lengths = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((length for length in lengths if self._held.endswith(stop[:length])), 0)

    def _release(self, characters: int) -> str:
        piece, self._held = self._held[:characters], self._held[characters:]
        self._pieces.append(piece)
        self._length += characters
        return piece

    def _drop_tokens(self, end: int) -> None:
        """Drop the tokens that start at character `end` or later."""
        while self._starts and self._starts[-1] >= end:
            for values in (self.ids, self.log_probabilities, self._starts):
                values.pop()


def grow_texts(
    steps: Iterable[NextTokens], texts: Sequence[GrowingText], on_piece: Callable[[str], None] = lambda piece: None
) -> None:
    """Add the tokens of each step to `texts`, side by side, until all have ended.

    `on_piece` gets each piece of text as soon as it is certain, of all samples in turn.
    """
    for step in steps:
        for text, token, log_probability in zip(texts, *step, strict=True):
            if text.ended is None:
                on_piece(text.add(token, log_probability))
        if all(text.ended for text in texts):
            break
