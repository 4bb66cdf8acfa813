"""Batches of spoken clips: clips of like lengths together, the same number of batches in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import NO_TARGET
from dltrain.data.speech.augmentation import (
    at_tempo,
    chances_needed,
    drawn_tempo,
    drawn_warp,
    louder,
    mask,
    noisy,
    tempos,
    warped,
    with_quiet,
)
from dltrain.data.speech.log_mel import Bands, Features, moments, normalized
from dltrain.data.speech.manifests import Clip
from dltrain.data.speech.transcripts import frames_needed
from dltrain.options import SpeechAugmentation
from dltrain.runtime.seeds import generator, keyed_uniform, permutation

Indices = NDArray[numpy.int64]

BUCKETS, BATCHES_IN_BUCKET = 8, (2, 8)
"""Clips of like length are shuffled among themselves, 2 to 8 batches' worth of them: more mixes better and pads more.
Small sets are cut into about 8 such buckets."""


@dataclass(frozen=True, slots=True)
class Utterances:
    """Spoken clips: `features` (N, T, F) float32, zero after each clip's number of `frames` (N,) int64.

    `targets` (N, S) int64 are indices into the alphabet, NO_TARGET after each clip's `target_lengths` (N,) int64;
    `clips` (N,) int64 are the clips' places in their split. `count` is the number of target characters.
    """

    features: Tensor
    frames: Tensor
    targets: Tensor
    target_lengths: Tensor
    clips: Tensor
    count: int
    rate: ClassVar[float] = 1.0

    @property
    def arguments(self) -> tuple[Tensor, Tensor]:
        return (self.features, self.frames)


@dataclass
class Spoken:
    """The usable clips of a split, by their place in it.

    `targets` are indices into the alphabet. `features(place)` gives (T, bands) float32, not normalised. `statistics`
    (N, 2, bands) are the mean and the variance that each is normalised with; None for each clip's own.
    `speech_db` is the features' option.
    """

    clips: Sequence[Clip]
    frames: Indices
    targets: Sequence[Indices]
    features: Callable[[int], Features]
    statistics: NDArray[Any] | None
    speech_db: float | None = None

    def normalized(self, place: int, features: Features) -> Features:
        if self.statistics is None:
            mean, variance = moments(features, self.speech_db)
        else:
            mean, variance = self.statistics[place]
        return normalized(features, mean, variance, self.speech_db)

    def whole(self, places: Indices) -> tuple[list[Features], list[Indices]]:
        """The normalised features and the targets of some clips."""
        return [self.normalized(one, self.features(one)) for one in places], [self.targets[one] for one in places]

    def __len__(self) -> int:
        return len(self.clips)


class Limit(NamedTuple):
    """How large a batch may be: so many clips, or so many frames, padding included."""

    clips: int | None
    frames: int | None = None

    def size(self, longest: int) -> int:
        """Clips in a batch whose longest has so many frames."""
        if self.frames is None:
            return self.clips or 1
        return max(1, self.frames // longest)


class Bucket(NamedTuple):
    """Clips of like length, longest first, and how many of them make a batch."""

    places: Indices
    size: int


def buckets(frames: Indices, limit: Limit, batches: int) -> list[Bucket]:
    """All clips, each in one bucket of at most so many batches; any `size` of a bucket's clips keep the limit."""
    order = numpy.argsort(-frames, kind="stable")
    found, start = [], 0
    while start < len(order):
        size = limit.size(int(frames[order[start]]))
        found.append(Bucket(order[start : start + size * batches], size))
        start += size * batches
    return found


def padding_share(frames: Indices, batches: Sequence[Indices]) -> float:
    """The share of padding among the frames of these batches."""
    padded = sum(len(batch) * int(frames[batch].max()) for batch in batches)
    return 1 - int(sum(frames[batch].sum() for batch in batches)) / max(1, padded)


