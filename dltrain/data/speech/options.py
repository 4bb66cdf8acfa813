"""Options of speech: features and augmentation; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import MinLen

from dltrain.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval


@dataclass(frozen=True)
class LogMel:
    """Log-mel features: the logarithm of power in bands of the mel scale, window by window.

    Options:
        bands: triangular filters, evenly spaced on the mel scale and of equal area.
        window_ms: length of the Hann windows, in milliseconds.
        hop_ms: milliseconds from one window to the next.
        low_hz: lower end of the lowest band.
        high_hz: upper end of the highest band; half the sample rate if not given.
        scale: the mel scale: slaney (linear up to 1 kHz) or htk.
        speech_db: windows weaker than the clip's loudest by more than this are quiet: they do not count in the mean and
            variance for normalisation, so silence around the speech does not matter; and bands are limited to 3
            standard deviations below their mean, so digital silence equals any other quiet. If not given, all windows
            count, and bands are not limited.
        backend: the library that computes them; the two agree to 1e-4.
        device: where torchaudio computes them: cpu, or auto for a CUDA device if there is one; it needs float64.
    """

    bands: PositiveInt = 80
    window_ms: PositiveFloat = 25.0
    hop_ms: PositiveFloat = 10.0
    low_hz: NonNegativeFloat = 0.0
    high_hz: PositiveFloat | None = None
    scale: Literal["slaney", "htk"] = "slaney"
    speech_db: PositiveFloat | None = None
    backend: Literal["torchaudio", "librosa"] = "torchaudio"
    device: Literal["cpu", "auto"] = "cpu"

    def __post_init__(self) -> None:
        if self.device != "cpu" and self.backend == "librosa":
            raise ValueError(f"librosa computes on the cpu, not on device {self.device}; torchaudio can")


@dataclass(frozen=True)
class SpeechAugmentation:
    """Random changes to each training clip's log-mel features, drawn from (seed, epoch, clip).

    Options:
        time_masks: spans of time to mask (SpecAugment, Park et al. 2019, arXiv:1904.08779).
        time_mask_seconds: longest span.
        time_mask_share: longest span, as a share of the clip.
        frequency_masks: ranges of bands to mask.
        frequency_mask_bands: most bands in one range.
        speed: factors, all equally likely, to play a clip faster by, with higher frequencies (Ko et al. 2015), computed
            on the features. Instead of tempo. A clip too short for its text at the drawn factor keeps its speed.
        tempo: the same, with unchanged frequencies.
        warp: lowest and highest factor for frequencies, as with a shorter vocal tract (Jaitly and Hinton 2013); drawn
            uniformly on a logarithmic scale.
        quiet_seconds: longest quiet to add before a clip, and after it: each band at its lowest in the clip.
        gain_db: largest change of loudness, up or down; no effect if each utterance is normalised by itself.
        noise: probability of adding white noise.
        noise_snr_db: lowest and highest signal-to-noise ratio, in decibels.
    """

    time_masks: NonNegativeInt = 0
    time_mask_seconds: PositiveFloat = 0.4
    time_mask_share: UnitInterval = 0.2
    frequency_masks: NonNegativeInt = 0
    frequency_mask_bands: PositiveInt = 15
    speed: Annotated[list[PositiveFloat], MinLen(1)] | None = None
    tempo: Annotated[list[PositiveFloat], MinLen(1)] | None = None
    warp: tuple[PositiveFloat, PositiveFloat] | None = None
    quiet_seconds: NonNegativeFloat = 0.0
    gain_db: NonNegativeFloat = 0.0
    noise: UnitInterval = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
