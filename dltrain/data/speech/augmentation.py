"""Random changes to one clip's features, by random numbers drawn for the clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from dltrain.data.speech.log_mel import FrequencyBands
from dltrain.data.speech.options import SpeechAugmentation
from dltrain.data.speech.statistics import Features
from dltrain.errors import UsageError

_NOISE_SHAPE = 3.0
"""Shape of the gamma distribution of noise power in one band of one window, for a filter that spans a few bins."""

_KNEE = 0.8
"""Share of the highest frequency up to which a warp keeps ratios; the rest is stretched or compressed to fit."""


def check_speech_augmentation(augmentation: SpeechAugmentation) -> None:
    """Raise UsageError for settings that do not go together."""
    if augmentation.speed is not None and augmentation.tempo is not None:
        raise UsageError(
            "data.augment: speed and tempo were both given; allowed is one of them",
            advice="keep speed, which changes the pitch too, or tempo, which does not",
        )
    for name, limits in (("noise_snr_db", augmentation.noise_snr_db), ("warp", augmentation.warp)):
        if limits is not None and limits[0] > limits[1]:
            raise UsageError(f"data.augment.{name}: {list(limits)}; allowed are two numbers, the lower first.")


def count_chances(augmentation: SpeechAugmentation) -> int:
    """Count the uniform random numbers for a clip: speed or tempo, warp, quiet before and after, gain, whether to add
    noise, its level, then two for each mask."""
    return 7 + 2 * (augmentation.time_masks + augmentation.frequency_masks)


def list_tempos(augmentation: SpeechAugmentation) -> Sequence[float]:
    return augmentation.speed or augmentation.tempo or [1.0]


def draw_tempo(augmentation: SpeechAugmentation, chance: float) -> float:
    factors = list_tempos(augmentation)
    return factors[int(chance * len(factors))]


def change_tempo(features: Features, factor: float) -> Features:
    """Change features (T, F) to (round(T / factor), F), by linear interpolation at evenly spaced times."""
    if factor == 1.0:
        return features
    frames = len(features)
    length = max(1, round(frames / factor))
    return _interpolate_rows(features, ((numpy.arange(length) + 0.5) * (frames / length) - 0.5).clip(0, frames - 1))


def draw_warp(augmentation: SpeechAugmentation, chance: float) -> float:
    """Draw the factor by which a clip's frequencies are multiplied, uniformly on a logarithmic scale."""
    low, high = augmentation.warp or (1.0, 1.0)
    return float(low * (high / low) ** chance)


def warp_frequencies(features: Features, bands: FrequencyBands, factor: float) -> Features:
    """Warp features (T, F) like a shorter vocal tract: f Hz moves to factor * f.

    This holds up to a knee; from there a straight line leads to the highest frequency, which does not move (Jaitly and
    Hinton 2013, "Vocal Tract Length Perturbation improves speech recognition"). The warped spectrum is interpolated
    linearly at the bands' centres.
    """
    if factor == 1.0:
        return features
    knee_hz = _KNEE * bands.top_hz * min(1.0, 1 / factor)
    source_hz = numpy.interp(bands.centres_hz, [0, knee_hz * factor, bands.top_hz], [0, knee_hz, bands.top_hz])
    positions = numpy.interp(source_hz, bands.centres_hz, numpy.arange(len(bands.centres_hz)))
    changed: Features = _interpolate_rows(features.T, positions).T
    return changed


def add_quiet(
    features: Features, augmentation: SpeechAugmentation, chances: Sequence[float], hop_seconds: float
) -> Features:
    """Add quiet before and after, each band at its lowest, for times drawn uniformly up to quiet_seconds."""
    most = round(augmentation.quiet_seconds / hop_seconds)
    before, after = (min(most, int(chance * (most + 1))) for chance in chances)
    lowest = features.min(0, keepdims=True)
    return numpy.concatenate([lowest.repeat(before, 0), features, lowest.repeat(after, 0)])


def _interpolate_rows(features: Features, positions: NDArray[Any]) -> Features:
    """Interpolate rows linearly at fractional positions."""
    before = positions.astype(numpy.int64)
    after = numpy.minimum(before + 1, len(features) - 1)
    share = (positions - before).astype(numpy.float32)[:, None]
    return features[before] * (1 - share) + features[after] * share


def change_gain(features: Features, augmentation: SpeechAugmentation, chance: float) -> Features:
    """Raise log powers by a gain drawn uniformly from [-gain_db, gain_db]."""
    gain_db = (2 * chance - 1) * augmentation.gain_db
    changed: Features = features + numpy.float32(gain_db * math.log(10) / 10)
    return changed


def add_noise(features: Features, augmentation: SpeechAugmentation, chance: float, draw: torch.Generator) -> Features:
    """Add white noise to log powers, at a signal-to-noise ratio drawn uniformly from noise_snr_db.

    The powers of sound and noise are added: no phases, no interference. The noise is equal in all bands, as their
    filters have equal area, and gamma distributed (by the approximation of Wilson and Hilferty 1931).
    """
    low, high = augmentation.noise_snr_db
    power = numpy.exp(features)
    level = float(power.mean()) / 10 ** ((low + (high - low) * chance) / 10)
    normal = torch.randn(features.shape, generator=draw).numpy()
    ninth = 1 / (9 * _NOISE_SHAPE)
    noise = numpy.maximum(1 - ninth + math.sqrt(ninth) * normal, 0) ** 3
    changed: Features = numpy.log(power + numpy.float32(level) * noise)
    return changed


def mask_features(
    features: Features, augmentation: SpeechAugmentation, chances: NDArray[Any], hop_seconds: float
) -> None:
    """Mask spans of time and ranges of bands of normalised features (T, F), in place, with 0: their mean.

    `chances` are two for each mask: its width, uniformly up to the limit, and its position. (Park et al. 2019.)
    """
    frames, bands = features.shape
    most = int(min(augmentation.time_mask_seconds / hop_seconds, augmentation.time_mask_share * frames))
    pairs = chances.reshape(-1, 2).tolist()
    for width, position in pairs[: augmentation.time_masks]:
        start, end = _place_mask(width, position, most, frames)
        features[start:end] = 0
    for width, position in pairs[augmentation.time_masks :]:
        start, end = _place_mask(width, position, min(augmentation.frequency_mask_bands, bands), bands)
        features[:, start:end] = 0


def _place_mask(width_chance: float, position_chance: float, most: int, size: int) -> tuple[int, int]:
    width = int(width_chance * (most + 1))
    start = int(position_chance * (size - width + 1))
    return start, start + width
