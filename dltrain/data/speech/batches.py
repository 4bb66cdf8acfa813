"""Batches of spoken clips: clips of similar length together, the same number of batches in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dltrain.batch import NO_TARGET, divide_tensors
from dltrain.data.speech import augmentation as changes
from dltrain.data.speech.log_mel import FrequencyBands
from dltrain.data.speech.manifests import Clip
from dltrain.data.speech.options import SpeechAugmentation
from dltrain.data.speech.statistics import Features, compute_moments, normalize_features
from dltrain.data.speech.transcripts import count_needed_frames
from dltrain.data.synthetic import EXAMPLES, STEPS, random_lengths
from dltrain.runtime.seeds import draw_permutation, draw_uniform, make_generator

Indices = NDArray[numpy.int64]

BUCKETS, BATCHES_IN_BUCKET = 8, (2, 8)
"""Clips of similar length are shuffled among themselves, 2 to 8 batches' worth: more mixes better and pads more.
Small sets are divided into about 8 such buckets."""


@dataclass(frozen=True, slots=True)
class Utterances:
    """A batch of clips: `features` (N, T, F) float32, zero after each clip's number of `frames` (N,) int64.

    `targets` (N, S) int64 are indices into the alphabet, NO_TARGET after each clip's `target_lengths` (N,) int64;
    `clips` (N,) int64 are the clips' indices in their split. `count` is the number of target characters.
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

    def divide(self, parts: int) -> list[Utterances]:
        return [replace(part, count=int(part.target_lengths.sum())) for part in divide_tensors(self, parts)]


@dataclass
class PreparedClips:
    """The usable clips of a split, by their index in it.

    `targets` are indices into the alphabet. `features(index)` returns (T, bands) float32, not normalised. `statistics`
    (N, 2, bands) are the mean and the variance that each is normalised with; None for each clip's own.
    `speech_db` is the features' option.
    """

    clips: Sequence[Clip]
    frames: Indices
    targets: Sequence[Indices]
    features: Callable[[int], Features]
    statistics: NDArray[Any] | None
    speech_db: float | None = None

    def normalize(self, index: int, features: Features) -> Features:
        shared = self.statistics
        mean, variance = compute_moments(features, self.speech_db) if shared is None else shared[index]
        return normalize_features(features, mean, variance, self.speech_db)

    def make_batch(self, indices: Indices) -> Utterances:
        features = [self.normalize(index, self.features(index)) for index in indices]
        return pad_clips(indices, features, [self.targets[index] for index in indices])

    def __len__(self) -> int:
        return len(self.clips)


