"""Sound files of any length, read in blocks and cut at silences.

Models are trained on clips of some seconds, so a long recording is cut into pieces: in the middle of the longest
silence near a piece's usual length, or, without a pause, at the quietest moment; then the pieces on both sides overlap.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.speech import media
from dltrain.data.speech.channels import ChannelPowers, Samples, mix_channels
from dltrain.data.speech.sound import Sound, UnreadableSound, import_soundfile, open_sound, read_promised_frames
from dltrain.errors import DataError

SUFFIXES = (".aif", ".aiff", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav", *media.SUFFIXES)


def is_sound_file(path: Path) -> bool:
    """Whether a file is meant to be sound, by its name."""
    return path.suffix.lower() in SUFFIXES


PIECE_SECONDS = 20.0
"""The usual length of a piece."""
LEEWAY_SECONDS = 5.0
"""How much a piece may be shorter or longer, so that it ends in a silence."""
LONGEST_SECONDS = PIECE_SECONDS + LEEWAY_SECONDS
CONTEXT_SECONDS = 2.0
"""How far pieces extend beyond a cut in speech: longer than a word."""

BLOCK_SECONDS = 5.0
_STEP_SECONDS = 0.02
_PAUSE_SECONDS = 0.2  # closed lips within a word are quiet for less
_SPEECH_QUANTILE = 0.9
_QUIET = 1e-3  # of the power of speech: 30 dB below
_QUIET_ANYWAY = 1e-8  # of the power of full scale: 80 dB below

_SHORTFALL_SECONDS = 0.02
_SHORTFALL_SHARE = 0.02


class RecordingPiece(NamedTuple):
    """A part of a recording that begins at `start_seconds`.

    Its own part is from `from_seconds` to `to_seconds` of the recording; the rest before and after it is context.
    """

    sound: Sound
    start_seconds: float
    from_seconds: float
    to_seconds: float


def read_recording(path: Path) -> Iterator[RecordingPiece]:
    """Read a sound file piece by piece. Raises DataError, naming the file, as soon as something is wrong with it.

    Raises UsageError without the `audio` extra.
    """
    soundfile = import_soundfile()
    try:
        _check_kind(path.stat())
        with (
            path.open("rb") as content,
            mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            open_sound(content, mapped[:16], lambda: _open_file(content, soundfile)) as file,
        ):
            yield from cut_pieces(file, read_promised_frames(mapped, file))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", advice="check its name and its permissions"
        ) from None
    except UnreadableSound as fault:
        raise DataError(
            f"{path}: not sound that can be read ({fault})",
            advice="convert it to WAV, FLAC, OGG or MP3, or leave it out",
        ) from None
    except _Unfit as fault:
        raise DataError(f"{path}: {fault.message}", advice=fault.advice) from None


class _Unfit(DataError):
    """A fault of a file, without its name."""


def _check_kind(status: os.stat_result) -> None:
    """Raise _Unfit for anything but a file, since opening it might block, and for an empty file."""
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise _Unfit(f"{found}; allowed is a file", advice="write the sound to a file, and name that")
    if not status.st_size:
        raise _Unfit("the file is empty (0 bytes)", advice="copy it again, or leave it out")


def _open_file(content: BinaryIO, soundfile: ModuleType) -> Any:
    """Open a `soundfile.SoundFile`. It reads the descriptor, since signals' exceptions cannot leave callbacks."""
    with _silence_decoder():
        return soundfile.SoundFile(content.fileno(), closefd=False)


