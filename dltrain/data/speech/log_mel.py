"""Log-mel spectrograms, the input of acoustic models, computed by torchaudio or by librosa.

Window by window (Hann, the signal padded with zeros by half a window, so that frame t is centred at t hops) the power
spectrum in double precision, summed over triangular mel filters of equal area, its natural logarithm with a floor of
1e-10 (-100 dB). In single precision, the weak bands of a loud frame, such as those above an MP3 encoder's cut-off,
would be rounding errors of the transform, which differ between libraries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.data.speech.channels import Samples
from dltrain.data.speech.options import LogMel
from dltrain.data.speech.sound import Sound, import_audio_package, resample
from dltrain.data.speech.statistics import Features, adapt_moments, compute_moments, normalize_features
from dltrain.errors import UsageError

Extractor = Callable[[Samples], Features]
"""Samples (n,) to log-mel features (1 + n // hop, bands) float32."""

POWER_FLOOR = 1e-10

_BREAK_HZ, _LINEAR_STEP_HZ, _LOG_STEP = 1000.0, 200 / 3, math.log(6.4) / 27
"""Slaney's mel scale: one mel in Hz up to the break frequency, and in the logarithm of frequency above it."""

STORED = numpy.float16
"""Features are converted to this type, cached or not, so that the cache changes nothing. It rounds them by at most 2^-7
nats, 0.03 dB, while a clip's standard deviation is about 4 nats; twice the size would improve nothing."""


class WindowLengths:
    """The lengths, in samples, of the options at a sample rate. Raises UsageError for options that do not fit it."""

    def __init__(self, options: LogMel, sample_rate_hz: int) -> None:
        self.length = round(sample_rate_hz * options.window_ms / 1000)
        self.hop = round(sample_rate_hz * options.hop_ms / 1000)
        self.transform = 1 << max(0, self.length - 1).bit_length()
        self.low_hz, self.high_hz = options.low_hz, options.high_hz or sample_rate_hz / 2
        if min(self.length, self.hop) < 1:
            raise UsageError(
                f"data.features: a window of {options.window_ms:g} ms every {options.hop_ms:g} ms is less than one "
                f"sample at {sample_rate_hz} Hz; allowed are longer ones, such as 25 and 10."
            )
        if not self.low_hz < self.high_hz <= sample_rate_hz / 2:
            raise UsageError(
                f"data.features: bands from {self.low_hz:g} to {self.high_hz:g} Hz; allowed is an increasing range up "
                f"to half the sample rate, {sample_rate_hz / 2:g} Hz."
            )


class FrequencyBands(NamedTuple):
    """Positions of the bands: the centre frequency of each filter, (bands,), and the end of the last one."""

    centres_hz: NDArray[Any]
    top_hz: float


def compute_bands(options: LogMel, sample_rate_hz: int) -> FrequencyBands:
    windows = WindowLengths(options, sample_rate_hz)
    low, high = _to_mels(numpy.array([windows.low_hz, windows.high_hz]), options.scale)
    return FrequencyBands(_to_hertz(numpy.linspace(low, high, options.bands + 2)[1:-1], options.scale), windows.high_hz)


def _to_mels(hertz: NDArray[Any], scale: str) -> NDArray[Any]:
    if scale == "htk":
        return 2595 * numpy.log10(1 + hertz / 700)
    above = numpy.log(hertz.clip(_BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return hertz.clip(None, _BREAK_HZ) / _LINEAR_STEP_HZ + above


def _to_hertz(mels: NDArray[Any], scale: str) -> NDArray[Any]:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    straight = mels.clip(None, _BREAK_HZ / _LINEAR_STEP_HZ)
    return straight * _LINEAR_STEP_HZ * numpy.exp((mels - straight) * _LOG_STEP)  # type: ignore[no-any-return]


def build_extractor(options: LogMel, sample_rate_hz: int) -> Extractor:
    """Build the function from samples to features; it is thread-safe. Raises UsageError."""
    windows = WindowLengths(options, sample_rate_hz)
    make = _build_torchaudio if options.backend == "torchaudio" else _build_librosa
    return make(options, windows, sample_rate_hz)


def _build_torchaudio(options: LogMel, windows: WindowLengths, sample_rate_hz: int) -> Extractor:
    from dltrain.runtime.cuda_wheels import import_torchaudio

    torchaudio = import_torchaudio()
    bins = windows.transform // 2 + 1
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the only way to get filters more accurate than 1e-7
    try:
        filters = torchaudio.functional.melscale_fbanks(
            bins, windows.low_hz, windows.high_hz, options.bands, sample_rate_hz, "slaney", options.scale
        )
    finally:
        torch.set_default_dtype(usual)
    _check_filters(filters.sum(0).numpy(), options)
    spectrogram = torchaudio.transforms.Spectrogram(
        windows.transform, windows.length, windows.hop, power=2.0, pad_mode="constant"
    )
    device = "cuda" if options.device == "auto" and torch.cuda.is_available() else "cpu"
    spectrogram.window = torch.hann_window(windows.length, dtype=torch.float64, device=device)
    filters = filters.to(device)

    def extract(samples: Samples) -> Features:
        power = spectrogram(torch.from_numpy(samples).to(device, torch.float64))  # (bins, T)
        features: Features = (power.T @ filters).clamp_(min=POWER_FLOOR).log_().float().cpu().numpy()
        return features

    return extract


def _build_librosa(options: LogMel, windows: WindowLengths, sample_rate_hz: int) -> Extractor:
    # Imported late: its first use in an environment compiles for a quarter of a minute.
    librosa = import_audio_package("librosa", "data.features.backend: librosa")
    filters = librosa.filters.mel(
        sr=sample_rate_hz,
        n_fft=windows.transform,
        n_mels=options.bands,
        fmin=windows.low_hz,
        fmax=windows.high_hz,
        htk=options.scale == "htk",
        dtype=numpy.float64,
    ).T
    _check_filters(filters.sum(0), options)

    def extract(samples: Samples) -> Features:
        spectrum = librosa.stft(
            samples.astype(numpy.float64),
            n_fft=windows.transform,
            win_length=windows.length,
            hop_length=windows.hop,
            pad_mode="constant",
        )  # (bins, T)
        power = spectrum.real**2 + spectrum.imag**2
        features: Features = numpy.log(numpy.maximum(power.T @ filters, POWER_FLOOR)).astype(numpy.float32)
        return features

    return extract


def _check_filters(sums: NDArray[Any], options: LogMel) -> None:
    empty = int((sums == 0).sum())
    if empty:
        raise UsageError(
            f"data.features.bands: {options.bands} bands are so narrow that {empty} of them fall between two "
            "frequencies of the transform; allowed are fewer bands or a longer window_ms."
        )


def model_input(sound: Sound, assets: Mapping[str, Any], extract: Extractor | None = None) -> Tensor:
    """Prepare one sound for the model with these assets, (T, bands) float32.

    `extract` is `rebuild_extractor(assets)`, to build it once for many sounds. A single sound is its own speaker, with
    statistics from `adapt_moments`.
    """
    extract = extract or rebuild_extractor(assets)
    features = extract(resample(sound, int(assets["sample_rate_hz"]))).astype(STORED).astype(numpy.float32)
    normalization, speech_db = assets["normalization"], assets["features"].get("speech_db")
    if normalization["over"] == "utterance":
        mean, variance = compute_moments(features, speech_db)
    else:
        mean, variance = (numpy.array(normalization[name], numpy.float32) for name in ("mean", "variance"))
        if normalization["over"] == "speaker":
            seconds = len(features) * assets["features"]["hop_ms"] / 1000
            mean, variance = adapt_moments(seconds, compute_moments(features, speech_db), (mean, variance))
    return torch.from_numpy(normalize_features(features, mean, variance, speech_db))


def rebuild_extractor(assets: Mapping[str, Any]) -> Extractor:
    """Build the extractor that a checkpoint's assets describe."""
    return build_extractor(LogMel(**assets["features"]), int(assets["sample_rate_hz"]))