class BatchLimit(NamedTuple):
    """The size of a batch: a number of clips, or a maximum of frames, padding included."""

    clips: int | None
    frames: int | None = None

    def size(self, longest: int) -> int:
        """The number of clips in a batch whose longest has `longest` frames."""
        return self.clips or 1 if self.frames is None else max(1, self.frames // longest)


class Bucket(NamedTuple):
    """Clips of similar length, longest first, and how many of them make a batch."""

    indices: Indices
    size: int


def make_buckets(frames: Indices, limit: BatchLimit, batches: int) -> list[Bucket]:
    """Divide all clips into buckets of at most `batches` batches; any `size` of a bucket's clips keep the limit."""
    order = numpy.argsort(-frames, kind="stable")
    buckets, start = [], 0
    while start < len(order):
        size = limit.size(int(frames[order[start]]))
        buckets.append(Bucket(order[start : start + size * batches], size))
        start += size * batches
    return buckets


@dataclass
class SpeechTrainingBatches:
    """Shuffled and augmented batches: a function of (seed, epoch, index).

    The first epoch starts with the batch that needs most memory, at the slowest tempo and with the longest quiet: if
    memory does not suffice, training fails there and not later.
    """

    spoken: PreparedClips
    limit: BatchLimit
    _: KW_ONLY
    seed: int
    augmentation: SpeechAugmentation
    subsampling: int
    hop_seconds: float
    bands: FrequencyBands
    _plan: tuple[int, list[Indices]] = field(default=(-1, []), init=False)

    def __post_init__(self) -> None:
        least, most = BATCHES_IN_BUCKET
        batches = len(make_buckets(self.spoken.frames, self.limit, 1))
        self._buckets = make_buckets(self.spoken.frames, self.limit, min(most, max(least, batches // BUCKETS)))
        self._augments = self.augmentation != SpeechAugmentation()

    def __len__(self) -> int:
        return sum(-(-len(bucket.indices) // bucket.size) for bucket in self._buckets)

    def plan_epoch(self, epoch: int) -> list[Indices]:
        """Return the clips of each of the epoch's batches."""
        known, plan = self._plan  # read once: another thread may replace it
        if known != epoch:
            plan = list(self._shuffle_buckets(epoch))
            order = draw_permutation(self.seed, epoch, len(plan)).tolist()
            plan = [plan[index] for index in order]
            if epoch == 0:
                sizes = [len(indices) * int(self.spoken.frames[indices].max()) for indices in plan]
                plan.insert(0, plan.pop(int(numpy.argmax(sizes))))
            self._plan = (epoch, plan)
        return plan

    def _shuffle_buckets(self, epoch: int) -> Iterator[Indices]:
        for number, bucket in enumerate(self._buckets):
            draw = make_generator("bucket", self.seed, epoch, number)
            shuffled = bucket.indices[torch.randperm(len(bucket.indices), generator=draw).numpy()]
            for start in range(0, len(shuffled), bucket.size):
                yield shuffled[start : start + bucket.size]

    def padding_share(self, epoch: int) -> float:
        """The share of padding among the epoch's frames, before any change of tempo."""
        frames, plan = self.spoken.frames, self.plan_epoch(epoch)
        total = sum(len(indices) * int(frames[indices].max()) for indices in plan)
        return 1 - int(sum(frames[indices].sum() for indices in plan)) / max(1, total)

    def batch(self, epoch: int, index: int) -> Utterances:
        indices = self.plan_epoch(epoch)[index]
        if not self._augments:
            return self.spoken.make_batch(indices)
        longest = epoch == index == 0
        chances = draw_uniform(
            self.seed, epoch, torch.from_numpy(indices), changes.count_chances(self.augmentation)
        ).numpy()
        features = [self._augment(epoch, clip, row, longest) for clip, row in zip(indices, chances, strict=True)]
        return pad_clips(indices, features, [self.spoken.targets[clip] for clip in indices])

    def _augment(self, epoch: int, clip: int, chances: NDArray[Any], longest: bool) -> Features:
        settings = self.augmentation
        tempo = min(changes.list_tempos(settings)) if longest else changes.draw_tempo(settings, float(chances[0]))
        original = self.spoken.features(clip)
        features = changes.change_tempo(original, tempo)
        needed = count_needed_frames(self.spoken.targets[clip].tolist())
        if tempo > 1 and needed > -(-len(features) // self.subsampling):
            features, tempo = original, 1.0
        features = changes.add_quiet(features, settings, (1, 1) if longest else chances[2:4].tolist(), self.hop_seconds)
        if settings.gain_db:
            features = changes.change_gain(features, settings, float(chances[4]))
        if chances[5] < settings.noise:
            draw = make_generator("noise", self.seed, epoch, int(clip))
            features = changes.add_noise(features, settings, float(chances[6]), draw)
        features = self.spoken.normalize(clip, features)  # before the warp, which moves a speaker's mean along
        faster = 1.0 if settings.speed is None else tempo
        features = changes.warp_frequencies(
            features, self.bands, faster * changes.draw_warp(settings, float(chances[1]))
        )
        changes.mask_features(features, settings, chances[7:], self.hop_seconds)
        return features


@dataclass
class SpeechEvaluationBatches:
    """Batches of similar lengths, longest first, the same in every epoch."""

    spoken: PreparedClips
    limit: BatchLimit

    def __post_init__(self) -> None:
        self.indices = [bucket.indices for bucket in make_buckets(self.spoken.frames, self.limit, 1)]

    def select(self, examples: Indices) -> SpeechEvaluationBatches:
        """Those of some clips, which keep their numbers."""
        chosen = copy(self)
        kept = [indices[numpy.isin(indices, examples)] for indices in self.indices]
        chosen.indices = [indices for indices in kept if len(indices)]
        return chosen

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, epoch: int, index: int) -> Utterances:
        return self.spoken.make_batch(self.indices[index])


def pad_clips(indices: Indices, features: Sequence[Features], targets: Sequence[Indices]) -> Utterances:
    """Put clips into a batch: zeros after each one's features and NO_TARGET after its targets."""
    frames = numpy.array([len(one) for one in features])
    lengths = numpy.array([len(one) for one in targets])
    sound = numpy.zeros((len(indices), frames.max(), features[0].shape[1]), numpy.float32)  # (N, T, F)
    text = numpy.full((len(indices), lengths.max()), NO_TARGET)  # (N, S)
    for row, (one, target) in enumerate(zip(features, targets, strict=True)):
        sound[row, : len(one)] = one
        text[row, : len(target)] = target
    padded, steps, letters, ends = (torch.from_numpy(array) for array in (sound, frames, text, lengths))
    return Utterances(padded, steps, letters, ends, clips=torch.from_numpy(indices), count=int(lengths.sum()))


def make_synthetic_utterances(sizes: Mapping[str, int], draw: Generator) -> Utterances:
    frames = random_lengths(draw)
    inside = torch.arange(STEPS) < frames[:, None]
    features = torch.randn(EXAMPLES, STEPS, sizes["bands"], generator=draw) * inside[:, :, None]
    unknown = torch.zeros(EXAMPLES, dtype=torch.int64)
    return Utterances(features, frames, unknown[:, None], unknown, clips=torch.arange(EXAMPLES), count=EXAMPLES)