@dataclass
class TrainingBatches:
    """Shuffled and augmented batches: a function of (seed, epoch, index).

    The first epoch begins with the batch that takes most memory, as slow as may be and with the longest quiet around:
    memory runs out there, or never.
    """

    spoken: Spoken
    limit: Limit
    seed: int
    augmentation: SpeechAugmentation
    subsampling: int
    hop_seconds: float
    bands: Bands
    _plan: tuple[int, list[Indices]] = field(default=(-1, []), init=False)

    def __post_init__(self) -> None:
        least, most = BATCHES_IN_BUCKET
        batches = len(buckets(self.spoken.frames, self.limit, 1))
        self._buckets = buckets(self.spoken.frames, self.limit, min(most, max(least, batches // BUCKETS)))
        self._augments = self.augmentation != SpeechAugmentation()

    def __len__(self) -> int:
        return sum(-(-len(bucket.places) // bucket.size) for bucket in self._buckets)

    def places(self, epoch: int) -> list[Indices]:
        """Which clips stand in each of the epoch's batches."""
        known, plan = self._plan  # read once: another thread may replace it
        if known != epoch:
            plan = list(self._planned(epoch))
            order = permutation(self.seed, epoch, len(plan)).tolist()
            plan = [plan[index] for index in order]
            if epoch == 0:
                sizes = [len(places) * int(self.spoken.frames[places].max()) for places in plan]
                plan.insert(0, plan.pop(int(numpy.argmax(sizes))))
            self._plan = (epoch, plan)
        return plan

    def _planned(self, epoch: int) -> Iterator[Indices]:
        for number, bucket in enumerate(self._buckets):
            draw = generator("bucket", self.seed, epoch, number)
            shuffled = bucket.places[torch.randperm(len(bucket.places), generator=draw).numpy()]
            for start in range(0, len(shuffled), bucket.size):
                yield shuffled[start : start + bucket.size]

    def padding_share(self, epoch: int) -> float:
        """The share of padding among the epoch's frames, before any change of tempo."""
        return padding_share(self.spoken.frames, self.places(epoch))

    def batch(self, epoch: int, index: int) -> Utterances:
        places = self.places(epoch)[index]
        if not self._augments:
            return padded(places, *self.spoken.whole(places))
        longest = epoch == index == 0
        chances = keyed_uniform(self.seed, epoch, torch.from_numpy(places), chances_needed(self.augmentation)).numpy()
        features = [self._augmented(epoch, place, row, longest) for place, row in zip(places, chances, strict=True)]
        return padded(places, features, [self.spoken.targets[place] for place in places])

    def _augmented(self, epoch: int, place: int, chances: NDArray[Any], longest: bool) -> Features:
        settings = self.augmentation
        tempo = min(tempos(settings)) if longest else drawn_tempo(settings, float(chances[0]))
        original = self.spoken.features(place)
        features = at_tempo(original, tempo)
        if tempo > 1 and frames_needed(self.spoken.targets[place].tolist()) > -(-len(features) // self.subsampling):
            features, tempo = original, 1.0
        features = with_quiet(features, settings, (1, 1) if longest else chances[2:4].tolist(), self.hop_seconds)
        if settings.gain_db:
            features = louder(features, settings, float(chances[4]))
        if chances[5] < settings.noise:
            draw = generator("noise", self.seed, epoch, int(place))
            features = noisy(features, settings, float(chances[6]), draw)
        features = self.spoken.normalized(place, features)  # before the warp, which moves a voice's mean along with it
        faster = 1.0 if settings.speed is None else tempo
        features = warped(features, self.bands, faster * drawn_warp(settings, float(chances[1])))
        mask(features, settings, chances[7:], self.hop_seconds)
        return features


@dataclass
class EvaluationBatches:
    """Batches of like lengths, longest first, the same in every epoch."""

    spoken: Spoken
    limit: Limit

    def __post_init__(self) -> None:
        self.places = [bucket.places for bucket in buckets(self.spoken.frames, self.limit, 1)]

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, epoch: int, index: int) -> Utterances:
        return padded(self.places[index], *self.spoken.whole(self.places[index]))


def padded(places: Indices, features: Sequence[Features], targets: Sequence[Indices]) -> Utterances:
    """Clips side by side, zeros after each one's features and NO_TARGET after its targets."""
    frames = numpy.array([len(one) for one in features])
    lengths = numpy.array([len(one) for one in targets])
    sound = numpy.zeros((len(places), frames.max(), features[0].shape[1]), numpy.float32)  # (N, T, F)
    text = numpy.full((len(places), lengths.max()), NO_TARGET)  # (N, S)
    for row, (heard, said) in enumerate(zip(features, targets, strict=True)):
        sound[row, : len(heard)] = heard
        text[row, : len(said)] = said
    return Utterances(
        torch.from_numpy(sound),
        torch.from_numpy(frames),
        torch.from_numpy(text),
        torch.from_numpy(lengths),
        torch.from_numpy(places),
        int(lengths.sum()),
    )
