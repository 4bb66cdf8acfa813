"""Texts that a trained language model writes: its prompt, where it ends, and the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.data.wording import join_some, suggest_name
from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.data.text.vocabulary import Vocabulary
    from dltrain.decoding.generation import Ending, GrowingText
    from dltrain.decoding.sampling import Sampling
    from dltrain.runs.loading import Trained

BATCH = 64
UNKNOWN_NAMED = 10


def read_vocabulary(run: Path, trained: Trained) -> Vocabulary:
    """The vocabulary of a model that generates text. Raises UsageError for a task that generates none."""
    from dltrain.capabilities import Generates
    from dltrain.data.text.vocabulary import Vocabulary

    if not isinstance(trained.task, Generates):
        raise trained.refuse(run, "generate text")
    return Vocabulary(trained.task.vocabulary)


def encode_prompt(vocabulary: Vocabulary, text: str, warn: Callable[[str], None]) -> list[int]:
    """The ids of a prompt; a warning lists the words that the model does not know, and how it reads them."""
    ids, unknown = vocabulary.encode(text)
    if unknown:
        words = join_some([repr(word) for word in dict.fromkeys(unknown)], UNKNOWN_NAMED)
        fate = "left out" if vocabulary.unknown is None else f"read as {vocabulary.words[vocabulary.unknown]}"
        warn(f"not in the model's vocabulary and {fate}: {words}")
    return ids


def make_ending(vocabulary: Vocabulary, max_tokens: int, stops: Sequence[str]) -> Ending:
    """Where texts end; `<eos>` in a stop is a line break. Raises UsageError for an empty stop."""
    from dltrain.decoding.generation import Ending

    if "" in stops:
        raise UsageError("--stop: found an empty text; allowed is a text of at least one character")
    return Ending(max_tokens, tuple(stop.replace(vocabulary.words[vocabulary.end], "\n") for stop in stops))


def ignore_piece(piece: str) -> None:
    """Print nothing."""


def write_samples(
    trained: Trained,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    ending: Ending,
    count: int,
    seed: int,
    echo: Callable[[str], None] = ignore_piece,
) -> Iterator[GrowingText]:
    """The texts of samples 0, 1, ..., batch by batch; `echo` takes the pieces as they grow."""
    from dltrain.decoding.generation import GrowingText, generate_tokens, grow_texts

    model: Any = trained.model
    device, end = trained.runtime.device, vocabulary.end

    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        texts = [GrowingText(vocabulary, prompt[-1] if prompt else end, ending) for _ in numbers]
        # In float32 whatever the training's precision: casting the weights again costs more than a single token.
        steps = generate_tokens(model, prompt, end=end, device=device, sampling=sampling, samples=numbers, seed=seed)
        grow_texts(steps, texts, echo)
        yield from texts


def find_banned_ids(vocabulary: Vocabulary, words: Sequence[str] | None) -> tuple[int, ...]:
    """The ids of the banned words (default: the unknown word). Raises UsageError if one is unknown or none is left."""
    if words is None:
        return () if vocabulary.unknown is None else (vocabulary.unknown,)
    known = {word: index for index, word in enumerate(vocabulary.words)}
    banned: set[int] = set()
    for word in filter(None, words):
        ids, unknown = ([known[word]], []) if word in known else vocabulary.encode(word)
        if unknown or len(ids) != 1:
            hint = suggest_name(word, vocabulary.words)
            raise UsageError(f"--ban: '{word}' is not one of the {vocabulary.size} words of the vocabulary{hint}")
        banned.update(ids)
    if len(banned) == vocabulary.size:
        raise UsageError(f"--ban: names all {vocabulary.size} words of the vocabulary; leave at least one")
    return tuple(sorted(banned))
