"""Speech recognition: acoustic models, decoders, transcripts, and the capabilities of tasks and data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from dltrain.task import Counts


class AcousticModel(Protocol):
    """An acoustic model, as the speech tasks use it; any module with this method is one."""

    def __call__(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, T, F) of `frames` (N,) to log-probabilities (N, T', alphabet) float32 and their lengths (N,).

        T' is T / subsampling, rounded up. What comes after a clip's frames changes nothing.
        """


Decoder = Callable[[Tensor, Tensor], list[list[int]]]
"""Log-probabilities (N, T, alphabet) and frames (N,) to the symbols of each clip."""


class Word(NamedTuple):
    """A word, its frames `first` <= frame < `end`, and its confidence: its symbols' geometric mean probability."""

    text: str
    first: int
    end: int
    confidence: float


class Transcript(NamedTuple):
    """The transcript of a clip; words are located in frames of the features."""

    text: str
    words: Sequence[Word]


class ClipResult(NamedTuple):
    """A clip by its index in the split, its reference, its hypothesis, and -log p of the reference in nats.

    `nats` is None for a clip with more characters than CTC can place in its frames.
    """

    clip: int
    reference: str
    hypothesis: str
    nats: float | None


@runtime_checkable
class Transcribes(Protocol):
    """A task that can transcribe the user's own sound."""

    alphabet: Sequence[str]
    """Symbol 0 is CTC's blank; without a space among them, each character is a word."""

    def transcribe(self, model: nn.Module, features: Tensor, frames: Tensor, decoder: Decoder) -> list[Transcript]:
        """Transcribe features (N, T, bands) of `frames` (N,)."""


@runtime_checkable
class ScoresClips(Protocol):
    """A task that can compare reference and hypothesis, clip by clip."""

    alphabet: Sequence[str]

    def decode_clips(self, model: nn.Module, batch: Any, decoder: Decoder) -> list[ClipResult]:
        """Decode each clip of a batch."""

    def tally(self, results: Sequence[ClipResult]) -> Counts:
        """Count the edits of some clips; the counts are additive, like those of `Task.score`."""

    def align_result(self, result: ClipResult) -> Sequence[tuple[str | None, str | None]]:
        """Align reference and hypothesis; None in a pair stands for an insertion or deletion."""

    def select_worst(self, results: Sequence[ClipResult], number: int) -> Sequence[ClipResult]:
        """Select the `number` results with the most edits; none without any."""

    def list_confusions(self, counts: Counts, number: int) -> Sequence[tuple[str, str, int]]:
        """List the `number` most frequent confusions: reference, hypothesis, count; "" for nothing."""


@runtime_checkable
class Transcribed(Protocol):
    """A data set of sound with its transcripts."""

    def transcripts(self) -> Sequence[str]:
        """The reference transcripts of the training split, spelled in the alphabet."""
