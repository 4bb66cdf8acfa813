"""Transcription of recordings: piece by piece, many pieces in a batch, each word with its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from dltrain.data.speech.log_mel import STORED, Extractor, WindowLengths, model_input, rebuild_extractor
from dltrain.data.speech.options import LogMel
from dltrain.data.speech.recognition import Decoder, Transcribes
from dltrain.data.speech.recordings import RecordingPiece, read_recording
from dltrain.data.speech.sound import SILENCE, measure_level, resample
from dltrain.data.speech.statistics import compute_moments, pool_moments
from dltrain.errors import DataError
from dltrain.runtime.precision import Runtime

BATCHES_AHEAD = 4
"""Batches' worth of pieces that are read before any is transcribed: pieces of similar length share a batch."""
JITTER_SECONDS = 0.1
"""How far the times of one word may differ between two pieces."""


class SpokenWord(NamedTuple):
    """A word, its time in seconds from the beginning of the recording, and its confidence, from 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass
class Recording:
    """A file and its transcript; or why it could not be read, `fault`.

    `sample_rate_hz` is the file's own; `opposed` means channels in opposite phase, `silent` that no piece was audible.
    """

    path: Path
    seconds: float = 0.0
    sample_rate_hz: int = 0
    opposed: bool = False
    silent: bool = True
    words: list[SpokenWord] = field(default_factory=list)
    fault: DataError | None = None

    def text(self, separator: str) -> str:
        return separator.join(word.text for word in self.words)


class Speaker(NamedTuple):
    """The speaker of some files: `assets` with the statistics of the features of all of them together.

    `faults` are the reasons why files could not be read; these do not count.
    """

    assets: Mapping[str, Any]
    faults: Mapping[Path, DataError]


class PreparedPiece(NamedTuple):
    """A piece of a recording, and the assets with which it becomes a model's input."""

    recording: Recording
    piece: RecordingPiece
    assets: Mapping[str, Any]


