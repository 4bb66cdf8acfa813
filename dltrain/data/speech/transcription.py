"""What is said in recordings: piece by piece, many pieces at once, each word with its time."""

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

from dltrain.data.speech.log_mel import STORED, Extractor, Windows, extractor_of, model_input, moments
from dltrain.data.speech.recognition import Decoder, Transcribes
from dltrain.data.speech.recordings import Piece, read_pieces
from dltrain.data.speech.sound import SILENCE, resampled
from dltrain.errors import DataError
from dltrain.options import LogMel
from dltrain.runtime.precision import Runtime

BATCHES_AHEAD = 4
"""Batches' worth of pieces that are read before any is transcribed: those of like length go together."""
JITTER_SECONDS = 0.1
"""By how much two pieces may disagree on when the same word is said."""


class SpokenWord(NamedTuple):
    """A word, when it is said, in seconds from the beginning of the recording, and its confidence, from 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass
class Recording:
    """A file, and what is said in it; or why it could not be read, `fault`."""

    path: Path
    seconds: float = 0.0
    words: list[SpokenWord] = field(default_factory=list)
    fault: DataError | None = None

    def text(self, separator: str) -> str:
        """The words with `separator` between them."""
        return separator.join(word.text for word in self.words)


class Voice(NamedTuple):
    """A speaker, by some files: `assets` with the statistics of the features of all of them together.

    `faults` say of files why they could not be read; these do not count.
    """

    assets: Mapping[str, Any]
    faults: Mapping[Path, DataError]


class Part(NamedTuple):
    """A piece of a recording, and the assets that make it a model's input."""

    recording: Recording
    piece: Piece
    assets: Mapping[str, Any]


def ignore(seconds: float) -> None:
    """Where nobody watches."""


