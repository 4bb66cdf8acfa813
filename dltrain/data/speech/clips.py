"""The clips of a manifest looked into once: what is wrong with each, how long it is, and its features.

Everything that depends on the sound alone is kept in a cache entry under a key of the files' contents and the settings:

    features.f16    (frames of all clips, bands) float16, clip after clip; mapped into memory. Absent where not wanted
    lengths.npy     (clips, 2) float64: seconds, and the rate in Hz; 0 for a clip that was not decoded
    frames.npy      (clips,) int64: frames; 0 for a clip that cannot be used
    moments.npy     (clips, 2, bands) float32: mean and variance of each band
    faults.json     by a clip's place: kind and reason
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, Entry
from dltrain.data.progress import Progress
from dltrain.data.speech.log_mel import STORED, Extractor, Features, extractor, moments
from dltrain.data.speech.manifests import Clip
from dltrain.data.speech.sound import Unsound, check_audible, decoded, resampled
from dltrain.errors import DataError
from dltrain.options import LogMel
from dltrain.runtime.precision import available_cores
from dltrain.stream import in_order

_FORMAT = 1  # of the cache's entries; another one where what they hold, or how sound is read, changes
_AHEAD = 64  # clips that each thread may be ahead of the one that is written


@dataclass(frozen=True)
class Preparation:
    """What is made of a sound file: its features at a rate, unless it lasts longer than `max_seconds`."""

    sample_rate_hz: int = 16000
    features: LogMel = field(default_factory=LogMel)
    max_seconds: float = 10.0


class Fault(NamedTuple):
    """Why a clip is left out; see `dltrain.data.speech.sound.Unsound`."""

    kind: str
    reason: str


class Examined(NamedTuple):
    """One clip: `features` (T, bands) of type STORED, or None where there is a fault."""

    seconds: float
    sample_rate_hz: int
    fault: Fault | None
    features: NDArray[Any] | None


class Survey(NamedTuple):
    """All clips of a manifest, in its order; see the module for shapes. `starts` (clips,) are rows of `features`."""

    seconds: NDArray[Any]
    rates: NDArray[Any]
    frames: NDArray[Any]
    moments: NDArray[Any]
    faults: Sequence[Fault | None]
    starts: NDArray[Any]
    features: NDArray[Any] | None = None
    entry: Entry | None = None

    def only(self, places: NDArray[Any]) -> Survey:
        """Some of the clips."""
        return self._replace(
            seconds=self.seconds[places],
            rates=self.rates[places],
            frames=self.frames[places],
            moments=self.moments[places],
            faults=[self.faults[place] for place in places],
            starts=self.starts[places],
        )

    def features_of(self, place: int) -> Features:
        """A clip's features as they were kept, (T, bands) float32, not normalised."""
        assert self.features is not None
        start = int(self.starts[place])
        return numpy.asarray(self.features[start : start + int(self.frames[place])]).astype(numpy.float32)


def examined(clip: Clip, preparation: Preparation, extract: Extractor) -> Examined:
    """One clip's sound, looked into."""
    seconds, rate = 0.0, 0
    try:
        if clip.fault is not None:
            raise Unsound("bad line", clip.fault)
        sound = decoded(_content(clip.path), clip.seconds, preparation.max_seconds)
        seconds, rate = sound.seconds, sound.sample_rate_hz
        check_audible(sound)
        features = extract(resampled(sound, preparation.sample_rate_hz)).astype(STORED)
    except Unsound as fault:
        return Examined(seconds, rate, Fault(fault.kind, fault.reason), None)
    return Examined(seconds, rate, None, features)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Unsound("missing", "no such file") from None
    except OSError as error:
        raise Unsound("missing", f"cannot be read ({error.strerror or error})") from None


