"""Speech recognition: the model, decoders, transcripts, and what a task and a dataset can do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from dltrain.task import Counts


class AcousticModel(Protocol):
    """A model of what was said, as the speech tasks use it; any module with this method is one."""

    def __call__(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, T, F) of `frames` (N,) to log-probabilities (N, T', alphabet) float32 and their lengths (N,).

        T' is T / subsampling, rounded up. What lies after a clip's frames changes nothing.
        """
        ...


Decoder = Callable[[Tensor, Tensor], list[list[int]]]
"""Log-probabilities (N, T, alphabet) and frames (N,) to the symbols of each clip."""


class Word(NamedTuple):
    """A word, its frames `first` <= frame < `end`, and its confidence: its symbols' geometric mean probability."""

    text: str
    first: int
    end: int
    confidence: float


class Transcript(NamedTuple):
    """What a clip says; the words' places are counted in frames of the features."""

    text: str
    words: Sequence[Word]


class ClipResult(NamedTuple):
    """A clip by its place in the split, what was said, what was understood, and -log p of the former in nats.

    `nats` is None for a clip with more characters than CTC can place in its frames.
    """

    clip: int
    reference: str
    hypothesis: str
    nats: float | None


@runtime_checkable
class Transcribes(Protocol):
    """Can write down what is said in sound of the user's."""

    alphabet: Sequence[str]
    """Symbol 0 is CTC's blank; without a space among them, each character is a word."""

    def transcribe(self, model: nn.Module, features: Tensor, frames: Tensor, decoder: Decoder) -> list[Transcript]:
        """Features (N, T, bands) of `frames` (N,) to what each clip says."""
        ...


@runtime_checkable
class ScoresClips(Protocol):
    """Can tell, clip by clip, what was said and what a decoder makes of it."""

    alphabet: Sequence[str]

    def judge(self, model: nn.Module, batch: Any, decoder: Decoder) -> list[ClipResult]: ...

    def tally(self, judgements: Sequence[ClipResult]) -> Counts:
        """The counts of some clips, additive as those of `Task.score`."""
        ...

    def compared(self, judgement: ClipResult) -> Sequence[tuple[str | None, str | None]]:
        """What was said beside what was understood, aligned; None where one of them has nothing."""
        ...

    def worst(self, judgements: Sequence[ClipResult], number: int) -> Sequence[ClipResult]:
        """The `number` judgements with the most mistakes; none without any."""
        ...

    def confused(self, counts: Counts, number: int) -> Sequence[tuple[str, str, int]]:
        """The `number` most frequent mistakes: what was said, what was understood, how often; "" for nothing."""
        ...


@runtime_checkable
class NamesClips(Protocol):
    """A dataset of sound that can say which file a clip of its splits is."""

    def clip_name(self, split: str, clip: int) -> str: ...


@runtime_checkable
class Transcribed(Protocol):
    """A dataset of sound with its transcripts."""

    def transcripts(self) -> Sequence[str]:
        """What is said in each clip of the training split, as the model is to spell it."""
        ...
