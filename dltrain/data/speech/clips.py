"""Surveys of the clips of a manifest: the length, the features and the faults of each.

What depends on the sound alone is kept in a cache entry, whose key is made from the files' contents and the settings:

    features.f16    (frames of all clips, bands) float16, clip after clip; memory-mapped. Absent if not to be kept
    lengths.npy     (clips, 2) float64: seconds, and the rate in Hz; 0 for a clip that was not decoded
    frames.npy      (clips,) int64: frames; 0 for a clip that cannot be used
    marks.npy       (clips, 3) float64: whether its channels are in opposite phase, its share of clipped samples, and
                    its mean in standard deviations
    moments.npy     (clips, 2, bands) float32: mean and variance of each band
    faults.json     by a clip's index: kind and reason
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.parts import Parts
from dltrain.data.progress import map_with_progress
from dltrain.data.speech.log_mel import STORED, Extractor, WindowLengths, build_extractor
from dltrain.data.speech.manifests import Clip
from dltrain.data.speech.options import LogMel
from dltrain.data.speech.sound import (
    UnusableClip,
    check_audible,
    decode_sound,
    measure_clipping,
    measure_offset,
    resample,
)
from dltrain.data.speech.statistics import Features, compute_moments
from dltrain.errors import DataError

_FORMAT = 3  # of the cache's entries; increase it if what they hold, or how sound is read, changes
_PACKAGES = ("soundfile", "soxr", "av")  # read and resample sound
_FEATURES, _FACTS = "features.f16", 6  # seconds, rate, three marks, frames
_AHEAD = 64  # clips that each thread may be ahead of the one being written


@dataclass(frozen=True)
class Preparation:
    """How a sound file is prepared: its features at a sample rate, unless it is longer than `max_seconds`."""

    sample_rate_hz: int = 16000
    features: LogMel = field(default_factory=LogMel)
    max_seconds: float = 10.0

    def __post_init__(self) -> None:
        WindowLengths(self.features, self.sample_rate_hz)


class ClipFault(NamedTuple):
    """Why a clip is left out; see `dltrain.data.speech.sound.UnusableClip`."""

    kind: str
    reason: str


class ExaminedClip(NamedTuple):
    """One clip: `features` (T, bands) of type STORED, or None if there is a fault.

    `marks` are those of the module.
    """

    seconds: float
    sample_rate_hz: int
    fault: ClipFault | None
    features: NDArray[Any] | None
    marks: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Survey(NamedTuple):
    """All clips of a manifest, in its order; see the module for shapes. `starts` (clips,) are rows of `features`."""

    seconds: NDArray[Any]
    rates: NDArray[Any]
    frames: NDArray[Any]
    marks: NDArray[Any]
    moments: NDArray[Any]
    faults: Sequence[ClipFault | None]
    starts: NDArray[Any]
    features: NDArray[Any] | None = None
    entry: CacheEntry | None = None

    def select(self, indices: NDArray[Any]) -> Survey:
        return self._replace(
            seconds=self.seconds[indices],
            rates=self.rates[indices],
            frames=self.frames[indices],
            marks=self.marks[indices],
            moments=self.moments[indices],
            faults=[self.faults[index] for index in indices],
            starts=self.starts[indices],
        )

    def features_of(self, index: int) -> Features:
        """Return a clip's features as they were kept, (T, bands) float32, not normalised."""
        assert self.features is not None
        start = int(self.starts[index])
        return numpy.asarray(self.features[start : start + int(self.frames[index])]).astype(numpy.float32)


def examine_clip(clip: Clip, preparation: Preparation, extract: Extractor) -> ExaminedClip:
    """Decode one clip, check its sound and extract its features."""
    seconds, rate = 0.0, 0
    try:
        if clip.fault is not None:
            raise UnusableClip("bad line", clip.fault)
        sound = decode_sound(_read_content(clip.path), clip.seconds, preparation.max_seconds)
        seconds, rate = sound.seconds, sound.sample_rate_hz
        check_audible(sound)
        features = extract(resample(sound, preparation.sample_rate_hz)).astype(STORED)
    except UnusableClip as fault:
        return ExaminedClip(seconds, rate, ClipFault(fault.kind, fault.reason), None)
    marks = (float(sound.opposed), measure_clipping(sound.samples), measure_offset(sound.samples))
    return ExaminedClip(seconds, rate, None, features, marks=marks)


def _read_content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        backslash = "\\" in str(path) and Path(str(path).replace("\\", "/")).exists()
        raise UnusableClip("missing", "no such file" + "; write / in place of \\" * backslash) from None
    except OSError as error:
        raise UnusableClip("missing", f"cannot be read ({error.strerror or error})") from None


