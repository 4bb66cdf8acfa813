"""What a language model writes, as text: where it ends, and what of it may be shown while it grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from dltrain.data.text.language_model import LanguageModel
from dltrain.decoding.generation import Words, continuations
from dltrain.decoding.sampling import Sampling


@dataclass(frozen=True)
class Ending:
    """A text ends before the first of `stops` that appears in it, and after `max_tokens` tokens at the latest."""

    max_tokens: int
    stops: tuple[str, ...] = ()


class Text:
    """The text of one sample while it grows; a stop may span tokens, or end within one.

    `before` is the last token that was read before it. `ids` and `log_probabilities` are those of the tokens that
    begin before the end of the text.
    """

    def __init__(self, vocabulary: Words, before: int, ending: Ending) -> None:
        self.ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.ended: Literal["stop", "max_tokens"] | None = None
        self._vocabulary, self._before, self._ending = vocabulary, before, ending
        self._starts: list[int] = []
        self._pieces: list[str] = []
        self._held = ""  # may be the beginning of a stop
        self._length = 0

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, token: int, log_probability: float) -> str:
        """Take in one more token; the text that is certain by now and was not before."""
        one, decode = [self._before], self._vocabulary.decode
        self._held += decode([*one, token])[len(decode(one)) :]
        self._before = token
        end = self._length + len(self._held)
        self.ids.append(token)
        self.log_probabilities.append(log_probability)
        self._starts.append(end - len(decode([token])))
        found = [place for stop in self._ending.stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.ended = "stop"
            self._cut(self._length + min(found))
            return self._settle(min(found))
        if len(self.ids) == self._ending.max_tokens:
            self.ended = "max_tokens"
            return self._settle(len(self._held))
        return self._settle(len(self._held) - max(self._begun(stop) for stop in ("", *self._ending.stops)))

    def _begun(self, stop: str) -> int:
        """How many characters at the end may be the beginning of `stop`."""
        lengths = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((length for length in lengths if self._held.endswith(stop[:length])), 0)

    def _settle(self, characters: int) -> str:
        piece, self._held = self._held[:characters], self._held[characters:]
        self._pieces.append(piece)
        self._length += characters
        return piece

    def _cut(self, place: int) -> None:
        while self._starts and self._starts[-1] >= place:
            for values in (self.ids, self.log_probabilities, self._starts):
                values.pop()


def write(
    model: LanguageModel,
    vocabulary: Words,
    prompt: Sequence[int],
    device: torch.device,
    sampling: Sampling,
    samples: Sequence[int],
    seed: int,
    ending: Ending,
    tell: Callable[[str], None] = lambda piece: None,
) -> list[Text]:
    """The finished texts of `samples`, which are numbers, side by side in one batch; see `continuations`.

    `tell` gets each piece of text as soon as it is certain, of all samples in turn.
    """
    before = prompt[-1] if prompt else vocabulary.end
    texts = [Text(vocabulary, before, ending) for _ in samples]
    for tokens in continuations(model, prompt, vocabulary.end, device, sampling, samples, seed):
        for text, token, log_probability in zip(texts, *tokens, strict=True):
            if text.ended is None:
                tell(text.add(token, log_probability))
        if all(text.ended for text in texts):
            break
    return texts
