"""Options of speech: features and augmentation; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import MinLen

from dltrain.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval


@dataclass(frozen=True)
class LogMel:
    """The logarithm of sound's power in bands of the mel scale, window by window.

    Options:
        bands: triangular filters, evenly spaced on the mel scale and of equal area.
        window_ms: length of the Hann windows, in milliseconds.
        hop_ms: milliseconds from one window to the next.
        low_hz: where the lowest band begins.
        high_hz: where the highest band ends; half the sample rate when not given.
        scale: the mel scale: slaney (linear up to 1 kHz) or htk.
        speech_db: windows weaker than the loudest of the clip by more than this are quiet, and do not count in the mean
            and variance that features are normalised with, so that it does not matter how closely a recording was cut;
            and no band is lower than 3 deviations below its mean, so that digital silence is like any quiet. When not
            given, all windows count, and nothing is raised.
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
        time_masks: stretches of time that are blanked (SpecAugment, Park et al. 2019, arXiv:1904.08779).
        time_mask_seconds: the longest that one of them may be.
        time_mask_share: the longest that one of them may be, as a share of the clip.
        frequency_masks: ranges of bands that are blanked.
        frequency_mask_bands: the most bands that one of them may cover.
        speed: factors, one of which, all equally likely, a clip is played faster by, with higher frequencies (Ko et al.
            2015); what time and what pitch it has is changed in the features. Instead of tempo. A clip too short for
            its text at the drawn factor keeps its own.
        tempo: the same, with frequencies as they are.
        warp: lowest and highest factor that frequencies are multiplied by, as in a shorter vocal tract (Jaitly and
            Hinton 2013); drawn evenly on a logarithmic scale.
        quiet_seconds: the longest quiet that is put before a clip, and after it: each band at its lowest in the clip.
        gain_db: louder or softer by up to this; changes nothing where each utterance is normalised by itself.
        noise: probability that white noise is added.
        noise_snr_db: lowest and highest ratio of the clip's mean power to the noise's, in decibels.
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