def survey_clips(
    clips: Sequence[Clip], preparation: Preparation, description: str, parts: Parts | None = None, *, keep: bool = False
) -> Survey:
    """Examine all clips on all cores, with a progress bar named `description`; with `keep`, write features to `parts`.

    With `parts`, those of an interrupted survey are continued.
    """
    extract = build_extractor(preparation.features, preparation.sample_rate_hz)
    count, bands, done = len(clips), preparation.features.bands, 0
    facts, statistics = numpy.zeros((count, _FACTS)), numpy.zeros((count, 2, bands), numpy.float32)
    faults: dict[str, ClipFault] = {}
    if parts is not None:
        done = parts.done
        facts[:done] = parts.read("facts", numpy.float64, _FACTS)
        statistics[:done] = parts.read("statistics", numpy.float32, 2 * bands).reshape(-1, 2, bands)
        faults = {index: ClipFault(*fault) for index, fault in (parts.state or {}).items()}
        parts.describe_with(lambda: faults)
    examined = map_with_progress(
        lambda clip: examine_clip(clip, preparation, extract), clips, description, _AHEAD, done=done
    )
    with closing(examined) as results:
        for index, one in enumerate(results, done):
            frames = 0 if one.features is None else len(one.features)
            facts[index] = one.seconds, one.sample_rate_hz, *one.marks, frames
            if one.fault is not None:
                faults[str(index)] = one.fault
            if one.features is not None:
                statistics[index] = compute_moments(one.features.astype(numpy.float32), preparation.features.speech_db)
            if parts is not None:
                parts.write("facts", facts[index].tobytes())
                parts.write("statistics", statistics[index].tobytes())
                if keep and one.features is not None:
                    parts.write(_FEATURES, one.features.tobytes())
                parts.complete_part()
    frames_of = facts[:, -1].astype(numpy.int64)
    return Survey(
        facts[:, 0].copy(),
        facts[:, 1].copy(),
        frames_of,
        facts[:, 2:-1].copy(),
        moments=statistics,
        faults=[faults.get(str(index)) for index in range(count)],
        starts=numpy.cumsum(frames_of) - frames_of,
    )


def load_survey(
    clips: Sequence[Clip],
    digests: Sequence[str],
    preparation: Preparation,
    *,
    description: str,
    cache: Cache,
    keep: bool,
) -> Survey:
    """Survey clips with the cache: the same contents are examined once. With their features if `keep`."""
    content = hashlib.sha256()
    for clip, digest in zip(clips, digests, strict=True):
        content.update(f"{digest} {clip.seconds} {clip.fault}\n".encode())
    key = {
        "format": _FORMAT,
        "clips": content.hexdigest(),
        "preparation": asdict(preparation),
        "features kept": keep,
        "versions": {
            name: _package_version(name) for name in ("soundfile", "soxr", "av", preparation.features.backend)
        },
    }

    def make(folder: Path) -> None:
        with Parts(folder, [_FEATURES] if keep else [], scratch=["facts", "statistics"]) as parts:
            survey = survey_clips(clips, preparation, description, parts, keep=keep)
            numpy.save(folder / "lengths.npy", numpy.stack((survey.seconds, survey.rates), 1))
            numpy.save(folder / "frames.npy", survey.frames)
            numpy.save(folder / "marks.npy", survey.marks)
            numpy.save(folder / "moments.npy", survey.moments)
            faults = {index: fault for index, fault in enumerate(survey.faults) if fault is not None}
            (folder / "faults.json").write_text(json.dumps(faults), encoding="utf-8")

    return _open_survey(cache.entry("speech", key, make, resumable=True), preparation.features.bands)


def _open_survey(entry: CacheEntry, bands: int) -> Survey:
    names = ("lengths", "frames", "marks", "moments")
    lengths, frames, marks, statistics = (numpy.load(entry.path / f"{name}.npy") for name in names)
    stored = json.loads((entry.path / "faults.json").read_text(encoding="utf-8"))
    path, features = entry.path / _FEATURES, None
    if path.exists():
        shape = (int(frames.sum()), bands)
        features = numpy.memmap(path, STORED, "r", shape=shape) if shape[0] else numpy.zeros(shape, STORED)
    faults = [ClipFault(*stored[str(index)]) if str(index) in stored else None for index in range(len(frames))]
    starts = numpy.cumsum(frames) - frames
    return Survey(
        lengths[:, 0],
        lengths[:, 1],
        frames,
        marks,
        moments=statistics,
        faults=faults,
        starts=starts,
        features=features,
        entry=entry,
    )


def _package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def extract_features(clips: Sequence[Clip], preparation: Preparation, extract: Extractor, index: int) -> Features:
    """Extract one clip's features, as the cache would hold them. Raises DataError if the clip has become unusable."""
    examined = examine_clip(clips[index], preparation, extract)
    if examined.features is None:
        reason = examined.fault.reason if examined.fault else ""
        message = f"{clips[index].path}: was fine when training began, but now: {reason}"
        raise DataError(message, advice="restore the file, then run the same command")
    return examined.features.astype(numpy.float32)