@dataclass
class Transcriber:
    """A trained model that transcribes recordings; `assets` are its checkpoint's."""

    task: Transcribes
    model: nn.Module
    runtime: Runtime
    assets: Mapping[str, Any]
    decoder: Decoder
    batch_size: int = 8

    def measure_speaker(self, files: Iterable[Path], advance: Callable[[], None] = lambda: None) -> Speaker:
        """Compute the statistics of one speaker from all the files. Calls `advance` after each file.

        Every file counts once. Pieces too quiet to be transcribed do not count, as in a split of a dataset.
        """
        measured: list[tuple[int, NDArray[Any]]] = []
        faults: dict[Path, DataError] = {}
        for path in dict.fromkeys(files):
            try:
                measured += [self._compute_moments(piece) for piece in read_recording(path) if self._is_audible(piece)]
            except DataError as fault:
                faults[path] = fault
            advance()
        if not measured:
            return Speaker(self.assets, faults)
        frames, moments = (numpy.array(column) for column in zip(*measured, strict=True))
        mean, variance = pool_moments(frames, moments, [""] * len(measured))[0]
        fixed = {"over": "corpus", "mean": mean, "variance": variance}  # applied as they are, like a corpus's
        return Speaker({**self.assets, "normalization": fixed}, faults)

    def _compute_moments(self, piece: RecordingPiece) -> tuple[int, NDArray[Any]]:
        """Count the frames of a piece's own part, and compute mean and variance (2, bands) of its features."""
        raw = self._extract(resample(piece.sound, int(self.assets["sample_rate_hz"])))
        limits = (piece.from_seconds - piece.start_seconds, piece.to_seconds - piece.start_seconds)
        first, last = (round(seconds / self._hop_seconds) for seconds in limits)
        own = raw.astype(STORED).astype(numpy.float32)[first : last + 1]
        return len(own), numpy.stack(compute_moments(own, self._features.speech_db))

    def transcribe_files(
        self, files: Iterable[Path], advance: Callable[[float], None] = lambda _: None, speaker: Speaker | None = None
    ) -> Iterator[Recording]:
        """Transcribe files, in order. Calls `advance` with the seconds of sound of each batch.

        The files are all from `speaker`, or each has a speaker of its own. Holds a few batches of pieces at a time,
        however long the files are.
        """
        finished: list[Recording] = []
        waiting: list[PreparedPiece] = []
        for path in files:
            recording = Recording(path)
            try:
                for piece, assets in self._prepare_pieces(path, speaker):
                    recording.seconds = piece.to_seconds
                    recording.sample_rate_hz, recording.opposed = piece.sound.sample_rate_hz, piece.sound.opposed
                    recording.silent = recording.silent and not self._is_audible(piece)
                    waiting.append(PreparedPiece(recording, piece, assets))
                    if len(waiting) >= BATCHES_AHEAD * self.batch_size:
                        self._add_words(waiting, advance)
                        waiting = []
                        yield from finished
                        finished = []
            except DataError as fault:
                recording.fault = fault
                waiting = [part for part in waiting if part.recording is not recording]
            finished.append(recording)
            if not waiting:
                yield from finished
                finished = []
        self._add_words(waiting, advance)
        yield from finished

    def _prepare_pieces(
        self, path: Path, speaker: Speaker | None
    ) -> Iterator[tuple[RecordingPiece, Mapping[str, Any]]]:
        """Read a file's pieces, each with its assets. Raises DataError.

        A long file whose speaker is not known is read twice, first for the speaker's statistics.
        """
        if speaker is None and self.assets["normalization"]["over"] == "speaker":
            start = list(islice(read_recording(path), 2))
            if len(start) < 2:  # its own statistics are the speaker's
                yield from ((piece, self.assets) for piece in start)
                return
            speaker = self.measure_speaker([path])
        if speaker is not None and path in speaker.faults:
            raise speaker.faults[path]
        for piece in read_recording(path):
            yield piece, self.assets if speaker is None else speaker.assets

    def _add_words(self, waiting: Sequence[PreparedPiece], advance: Callable[[float], None]) -> None:
        """Transcribe the pieces and add their words to their recordings."""
        for part, words in zip(waiting, self._transcribe_pieces(waiting, advance), strict=True):
            part.recording.words += select_new_words(part.recording.words, words, part.piece)

    def _transcribe_pieces(
        self, parts: Sequence[PreparedPiece], advance: Callable[[float], None]
    ) -> list[list[SpokenWord]]:
        """Transcribe each piece, context included; pieces too short, or too quiet for training, have no words."""
        transcribed: list[list[SpokenWord]] = [[] for _ in parts]
        seconds = [part.piece.sound.seconds for part in parts]
        audible = [index for index, part in enumerate(parts) if self._is_audible(part.piece)]
        advance(sum(seconds) - sum(seconds[index] for index in audible))
        audible.sort(key=lambda index: seconds[index], reverse=True)
        for start in range(0, len(audible), self.batch_size):
            batch = audible[start : start + self.batch_size]
            for index, words in zip(batch, self._transcribe_batch([parts[index] for index in batch]), strict=True):
                transcribed[index] = words
            advance(sum(seconds[index] for index in batch))
        return transcribed

    def _is_audible(self, piece: RecordingPiece) -> bool:
        return piece.sound.seconds >= self._hop_seconds and measure_level(piece.sound.samples) >= SILENCE

    def _transcribe_batch(self, parts: Sequence[PreparedPiece]) -> Iterator[list[SpokenWord]]:
        inputs = [model_input(part.piece.sound, part.assets, self._extract) for part in parts]
        frames = torch.tensor([len(one) for one in inputs]).to(self.runtime.device)
        features = pad_sequence(inputs, batch_first=True).to(self.runtime.device)
        with torch.inference_mode(), self.runtime.autocast():
            transcripts = self.task.transcribe(self.model, features, frames, self.decoder)
        hop = self._hop_seconds
        for (_, piece, _), transcript in zip(parts, transcripts, strict=True):
            start, end = piece.start_seconds, piece.start_seconds + piece.sound.seconds
            yield [
                SpokenWord(word.text, start + word.first * hop, min(end, start + word.end * hop), word.confidence)
                for word in transcript.words
            ]

    @cached_property
    def _extract(self) -> Extractor:
        return rebuild_extractor(self.assets)

    @cached_property
    def _features(self) -> LogMel:
        return LogMel(**self.assets["features"])

    @cached_property
    def _hop_seconds(self) -> float:
        rate = int(self.assets["sample_rate_hz"])
        return WindowLengths(self._features, rate).hop / rate


def select_new_words(
    before: Sequence[SpokenWord], words: Sequence[SpokenWord], piece: RecordingPiece
) -> list[SpokenWord]:
    """Select those of a piece's words that continue the words `before` it.

    Their middle is in the piece's own part. Near its beginning, words that are not among those before count as well,
    since a word at the cut may have its middle before it in one piece and after it in the other.
    """
    kept = list(words)
    if piece.start_seconds + piece.sound.seconds > piece.to_seconds + JITTER_SECONDS:  # there is context after it
        kept = [word for word in kept if word.middle < piece.to_seconds]
    if piece.start_seconds < piece.from_seconds:  # there is context before it
        last = before[-1] if before else None
        since = piece.from_seconds - JITTER_SECONDS
        kept = [word for word in kept if word.middle >= since and (last is None or word.middle > last.end)]
        if kept and last and kept[0].text == last.text and kept[0].start < last.end + JITTER_SECONDS:
            del kept[0]
    return kept
