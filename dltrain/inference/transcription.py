"""What is said in recordings: piece by piece, many pieces at once, each word with its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from dltrain.data.log_mel import Extractor, Windows, extractor_of, model_input
from dltrain.data.sound import SILENCE
from dltrain.errors import DataError
from dltrain.inference.recordings import Piece, read_pieces
from dltrain.options import LogMel
from dltrain.runtime.precision import Runtime
from dltrain.task import Decoder, Transcribes

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

    def recordings(self, files: Iterable[Path], tell: Callable[[float], None] = ignore) -> Iterator[Recording]:
        """The files' recordings, in order; `tell` gets the seconds of sound that each batch was.

        Holds a few batches of pieces at a time, however long the files are.
        """
        read: list[Recording] = []
        waiting: list[tuple[Recording, Piece]] = []
        for path in files:
            recording = Recording(path)
            try:
                for piece in read_pieces(path):
                    recording.seconds = piece.to_seconds
                    waiting.append((recording, piece))
                    if len(waiting) >= BATCHES_AHEAD * self.batch_size:
                        self._write(waiting, tell)
                        waiting = []
                        yield from read
                        read = []
            except DataError as fault:
                recording.fault = fault
                waiting = [(one, piece) for one, piece in waiting if one is not recording]
            read.append(recording)
            if not waiting:
                yield from read
                read = []
        self._write(waiting, tell)
        yield from read

    def _write(self, waiting: Sequence[tuple[Recording, Piece]], tell: Callable[[float], None]) -> None:
        """Add what the pieces say to their recordings."""
        found = self.words([piece for _, piece in waiting], tell)
        for (recording, piece), words in zip(waiting, found, strict=True):
            recording.words += continued(recording.words, words, piece)

    def words(self, pieces: Sequence[Piece], tell: Callable[[float], None] = ignore) -> list[list[SpokenWord]]:
        """What each piece says, context included; nothing in one too short, or too quiet to have been trained on."""
        found: list[list[SpokenWord]] = [[] for _ in pieces]
        audible = [place for place, piece in enumerate(pieces) if self._audible(piece)]
        tell(sum(piece.sound.seconds for piece in pieces) - sum(pieces[place].sound.seconds for place in audible))
        audible.sort(key=lambda place: pieces[place].sound.seconds, reverse=True)
        for at in range(0, len(audible), self.batch_size):
            batch = audible[at : at + self.batch_size]
            for place, words in zip(batch, self._together([pieces[place] for place in batch]), strict=True):
                found[place] = words
            tell(sum(pieces[place].sound.seconds for place in batch))
        return found

    def _audible(self, piece: Piece) -> bool:
        samples = piece.sound.samples
        return piece.sound.seconds >= self._hop_seconds and float(numpy.abs(samples).max()) >= SILENCE

    def _together(self, pieces: Sequence[Piece]) -> Iterator[list[SpokenWord]]:
        inputs = [model_input(piece.sound, self.assets, self._extract) for piece in pieces]
        frames = torch.tensor([len(one) for one in inputs]).to(self.runtime.device)
        features = pad_sequence(inputs, batch_first=True).to(self.runtime.device)
        with torch.inference_mode(), self.runtime.autocast():
            transcripts = self.task.transcribe(self.model, features, frames, self.decoder)
        hop, offset = self._hop_seconds, [piece.start_seconds for piece in pieces]
        for piece, start, transcript in zip(pieces, offset, transcripts, strict=True):
            end = start + piece.sound.seconds
            yield [
                SpokenWord(word.text, start + word.first * hop, min(end, start + word.end * hop), word.confidence)
                for word in transcript.words
            ]

    @cached_property
    def _extract(self) -> Extractor:
        return extractor_of(self.assets)

    @cached_property
    def _hop_seconds(self) -> float:
        rate = int(self.assets["sample_rate_hz"])
        return Windows(LogMel(**self.assets["features"]), rate).hop / rate


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
