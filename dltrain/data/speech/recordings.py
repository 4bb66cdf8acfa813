"""Sound files of any length, read in blocks and cut where nothing is said.

A model hears clips of some seconds, so a long recording is cut into pieces: in the middle of the longest silence near
a piece's usual length, or, where nobody pauses, at the quietest place, and then the pieces on both sides overlap.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.speech.sound import Samples, Sound, import_soundfile, read_promised_frames
from dltrain.errors import DataError

SUFFIXES = (".aif", ".aiff", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")

PIECE_SECONDS = 20.0
"""The usual length of a piece."""
LEEWAY_SECONDS = 5.0
"""By how much a piece may be shorter or longer, so that it ends in a silence."""
LONGEST_SECONDS = PIECE_SECONDS + LEEWAY_SECONDS
CONTEXT_SECONDS = 2.0
"""How far pieces reach beyond a border at which somebody speaks: more than a word lasts."""

BLOCK_SECONDS = 5.0
_STEP_SECONDS = 0.02
_PAUSE_SECONDS = 0.2  # closed lips within a word are quiet for less
_SPEECH_QUANTILE = 0.9
_QUIET = 1e-3  # of the power of speech: 30 dB below
_QUIET_ANYWAY = 1e-8  # of the power of full scale: 80 dB below

_SHORTFALL_SECONDS = 0.02
_SHORTFALL_SHARE = 0.02


class RecordingPiece(NamedTuple):
    """A stretch of a recording, which begins at `start_seconds`.

    Its own part lies from `from_seconds` to `to_seconds` of the recording; what is before and after that is context.
    """

    sound: Sound
    start_seconds: float
    from_seconds: float
    to_seconds: float


def read_pieces(path: Path) -> Iterator[RecordingPiece]:
    """The pieces of a sound file, in order. Raises DataError, naming the file, as soon as something is wrong with it.

    Raises UsageError without the `audio` extra.
    """
    soundfile = import_soundfile()
    try:
        _check_kind(path.stat())
        with path.open("rb") as content, _open_sound(content, soundfile) as file:
            with mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                promised = read_promised_frames(mapped, file)
            yield from cut_pieces(file, promised)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", advice="check its name and its permissions"
        ) from None
    except soundfile.SoundFileError as error:
        said = str(error).rpartition(": ")[2].strip(". ")
        raise DataError(
            f"{path}: not sound that can be read ({said})",
            advice="make it a WAV, FLAC, OGG or MP3 file, or leave it out",
        ) from None
    except _Unfit as fault:
        raise DataError(f"{path}: {fault.message}", advice=fault.advice) from None


class _Unfit(DataError):
    """What is wrong with a file, and what to do next."""


def _check_kind(status: os.stat_result) -> None:
    """Raises _Unfit for what is no file, which opening might wait for, and for a file of nothing."""
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise _Unfit(f"{found}; allowed is a file", advice="write the sound to a file, and name that")
    if not status.st_size:
        raise _Unfit("the file is empty (0 bytes)", advice="copy it again, or leave it out")


def _open_sound(content: BinaryIO, soundfile: ModuleType) -> Any:
    """A `soundfile.SoundFile`. It reads the descriptor itself, since no signal's exception leaves a callback."""
    with _silence_decoder():
        return soundfile.SoundFile(content.fileno(), closefd=False)


@contextmanager
def _silence_decoder() -> Iterator[None]:
    """Without what libmpg123 prints of a cut MP3, which names no file: the file's length shows it as well."""
    if sys.stderr is None:  # descriptor 2 is closed, or a file of ours
        yield
        return
    usual, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(usual, 2)
        os.close(usual)
        os.close(nowhere)


def cut_pieces(file: Any, promised: int) -> Iterator[RecordingPiece]:
    """The pieces of an open `soundfile.SoundFile`, in order, which should have so many frames.

    Never more of it is held than two pieces' length and a block.
    """
    rate, channels = file.samplerate, file.channels
    context, longest, wanted = (round(s * rate) for s in (CONTEXT_SECONDS, LONGEST_SECONDS, 2 * PIECE_SECONDS))
    held: Samples = numpy.zeros(0, numpy.float32)
    start = own = 0  # of what is held, and of the own part of the next piece, in samples of the file
    ended = False
    while True:
        while not ended and start + len(held) - own <= wanted:
            block = _mix_channels(file.read(round(BLOCK_SECONDS * rate), dtype="float32", always_2d=True))
            ended = len(block) < round(BLOCK_SECONDS * rate)
            held = numpy.concatenate((held, block))
        left = start + len(held) - own
        if ended:
            _check_length(start + len(held), promised, rate)
        if ended and left <= longest:
            yield _make_piece(held, start, own, own + left, rate, channels)
            return
        place, silent = find_cut(held[own - start :], rate, left / rate if ended else None)
        place += own
        beyond = 0 if silent else context
        yield _make_piece(held[: place + beyond - start].copy(), start, own, place, rate, channels)
        keep = max(start, place - beyond)
        held, start, own = held[keep - start :].copy(), keep, place


def _make_piece(samples: Samples, start: int, own: int, end: int, rate: int, channels: int) -> RecordingPiece:
    return RecordingPiece(Sound(samples, rate, channels), start / rate, own / rate, end / rate)


def _mix_channels(block: Samples) -> Samples:
    """Samples (n, channels) as one channel (n,). Raises _Unfit for samples that are no numbers."""
    mixed: Samples = block[:, 0] if block.shape[1] == 1 else block.mean(1)
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
    """Where to end a piece that begins with `samples`, and whether there is silence.

    `left_seconds` is how much there is at all, if known: the last two pieces are of like length.
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
    """The first and the end of the longest run of marks (n,), of equals the first one; (0, 0) where there is none."""
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([False], marks, [False])).astype(numpy.int8)))
    if not len(edges):
        return 0, 0
    begins, ends = edges[::2], edges[1::2]
    best = int((ends - begins).argmax())
    return int(begins[best]), int(ends[best])
