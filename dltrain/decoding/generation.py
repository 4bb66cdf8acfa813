"""Text from a language model, token by token: the state passes from one to the next, nothing is read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dltrain.data.text.language_model import LanguageModel
from dltrain.decoding.sampling import Sampling, choose_tokens
from dltrain.errors import Diverged
from dltrain.runtime.seeds import keyed_uniform

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
            uniforms = keyed_uniform(seed, step, numbers, 1)[:, 0] if sampling.temperature else None
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
