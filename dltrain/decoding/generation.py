"""Text from a language model, token by token: the state passes from one to the next, nothing is read twice.

Also where the text ends, and which part of it is certain while it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from dltrain.data.text.language_model import LanguageModel
from dltrain.decoding.sampling import Sampling, choose_tokens
from dltrain.errors import Diverged
from dltrain.runtime.seeds import draw_uniform

READ_AT_ONCE = 256
"""Tokens of a prompt that are read in one call: enough to be fast, and memory stays flat however long it is."""


class TextVocabulary(Protocol):
    """What generation needs of a vocabulary: the ids of `<eos>` and of the unknown word, and ids as text."""

    @property
    def end(self) -> int: ...

    @property
    def unknown(self) -> int | None: ...

    def decode(self, ids: list[int]) -> str: ...


class NextTokens(NamedTuple):
    """The next token of each sample, and its log-probability in nats.

    It is the model's own: at temperature 1, before any penalty, ban or cut.
    """

    ids: list[int]
    log_probabilities: list[float]


def generate_tokens(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    end: int,
    device: torch.device,
    sampling: Sampling,
    samples: Sequence[int],
    seed: int,
) -> Iterator[NextTokens]:
    """Endless continuations of one prompt, one for each of the numbers in `samples`; the caller stops.

    The model, in evaluation mode, reads `end` first, then the prompt, then its own tokens. The prompt counts as text
    for the repetition penalty, the `end` before it does not.

    Token t of sample i is drawn with a uniform number that depends on (seed, t, i) alone, so a sample does not depend
    on the other ones; except that floating-point sums may round differently in a batch of another size: if a number
    falls within such a last bit of the border between two tokens (one in millions), the sample takes another course
    from there. Raises Diverged if there is no token to choose.
    """
    with torch.inference_mode():
        features, state = _read_prompt(model, [end, *prompt], device, len(samples))
    numbers = torch.tensor(list(samples))
    seen: Tensor | None = None
    for step in range(2**63):
        with torch.inference_mode():
            log_probabilities = model.log_probabilities(features).expand(len(samples), -1)  # (N, V)
            if sampling.repetition_penalty != 1 and seen is None:
                seen = torch.zeros_like(log_probabilities, dtype=torch.bool)
                seen[:, torch.tensor(prompt, dtype=torch.int64, device=device)] = True
            uniforms = draw_uniform(seed, step, numbers, 1)[:, 0] if sampling.temperature else None
            ids = choose_tokens(log_probabilities, sampling, seen, uniforms)  # (N,)
            tokens = _to_next_tokens(log_probabilities, ids)
        yield tokens
        with torch.inference_mode():
            if seen is not None:
                seen.scatter_(1, ids[:, None], True)
            reading = model(ids[None], state)
            features, state = reading.features[-1], reading.state


def _read_prompt(model: LanguageModel, tokens: Sequence[int], device: torch.device, columns: int) -> tuple[Tensor, Any]:
    """Features (1, H) of the last token, and the state after it in `columns` copies."""
    text = torch.tensor(tokens, device=device)[:, None]
    state = None
    for part in torch.split(text, READ_AT_ONCE):
        reading = model(part, state)
        state = reading.state
    if columns > 1:
        # Only the model knows which dimension of its state holds the columns: the one that grows with a second column.
        one, two = (model(text[:1].expand(1, number), None).state for number in (1, 2))
        state = _repeat_state(state, one, two, columns)
    return reading.features[-1], state


def _repeat_state(state: Any, one: Any, two: Any, columns: int) -> Any:
    """`state` of one column with `columns` equal ones; `one` and `two` are any states of one and of two columns."""
    if isinstance(state, Tensor):
        return state.repeat([columns if more > less else 1 for less, more in zip(one.shape, two.shape, strict=True)])
    if isinstance(state, tuple):
        return tuple(_repeat_state(*parts, columns) for parts in zip(state, one, two, strict=True))
    return state


def _to_next_tokens(log_probabilities: Tensor, ids: Tensor) -> NextTokens:
    chosen: list[int] = ids.tolist()
    if max(chosen) == log_probabilities.shape[1]:
        raise Diverged(
            "the model leaves no token to choose: its probabilities are not finite, or all are on banned tokens",
            advice="use another checkpoint, or ban less",
        )
    return NextTokens(chosen, log_probabilities.gather(1, ids[:, None])[:, 0].tolist())


def generate_texts(
    model: LanguageModel, vocabulary: TextVocabulary, device: torch.device, *, samples: int, tokens: int, seed: int
) -> list[str]:
    """`samples` texts of `tokens` tokens each that start at `<eos>`, without the unknown word.

    The model must be in evaluation mode.
    """
    if not samples:
        return []
    sampling = Sampling(banned=() if vocabulary.unknown is None else (vocabulary.unknown,))
    steps = generate_tokens(
        model, (), end=vocabulary.end, device=device, sampling=sampling, samples=range(samples), seed=seed
    )
    columns = zip(*(step.ids for step in islice(steps, tokens)), strict=True)
    return [vocabulary.decode(list(column)) for column in columns]


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
