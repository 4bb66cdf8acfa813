"""Decoding of sound files of any rate and number of channels: by libsndfile, or what it does not read by PyAV."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from mmap import mmap
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy

from dltrain.data.speech.channels import Samples, choose_channel, mix_channels
from dltrain.data.speech.media import MediaFault, MediaFile, is_media
from dltrain.errors import UsageError

SILENCE = 1e-3
"""A clip whose loudest sample is below this, -60 dB of full scale, holds no speech."""

_FULL_SCALE = 0.9995
_HEADER_SHORTFALL_SECONDS = 0.02
_STATED_SHORTFALL_SECONDS = 0.15  # an MP3 encoder's padding, which some tools count as part of the clip
_SHORTFALL_SHARE = 0.02
_UNKNOWN_BYTES = 0x7FFF_FFFF  # written by programs that stream a WAV file of unknown length


class UnusableClip(Exception):
    """Raised for a clip that cannot be used: one of a few `kind`s, to be counted, and the `reason` as text."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class Sound(NamedTuple):
    """One channel of samples (n,) in [-1, 1], from a file with `channels` at `sample_rate_hz`.

    `opposed` means that the channels are in opposite phase, and that the loudest one is used.
    """

    samples: Samples
    sample_rate_hz: int
    channels: int
    opposed: bool = False

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz


def import_audio_package(name: str, purpose: str) -> ModuleType:
    """Import a package of the `audio` extra. Raises UsageError, beginning with `purpose`, if that fails."""
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise UsageError(f"{purpose} cannot be imported ({error}). Install it: pip install 'dltrain[audio]'") from error


def import_soundfile() -> ModuleType:
    return import_audio_package("soundfile", "sound is read by soundfile, which")


@contextmanager
def open_sound(source: BinaryIO, head: bytes, open_file: Callable[[], Any]) -> Iterator[Any]:
    """Open sound as a `soundfile.SoundFile` made by `open_file`, or what libsndfile cannot read as a `MediaFile`.

    `head` is how the content of `source` begins. Raises UnreadableSound, also for faults found while it is read.
    """
    soundfile = import_soundfile()
    try:
        try:
            file = open_file()
        except soundfile.SoundFileError:
            if not is_media(head):
                raise
            file = MediaFile(source)
        yield file
    except soundfile.SoundFileError as error:
        cause = str(error).rpartition(": ")[2].strip(". ")  # without the object that Python names in front of it
        raise UnreadableSound(cause or type(error).__name__) from None
    except MediaFault as fault:
        raise UnreadableSound(str(fault)) from None


class UnreadableSound(Exception):
    """Raised for content that is no sound, or too damaged to be read; the message says why."""


def decode_sound(content: bytes, stated_seconds: float | None = None, most_seconds: float = math.inf) -> Sound:
    """Decode a file's bytes, channels averaged, or the loudest one of channels in opposite phase. Raises UnusableClip.

    A damaged MP3 decodes without an error to a fraction of its length, so the length is compared with what the file's
    header promises and with `stated_seconds`. A clip that promises more than `most_seconds` is not decoded at all. A
    cut OGG file, or MP3 without a length in its header, is found only if the length is stated.
    """
    soundfile = import_soundfile()
    if not content:
        raise UnusableClip("unreadable", "the file is empty (0 bytes)")
    source = io.BytesIO(content)
    try:
        with open_sound(source, content[:16], lambda: soundfile.SoundFile(source)) as file:
            rate, promised = file.samplerate, read_promised_frames(content, file)
            if max(promised / rate, stated_seconds or 0) > most_seconds:
                raise _too_long(max(promised / rate, stated_seconds or 0), most_seconds)
            channels: Samples = file.read(dtype="float32", always_2d=True)  # (n, channels)
    except UnreadableSound as fault:
        raise UnusableClip("unreadable", f"not sound that can be read ({fault})") from None
    chosen = choose_channel(channels)
    sound = Sound(mix_channels(channels, chosen), rate, channels.shape[1], opposed=chosen is not None)
    _check_length(sound.seconds, promised / rate, "its header promises", _HEADER_SHORTFALL_SECONDS)
    if stated_seconds is not None:
        _check_length(sound.seconds, stated_seconds, "its stated length is", _STATED_SHORTFALL_SECONDS)
    if not len(sound.samples):
        raise UnusableClip("damaged", "no sample in it")
    if sound.seconds > most_seconds:
        raise _too_long(sound.seconds, most_seconds)
    if not numpy.isfinite(sound.samples).all():
        bad = int((~numpy.isfinite(sound.samples)).sum())
        raise UnusableClip("not finite", f"{bad} of its {len(sound.samples)} samples are NaN or infinite")
    return sound


def measure_level(samples: Samples) -> float:
    """Measure the loudest sample of some (n,), without a constant offset."""
    return float(numpy.abs(samples - samples.mean()).max())


def measure_clipping(samples: Samples) -> float:
    """Measure the share of samples (n,) at full scale, where the wave is cut off."""
    return float((numpy.abs(samples) >= _FULL_SCALE).mean()) if len(samples) else 0.0


def measure_offset(samples: Samples) -> float:
    """Measure how far the mean of samples (n,) is from 0, in standard deviations; 0 for silence."""
    deviation = float(samples.std()) if len(samples) else 0.0
    return abs(float(samples.mean())) / deviation if deviation else 0.0


def check_audible(sound: Sound) -> None:
    """Raise UnusableClip for silence."""
    peak = measure_level(sound.samples)
    if peak < SILENCE:
        level = f"{20 * math.log10(peak):.0f} dB of full scale" if peak else "digital silence"
        raise UnusableClip("silent", f"silent: its loudest sample is {peak:.1g}, {level}")


def resample(sound: Sound, sample_rate_hz: int) -> Samples:
    """Resample sound to another rate, (n * sample_rate_hz / rate,), band-limited by soxr at its high quality."""
    if sound.sample_rate_hz == sample_rate_hz:
        return sound.samples
    soxr = import_audio_package("soxr", f"sound at {sound.sample_rate_hz} Hz is resampled by soxr, which")
    changed: Samples = soxr.resample(sound.samples, sound.sample_rate_hz, sample_rate_hz)
    return changed


def _too_long(seconds: float, most_seconds: float) -> UnusableClip:
    return UnusableClip("too long", f"{seconds:.1f} s long, more than max_seconds {most_seconds:g}")


def _check_length(seconds: float, promised: float, whose: str, tolerance_seconds: float) -> None:
    if promised - seconds > tolerance_seconds + _SHORTFALL_SHARE * promised:
        raise UnusableClip("damaged", f"damaged or cut short: it decodes to {seconds:.2f} s, {whose} {promised:.2f} s")


def read_promised_frames(content: bytes | mmap, file: Any) -> int:
    """Read the length in the file's header; of WAV files directly, since libsndfile reports the content's length."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        offset = 12
        while offset + 8 <= len(content):
            size = int.from_bytes(content[offset + 4 : offset + 8], "little")
            if content[offset : offset + 4] == b"data" and len(content) - offset - 8 < size < _UNKNOWN_BYTES:
                return int(file.frames * size / max(1, len(content) - offset - 8))
            offset += 8 + size + size % 2
    return int(file.frames)
