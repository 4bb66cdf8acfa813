"""Sound of phones, messengers, browsers and videos, which libsndfile does not read: by PyAV, if it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray

SUFFIXES = (".3gp", ".aac", ".amr", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma")
"""Files that are meant to be sound, or videos with sound, and need PyAV."""

_BEGINNINGS = (b"\x1aE\xdf\xa3", b"\xff\xf1", b"\xff\xf9", b"#!AMR", b"0&\xb2u\x8ef\xcf\x11")
"""Of Matroska and WebM, AAC (ADTS), AMR and Windows Media; MP4 and its kin have "ftyp" as their second four bytes."""
_SHORTFALL_SECONDS = 0.15  # an encoder's padding, which counts in a container's length but is not played


class MediaFault(Exception):
    """Raised for content that cannot be read as sound; the message says why."""


def is_media(head: bytes) -> bool:
    """Whether a file that begins like this is of a kind that PyAV reads and libsndfile does not."""
    return head.startswith(_BEGINNINGS) or head[4:8] == b"ftyp"


def import_av() -> ModuleType:
    """Import PyAV. Raises MediaFault, with what to install, if that fails: a file of another kind may still be read."""
    try:
        return import_module("av")
    except (ImportError, OSError) as error:
        raise MediaFault(
            f"M4A, MP4, WebM, Matroska, 3GP and AAC files are read by PyAV, which cannot be imported ({error}): "
            "pip install 'dltrain[media]'"
        ) from error


class MediaFile:
    """The first sound stream of a file, read from its beginning on, as from a `soundfile.SoundFile`.

    `frames` is the length that the file promises, less what encoders add; 0 if it promises none. Raises MediaFault for
    content that is no sound, here and while reading, and without PyAV.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._av, self._source = import_av(), source
        self._open()

    def _open(self) -> None:
        self._source.seek(0)
        try:
            self._container = self._av.open(self._source)
            if not self._container.streams.audio:
                raise MediaFault("there is no sound in it, only pictures")
            self._decoded = self._decode(self._container.streams.audio[0])
            first = next(self._decoded, None)
        except self._av.FFmpegError as error:
            raise MediaFault(error.strerror or str(error)) from None
        if first is None:
            raise MediaFault("there is no sound in it")
        self._held: list[NDArray[numpy.float32]] = [first]
        self.channels = first.shape[1]
        stream = self._container.streams.audio[0]
        seconds = (
            float(stream.duration * stream.time_base) if stream.duration else (self._container.duration or 0) / 1e6
        )
        self.frames = max(0, round((seconds - _SHORTFALL_SECONDS) * self.samplerate))

    def _decode(self, stream: Any) -> Iterator[NDArray[numpy.float32]]:
        """Decode the stream in blocks (n, channels); sets `samplerate`, which a header may state wrongly."""
        resampler = None
        for frame in self._container.decode(stream):
            if resampler is None:
                self.samplerate = int(frame.sample_rate)
                form = {"format": "fltp", "layout": frame.layout.name, "rate": self.samplerate}
                resampler = self._av.AudioResampler(**form)
            for part in resampler.resample(frame):
                yield part.to_ndarray().T
        for part in resampler.resample(None) if resampler is not None else ():
            yield part.to_ndarray().T

    def seek(self, frame: int) -> None:
        """Go back to the beginning; `frame` is 0."""
        self._container.close()
        self._open()

    def read(self, frames: int = -1, **_: Any) -> NDArray[numpy.float32]:
        """Read up to `frames` frames, or all that are left, (n, channels) float32."""
        count = sum(map(len, self._held))
        try:
            while frames < 0 or count < frames:
                block = next(self._decoded, None)
                if block is None:
                    break
                self._held.append(block)
                count += len(block)
        except self._av.FFmpegError as error:
            raise MediaFault(f"damaged: {error.strerror or error}") from None
        everything = numpy.concatenate(self._held) if self._held else numpy.zeros((0, self.channels), numpy.float32)
        end = len(everything) if frames < 0 else frames
        self._held = [everything[end:]]
        return everything[:end]