@contextmanager
def _silence_decoder() -> Iterator[None]:
    """Suppress libmpg123's messages about a cut MP3, which name no file: the length check finds it as well."""
    if sys.stderr is None:  # descriptor 2 is closed, or a file of ours
        yield
        return
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def cut_pieces(file: Any, promised: int) -> Iterator[RecordingPiece]:
    """Cut an open `soundfile.SoundFile`, which promises a number of frames, into pieces, in order.

    Never holds more than the length of two pieces and a block. A file of several channels is read twice, first to see
    whether they cancel each other.
    """
    rate, channels = file.samplerate, file.channels
    chosen = _choose_channel(file)
    describe = partial(Sound, sample_rate_hz=rate, channels=channels, opposed=chosen is not None)
    context, longest, ahead = (round(s * rate) for s in (CONTEXT_SECONDS, LONGEST_SECONDS, 2 * PIECE_SECONDS))
    held: Samples = numpy.zeros(0, numpy.float32)
    start = own = 0  # of the held samples, and of the next piece's own part, in samples of the file
    ended = False
    while True:
        while not ended and start + len(held) - own <= ahead:
            block = _mix_block(file.read(round(BLOCK_SECONDS * rate), dtype="float32", always_2d=True), chosen)
            ended = len(block) < round(BLOCK_SECONDS * rate)
            held = numpy.concatenate((held, block))
        left = start + len(held) - own
        if ended:
            _check_length(start + len(held), promised, rate)
        if ended and left <= longest:
            yield _make_piece(
                Sound(held, rate, channels, opposed=chosen is not None), start=start, own=own, end=own + left
            )
            return
        cut, silent = find_cut(held[own - start :], rate, left / rate if ended else None)
        cut += own
        beyond = 0 if silent else context
        sound = describe(held[: cut + beyond - start].copy())
        yield _make_piece(sound, start=start, own=own, end=cut)
        keep = max(start, cut - beyond)
        held, start, own = held[keep - start :].copy(), keep, cut


def _make_piece(sound: Sound, start: int, own: int, end: int) -> RecordingPiece:
    rate = sound.sample_rate_hz
    return RecordingPiece(sound, start / rate, own / rate, end / rate)


def _choose_channel(file: Any) -> int | None:
    """Choose the channel that stands for all of an open file, or None for their average; the file is rewound."""
    if file.channels == 1:
        return None
    powers = ChannelPowers(file.channels)
    while len(block := file.read(round(BLOCK_SECONDS * file.samplerate), dtype="float32", always_2d=True)):
        powers.add(block)
    file.seek(0)
    return powers.choose()


def _mix_block(block: Samples, chosen: int | None) -> Samples:
    """Make one channel (n,) of samples (n, channels). Raises _Unfit for samples that are not finite."""
    mixed = mix_channels(block, chosen)
    if not numpy.isfinite(mixed).all():
        raise _Unfit("some of its samples are NaN or infinite", advice="record or convert it again, or leave it out")
    return mixed


def _check_length(samples: int, promised: int, rate: int) -> None:
    if not samples:
        raise _Unfit("no sample in it", advice="copy it again, or leave it out")
    if promised - samples > _SHORTFALL_SECONDS * rate + _SHORTFALL_SHARE * promised:
        raise _Unfit(
            f"damaged or cut short: it decodes to {samples / rate:.2f} s, its header promises {promised / rate:.2f} s",
            advice="copy it again, or leave it out",
        )


def find_cut(samples: Samples, rate: int, left_seconds: float | None = None) -> tuple[int, bool]:
    """Find where to end a piece that begins with `samples`, and whether there is silence.

    `left_seconds` is the remaining length of the recording, if known: the last two pieces have similar lengths.
    """
    target = PIECE_SECONDS
    if left_seconds is not None and left_seconds < 2 * PIECE_SECONDS:
        target = left_seconds / 2
    step = max(1, round(rate * _STEP_SECONDS))
    power = (samples[: len(samples) // step * step].reshape(-1, step).astype(numpy.float64) ** 2).mean(1)
    first, last = (round((target + side * LEEWAY_SECONDS) * rate / step) for side in (-1, 1))
    near = power[first:last]
    quiet = near < max(_QUIET_ANYWAY, _QUIET * float(numpy.quantile(power, _SPEECH_QUANTILE)))
    begin, end = find_longest_run(quiet)
    pause = round(_PAUSE_SECONDS / _STEP_SECONDS)
    if end - begin >= pause:
        return (first + (begin + end) // 2) * step, True
    smooth = numpy.convolve(near, numpy.ones(pause), "valid")
    return (first + int(smooth.argmin()) + pause // 2) * step, False


def find_longest_run(marks: NDArray[numpy.bool_]) -> tuple[int, int]:
    """Find the first and the end of the longest run of marks (n,), the first of equals; (0, 0) if there is none."""
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([False], marks, [False])).astype(numpy.int8)))
    if not len(edges):
        return 0, 0
    begins, ends = edges[::2], edges[1::2]
    best = int((ends - begins).argmax())
    return int(begins[best]), int(ends[best])
