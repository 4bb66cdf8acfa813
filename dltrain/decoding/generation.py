"""Text from a language model, token by token: the state goes on from one to the next, nothing is read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dltrain.data.text.language_model import LanguageModel
from dltrain.decoding.sampling import Sampling, choose
from dltrain.errors import Diverged
from dltrain.runtime.seeds import keyed_uniform

READ_AT_ONCE = 256
"""Tokens of a prompt that are read in one call: enough to be fast, and memory stays flat however long it is."""


class Words(Protocol):
    """What writing needs of a vocabulary: the ids of `<eos>` and of the unknown word, and ids as text."""

    @property
    def end(self) -> int: ...

    @property
    def unknown(self) -> int | None: ...

    def decode(self, ids: list[int]) -> str: ...


class Tokens(NamedTuple):
    """One more token of each sample, and its log-probability in nats.

    That is the model's own: at temperature 1, before any penalty, ban or cut.
    """

    ids: list[int]
    log_probabilities: list[float]


def continuations(
    model: LanguageModel,
    prompt: Sequence[int],
    end: int,
    device: torch.device,
    sampling: Sampling,
    samples: Sequence[int],
    seed: int,
) -> Iterator[Tokens]:
    """Endless continuations of one prompt, one for each of the numbers in `samples`; stop when it is enough.

    The model, in evaluation mode, reads `end` first, then the prompt, then what it wrote. The prompt counts as text
    for the repetition penalty, the `end` before it does not.

    Token t of sample i is drawn with a uniform number that depends on (seed, t, i) alone, so a sample is the same
    whatever others are asked for; but for the rounding of floating-point sums, which may come out otherwise in a
    batch of another size: where a number falls within such a last bit of the border between two tokens (one in
    millions), the sample goes another way from there. Raises Diverged where there is nothing to choose from.
    """
    with torch.inference_mode():
        features, state = _opened(model, [end, *prompt], device, len(samples))
    numbers = torch.tensor(list(samples))
    seen: Tensor | None = None
    for step in range(2**63):
        with torch.inference_mode():
            log_probabilities = model.log_probabilities(features).expand(len(samples), -1)  # (N, V)
            if sampling.repetition_penalty != 1 and seen is None:
                seen = torch.zeros_like(log_probabilities, dtype=torch.bool)
                seen[:, torch.tensor(prompt, dtype=torch.int64, device=device)] = True
            uniforms = keyed_uniform(seed, step, numbers, 1)[:, 0] if sampling.temperature else None
            ids = choose(log_probabilities, sampling, seen, uniforms)  # (N,)
            tokens = _told(log_probabilities, ids)
        yield tokens
        with torch.inference_mode():
            if seen is not None:
                seen.scatter_(1, ids[:, None], True)
            reading = model(ids[None], state)
            features, state = reading.features[-1], reading.state


def _opened(model: LanguageModel, tokens: Sequence[int], device: torch.device, columns: int) -> tuple[Tensor, Any]:
    """Features (1, H) of the last token, and the state behind it in `columns` copies."""
    text = torch.tensor(tokens, device=device)[:, None]
    state = None
    for part in torch.split(text, READ_AT_ONCE):
        reading = model(part, state)
        state = reading.state
    if columns > 1:
        # Where a state has its columns only the model knows: that is where one of two columns is larger.
        one, two = (model(text[:1].expand(1, width), None).state for width in (1, 2))
        state = _repeated(state, one, two, columns)
    return reading.features[-1], state


def _repeated(state: Any, one: Any, two: Any, columns: int) -> Any:
    """`state` of one column with `columns` equal ones; `one` and `two` are any states of one and of two columns."""
    if isinstance(state, Tensor):
        return state.repeat([columns if more > less else 1 for less, more in zip(one.shape, two.shape, strict=True)])
    if isinstance(state, tuple):
        return tuple(_repeated(*parts, columns) for parts in zip(state, one, two, strict=True))
    return state


def _told(log_probabilities: Tensor, ids: Tensor) -> Tokens:
    chosen: list[int] = ids.tolist()
    if max(chosen) == log_probabilities.shape[1]:
        raise Diverged(
            "the model leaves no token to choose: its probabilities are not finite, or all are on banned tokens",
            advice="use another checkpoint, or ban less",
        )
    return Tokens(chosen, log_probabilities.gather(1, ids[:, None])[:, 0].tolist())


def continued(
    model: LanguageModel, vocabulary: Words, device: torch.device, samples: int, tokens: int, seed: int
) -> list[str]:
    """`samples` texts of `tokens` tokens each that begin at `<eos>`, without the unknown word.

    The model must be in evaluation mode.
    """
    if not samples:
        return []
    sampling = Sampling(banned=() if vocabulary.unknown is None else (vocabulary.unknown,))
    written = continuations(model, (), vocabulary.end, device, sampling, range(samples), seed)
    columns = zip(*(step.ids for step in islice(written, tokens)), strict=True)
    return [vocabulary.decode(list(column)) for column in columns]