def surveyed(clips: Sequence[Clip], preparation: Preparation, what: str, keep: Path | None = None) -> Survey:
    """All clips looked into by all cores, while a progress bar says `what`; features are written to the file `keep`."""
    extract = extractor(preparation.features, preparation.sample_rate_hz)
    count, bands = len(clips), preparation.features.bands
    seconds, rates = numpy.zeros(count), numpy.zeros(count)
    frames, statistics = numpy.zeros(count, numpy.int64), numpy.zeros((count, 2, bands), numpy.float32)
    faults: list[Fault | None] = []
    with Progress(what, count) as progress, (keep or Path(os.devnull)).open("wb") as file:
        every = in_order(lambda clip: examined(clip, preparation, extract), clips, available_cores(), _AHEAD)
        for place, one in enumerate(every):
            seconds[place], rates[place] = one.seconds, one.sample_rate_hz
            faults.append(one.fault)
            if one.features is not None:
                frames[place] = len(one.features)
                statistics[place] = moments(one.features.astype(numpy.float32), preparation.features.speech_db)
                file.write(one.features.tobytes())
            progress.advance()
    return Survey(seconds, rates, frames, statistics, faults, _starts(frames))


def _starts(frames: NDArray[Any]) -> NDArray[Any]:
    starts: NDArray[Any] = numpy.cumsum(frames) - frames
    return starts


def remembered(
    clips: Sequence[Clip], digests: Sequence[str], preparation: Preparation, what: str, cache: Cache, keep: bool
) -> Survey:
    """`surveyed`, from the cache where the same contents were looked into before; with their features if `keep`."""
    content = hashlib.sha256()
    for clip, digest in zip(clips, digests, strict=True):
        content.update(f"{digest} {clip.seconds} {clip.fault}\n".encode())
    key = {
        "format": _FORMAT,
        "clips": content.hexdigest(),
        "preparation": asdict(preparation),
        "features kept": keep,
        "versions": {name: _version(name) for name in ("soundfile", "soxr", preparation.features.backend)},
    }

    def make(folder: Path) -> None:
        survey = surveyed(clips, preparation, what, folder / "features.f16" if keep else None)
        numpy.save(folder / "lengths.npy", numpy.stack((survey.seconds, survey.rates), 1))
        numpy.save(folder / "frames.npy", survey.frames)
        numpy.save(folder / "moments.npy", survey.moments)
        faults = {place: fault for place, fault in enumerate(survey.faults) if fault is not None}
        (folder / "faults.json").write_text(json.dumps(faults), encoding="utf-8")

    return _opened(cache.entry("speech", key, make), preparation.features.bands)


def _opened(entry: Entry, bands: int) -> Survey:
    lengths, frames, statistics = (numpy.load(entry.path / f"{name}.npy") for name in ("lengths", "frames", "moments"))
    found = json.loads((entry.path / "faults.json").read_text(encoding="utf-8"))
    faults = [Fault(*found[str(place)]) if str(place) in found else None for place in range(len(frames))]
    path, features = entry.path / "features.f16", None
    if path.exists():
        shape = (int(frames.sum()), bands)
        features = numpy.memmap(path, STORED, "r", shape=shape) if shape[0] else numpy.zeros(shape, STORED)
    return Survey(lengths[:, 0], lengths[:, 1], frames, statistics, faults, _starts(frames), features, entry)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def content_digests(clips: Sequence[Clip], cache: Cache) -> list[str]:
    """The SHA-256 of each clip's file, "-" where it cannot be read.

    Files are read again only where path, size or time of modification are other than they were.
    """
    known = hashlib.sha256()
    for clip in clips:
        known.update(f"{clip.path}\0{_stamp(clip.path)}\n".encode())

    def make(folder: Path) -> None:
        with Progress("reading clips", len(clips)) as progress:
            digests = []
            for digest in in_order(_digest, clips, available_cores(), _AHEAD):
                digests.append(digest)
                progress.advance()
        (folder / "digests").write_text("\n".join(digests), encoding="ascii")

    entry = cache.entry("clips", {"format": _FORMAT, "files": known.hexdigest()}, make)
    return (entry.path / "digests").read_text(encoding="ascii").split("\n")


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def _digest(clip: Clip) -> str:
    try:
        return hashlib.sha256(clip.path.read_bytes()).hexdigest()
    except OSError:
        return "-"


def features_on_the_fly(clip: Clip, preparation: Preparation, extract: Extractor) -> Features:
    """One clip's features, as the cache would have them. Raises DataError where the clip has changed for the worse."""
    one = examined(clip, preparation, extract)
    if one.features is None:
        reason = one.fault.reason if one.fault else ""
        raise DataError(f"{clip.path}: was fine when training began, but now: {reason}.")
    return one.features.astype(numpy.float32)