@dataclass
class Transcriber:
    """A trained model that writes down recordings; `assets` are its checkpoint's."""

    task: Transcribes
    model: nn.Module
    runtime: Runtime
    assets: Mapping[str, Any]
    decoder: Decoder
    batch_size: int = 8

    def voice(self, files: Iterable[Path], advance: Callable[[], None] = lambda: None) -> Voice:
        """The one who speaks in all the files, which are read once, each followed by a call of `advance`.

        Every file counts once, and what is too quiet to be transcribed does not, as in a split of a dataset.
        """
        from dltrain.data.speech.common_voice import pooled

        heard: list[tuple[int, NDArray[Any]]] = []
        faults: dict[Path, DataError] = {}
        for path in dict.fromkeys(files):
            try:
                heard += [self._moments(piece) for piece in read_pieces(path) if self._audible(piece)]
            except DataError as fault:
                faults[path] = fault
            advance()
        if not heard:
            return Voice(self.assets, faults)
        frames, each = (numpy.array(found) for found in zip(*heard, strict=True))
        mean, variance = pooled(frames, each, [""] * len(heard))[0]
        known = {"over": "corpus", "mean": mean, "variance": variance}  # statistics that are given, as a corpus's are
        return Voice({**self.assets, "normalization": known}, faults)

    def _moments(self, piece: Piece) -> tuple[int, NDArray[Any]]:
        """The frames of a piece's own part, and mean and variance (2, bands) of the features there."""
        raw = self._extract(resampled(piece.sound, int(self.assets["sample_rate_hz"])))
        borders = (piece.from_seconds - piece.start_seconds, piece.to_seconds - piece.start_seconds)
        first, last = (round(seconds / self._hop_seconds) for seconds in borders)
        own = raw.astype(STORED).astype(numpy.float32)[first : last + 1]
        return len(own), numpy.stack(moments(own, self._features.speech_db))

    def recordings(
        self, files: Iterable[Path], tell: Callable[[float], None] = ignore, voice: Voice | None = None
    ) -> Iterator[Recording]:
        """The files' recordings, in order; `tell` gets the seconds of sound that each batch was.

        The files are `voice`'s, or each has a speaker of its own. Holds a few batches of pieces at a time, however
        long the files are.
        """
        read: list[Recording] = []
        waiting: list[Part] = []
        for path in files:
            recording = Recording(path)
            try:
                for piece, assets in self._prepared(path, voice):
                    recording.seconds = piece.to_seconds
                    waiting.append(Part(recording, piece, assets))
                    if len(waiting) >= BATCHES_AHEAD * self.batch_size:
                        self._write(waiting, tell)
                        waiting = []
                        yield from read
                        read = []
            except DataError as fault:
                recording.fault = fault
                waiting = [part for part in waiting if part.recording is not recording]
            read.append(recording)
            if not waiting:
                yield from read
                read = []
        self._write(waiting, tell)
        yield from read

    def _prepared(self, path: Path, voice: Voice | None) -> Iterator[tuple[Piece, Mapping[str, Any]]]:
        """A file's pieces, each with its assets. Raises DataError.

        A long file whose speaker is not known is read twice, first for the speaker's statistics.
        """
        if voice is None and self.assets["normalization"]["over"] == "speaker":
            start = list(islice(read_pieces(path), 2))
            if len(start) < 2:  # its own statistics are the speaker's
                yield from ((piece, self.assets) for piece in start)
                return
            voice = self.voice([path])
        if voice is not None and path in voice.faults:
            raise voice.faults[path]
        for piece in read_pieces(path):
            yield piece, self.assets if voice is None else voice.assets

    def _write(self, waiting: Sequence[Part], tell: Callable[[float], None]) -> None:
        """Add what the pieces say to their recordings."""
        for part, words in zip(waiting, self._words(waiting, tell), strict=True):
            part.recording.words += continued(part.recording.words, words, part.piece)

    def _words(self, parts: Sequence[Part], tell: Callable[[float], None]) -> list[list[SpokenWord]]:
        """What each piece says, context included; nothing in one too short, or too quiet to have been trained on."""
        found: list[list[SpokenWord]] = [[] for _ in parts]
        seconds = [part.piece.sound.seconds for part in parts]
        audible = [place for place, part in enumerate(parts) if self._audible(part.piece)]
        tell(sum(seconds) - sum(seconds[place] for place in audible))
        audible.sort(key=lambda place: seconds[place], reverse=True)
        for at in range(0, len(audible), self.batch_size):
            batch = audible[at : at + self.batch_size]
            for place, words in zip(batch, self._together([parts[place] for place in batch]), strict=True):
                found[place] = words
            tell(sum(seconds[place] for place in batch))
        return found

    def _audible(self, piece: Piece) -> bool:
        samples = piece.sound.samples
        return piece.sound.seconds >= self._hop_seconds and float(numpy.abs(samples).max()) >= SILENCE

    def _together(self, parts: Sequence[Part]) -> Iterator[list[SpokenWord]]:
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
        return extractor_of(self.assets)

    @cached_property
    def _features(self) -> LogMel:
        return LogMel(**self.assets["features"])

    @cached_property
    def _hop_seconds(self) -> float:
        rate = int(self.assets["sample_rate_hz"])
        return Windows(self._features, rate).hop / rate


def continued(before: Sequence[SpokenWord], words: Sequence[SpokenWord], piece: Piece) -> list[SpokenWord]:
    """Those of a piece's words that follow what the pieces `before` it said.

    They are the words whose middle lies in the piece's own part. Near its beginning, what was not said before counts,
    since a word on the border may have its middle before it in one piece and behind it in the other.
    """
    kept = list(words)
    if piece.start_seconds + piece.sound.seconds > piece.to_seconds + JITTER_SECONDS:  # there is context behind it
        kept = [word for word in kept if word.middle < piece.to_seconds]
    if piece.start_seconds < piece.from_seconds:  # there is context before it
        last = before[-1] if before else None
        since = piece.from_seconds - JITTER_SECONDS
        kept = [word for word in kept if word.middle >= since and (last is None or word.middle > last.end)]
        if kept and last and kept[0].text == last.text and kept[0].start < last.end + JITTER_SECONDS:
            del kept[0]
    return kept
