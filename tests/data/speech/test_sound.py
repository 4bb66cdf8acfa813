"""Sound files of every form, damaged ones among them, and the features that are made of them."""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dltrain.data.speech.log_mel import WindowLengths, build_extractor, model_input, rebuild_extractor
from dltrain.data.speech.options import LogMel
from dltrain.data.speech.recordings import read_recording
from dltrain.data.speech.sound import Sound, UnusableClip, check_audible, decode_sound, resample
from dltrain.data.speech.statistics import compute_moments, normalize_features
from dltrain.errors import DataError, UsageError

soundfile = pytest.importorskip("soundfile")


def tone(seconds: float, rate: int = 16000, hz: float = 440.0, level: float = 0.5) -> numpy.ndarray:
    return (level * numpy.sin(2 * numpy.pi * hz * numpy.arange(round(seconds * rate)) / rate)).astype(numpy.float32)


def speechlike(seconds: float, rate: int = 16000, seed: int = 0) -> numpy.ndarray:
    """Noise under a low-pass filter, louder and softer, with pauses of exact silence."""
    draw = numpy.random.default_rng(seed)
    times = numpy.arange(round(seconds * rate)) / rate
    noise = numpy.convolve(draw.standard_normal(len(times)), numpy.hanning(9) / 4, "same")
    return (0.2 * noise * numpy.sin(2 * numpy.pi * 3 * times).clip(0)).astype(numpy.float32)


def encoded(samples: numpy.ndarray, rate: int = 16000, form: str = "WAV", **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, **options)
    return file.getvalue()


def fault(content: bytes, *arguments: Any) -> UnusableClip:
    with pytest.raises(UnusableClip) as caught:
        check_audible(decode_sound(content, *arguments))
    return caught.value


@pytest.mark.parametrize(("form", "tolerance"), [("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.1), ("MP3", 0.1)])
def test_all_forms_are_read(form: str, tolerance: float) -> None:
    samples = tone(1.0)
    sound = decode_sound(encoded(samples, form=form))
    assert (sound.sample_rate_hz, sound.channels, sound.seconds) == (16000, 1, 1.0)
    assert sound.samples.dtype == numpy.float32
    assert numpy.abs(sound.samples - samples)[1000:-1000].max() < tolerance


def test_stereo_becomes_the_mean_of_both_channels() -> None:
    left, right = tone(0.5, 44100), tone(0.5, 44100, 1000.0)
    sound = decode_sound(encoded(numpy.stack((left, right), 1), 44100, subtype="FLOAT"))
    assert (sound.sample_rate_hz, sound.channels) == (44100, 2)
    numpy.testing.assert_allclose(sound.samples, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_gives_the_same_sine_at_another_rate(rate: int) -> None:
    changed = resample(Sound(tone(1.0, rate), rate, 1), 16000)
    assert len(changed) == 16000
    middle = slice(1000, -1000)
    assert numpy.abs(changed[middle] - tone(1.0)[middle]).max() < 1e-3  # the sine itself, in closed form
    from scipy import signal

    assert numpy.abs(changed[middle] - signal.resample(tone(1.0, rate), 16000)[middle]).max() < 2e-3


def test_what_lies_above_the_new_rates_half_is_gone() -> None:
    assert numpy.abs(resample(Sound(tone(1.0, 44100, 12000.0), 44100, 1), 16000)[1000:-1000]).max() < 1e-3


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", r"the file is empty \(0 bytes\)"), (b"These are words, not sound.\n" * 50, "not sound that can be read")],
)
def test_what_is_no_sound_says_so(content: bytes, reason: str) -> None:
    with pytest.raises(UnusableClip, match=reason) as caught:
        decode_sound(content)
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3"])
def test_a_clip_cut_in_half_is_damaged_by_its_own_header(form: str) -> None:
    content = encoded(speechlike(2.0), form=form)
    found = fault(content[: len(content) // 2])
    assert found.kind == ("unreadable" if form == "FLAC" else "damaged")
    if form == "WAV":
        assert found.reason == "damaged or cut short: it decodes to 1.00 s, its header promises 2.00 s"
    if form == "MP3":
        assert "damaged or cut short: it decodes to" in found.reason
        assert "its header promises 2.00 s" in found.reason


def test_a_clip_shorter_than_stated_is_damaged() -> None:
    content = encoded(tone(1.0))
    assert fault(content, 2.0).reason == "damaged or cut short: it decodes to 1.00 s, its stated length is 2.00 s"
    assert decode_sound(content, 1.1).seconds == 1.0  # an encoder's padding
    assert fault(encoded(tone(1.0)[:0])).reason == "no sample in it"


def test_a_wav_file_of_unknown_length_is_read() -> None:
    content = bytearray(encoded(tone(1.0)))
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    assert decode_sound(bytes(content)).seconds == 1.0


def test_silence_and_numbers_that_are_none() -> None:
    assert fault(encoded(tone(1.0) * 0)).reason == "silent: its loudest sample is 0, digital silence"
    quiet = fault(encoded(tone(1.0, level=1e-4), subtype="FLOAT"))
    assert (quiet.kind, quiet.reason) == ("silent", "silent: its loudest sample is 0.0001, -80 dB of full scale")
    broken = tone(1.0)
    broken[[3, 5]] = numpy.nan, numpy.inf
    found = fault(encoded(broken, subtype="FLOAT"))
    assert (found.kind, found.reason) == ("not finite", "2 of its 16000 samples are NaN or infinite")


def test_a_long_clip_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(numpy.zeros(600 * 8000, numpy.int16), 8000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *arguments, **options: pytest.fail("decoded"))
    found = fault(content, None, 10.0)
    assert (found.kind, found.reason) == ("too long", "600.0 s long, more than max_seconds 10")


def test_a_file_of_the_users_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.wav: cannot be read: No such file or directory"):
        next(read_recording(tmp_path / "gone.wav"))
    (tmp_path / "words.mp3").write_bytes(b"words")
    with pytest.raises(DataError, match=r"words.mp3: not sound that can be read \(.+\)"):
        next(read_recording(tmp_path / "words.mp3"))


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"by {package}, which cannot be imported .*pip install 'dltrain\[audio\]'"):
        resample(decode_sound(encoded(tone(1.0, 8000), 8000)) if package == "soxr" else decode_sound(b"RIFF"), 16000)


# Features --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [LogMel(), LogMel(bands=40, scale="htk", low_hz=60, high_hz=7000, window_ms=32)])
def test_features_are_librosas_whoever_computes_them(options: LogMel) -> None:
    librosa = pytest.importorskip("librosa")
    samples = speechlike(1.5)
    length = round(16 * options.window_ms)
    power = librosa.feature.melspectrogram(
        y=samples.astype(numpy.float64), sr=16000, n_fft=512, hop_length=160, win_length=length, window="hann",
        center=True, pad_mode="constant", power=2.0, n_mels=options.bands, fmin=options.low_hz,
        fmax=options.high_hz or 8000, htk=options.scale == "htk", norm="slaney", dtype=numpy.float64,
    )  # fmt: skip
    reference = numpy.log(numpy.maximum(power, 1e-10)).T
    for backend in ("torchaudio", "librosa"):
        features = build_extractor(LogMel(**{**vars(options), "backend": backend}), 16000)(samples)
        assert features.shape == reference.shape == (151, options.bands)
        assert features.dtype == numpy.float32
        assert numpy.abs(features - reference).max() < 1e-4


def test_without_a_cuda_device_the_cpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    features = [build_extractor(LogMel(device=device), 16000)(speechlike(0.5)) for device in ("cpu", "auto")]
    numpy.testing.assert_array_equal(*features)
    with pytest.raises(ValueError, match="librosa computes on the cpu, not on device auto; torchaudio can"):
        LogMel(backend="librosa", device="auto")


def test_a_tones_power_lies_where_its_frequency_does() -> None:
    features = build_extractor(LogMel(), 16000)(tone(1.0, hz=1000.0))
    # Slaney's scale: 15 mel at 1 kHz, of 45.245 at 8 kHz, and 80 bands are centred at k * 45.245 / 81, k from 1.
    assert int(features[50].argmax()) == round(15 * 81 / 45.245) - 1


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (159, 1), (160, 2), (16000, 101), (16159, 101)])
def test_lengths_in_closed_form(samples: int, frames: int) -> None:
    assert build_extractor(LogMel(), 16000)(numpy.ones(samples, numpy.float32)).shape == (frames, 80)


def test_windows_in_samples() -> None:
    windows = WindowLengths(LogMel(), 16000)
    assert (windows.length, windows.hop, windows.transform, windows.high_hz) == (400, 160, 512, 8000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LogMel(hop_ms=0.01), "less than one sample at 16000 Hz"),
        (LogMel(high_hz=9000), "bands from 0 to 9000 Hz; allowed is an increasing range up to half the sample rate"),
        (LogMel(low_hz=500, high_hz=400), "bands from 500 to 400 Hz"),
        (LogMel(bands=400), "400 bands are so narrow that [0-9]+ of them fall between two frequencies"),
    ],
)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_features_that_cannot_be_are_refused(options: LogMel, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_extractor(options, 16000)


def test_without_librosa_its_backend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(UsageError, match=r"data.features.backend: librosa cannot be imported .*dltrain\[audio\]"):
        build_extractor(LogMel(backend="librosa"), 16000)


def assets(over: str, **statistics: Any) -> dict[str, Any]:
    return {"sample_rate_hz": 16000, "features": vars(LogMel()), "normalization": {"over": over, **statistics}}


def test_a_sound_alone_is_normalised_by_itself() -> None:
    features = model_input(Sound(speechlike(1.0), 16000, 1), assets("utterance"))
    assert features.shape == (101, 80)
    assert features.dtype == torch.float32
    assert features.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(features.var(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)


def test_a_voice_heard_for_the_first_time_is_supposed_to_be_usual() -> None:
    """As if a second of the corpus, raised or lowered to the sound's level, were heard besides."""
    samples = speechlike(0.5)
    usual = numpy.random.default_rng(1).normal(numpy.linspace(-9, -5, 80), 2, (99, 80))
    given = assets("speaker", mean=usual.mean(0).tolist(), variance=usual.var(0).tolist())
    raw = rebuild_extractor(given)(samples).astype(numpy.float16).astype(numpy.float64)
    level = raw.mean() - usual.mean()
    share = 0.51 / 1.51
    mean = share * raw.mean(0) + (1 - share) * (usual + level).mean(0)
    second = share * (raw**2).mean(0) + (1 - share) * ((usual + level) ** 2).mean(0)
    expected = (raw - mean) / numpy.sqrt(second - mean**2 + 1e-4)
    numpy.testing.assert_allclose(model_input(Sound(samples, 16000, 1), given).numpy(), expected, atol=1e-3)
    longer = model_input(Sound(speechlike(60.0), 16000, 1), given)
    assert longer.mean(0).abs().max() < 0.02 * numpy.ptp(usual.mean(0))  # by then it is known


def test_silence_is_no_nan() -> None:
    features = model_input(Sound(numpy.zeros(16000, numpy.float32), 16000, 1), assets("utterance"))
    assert features.abs().max() < 1e-6


def test_a_corpus_normalises_with_its_statistics_and_louder_is_then_more() -> None:
    mean, variance = numpy.arange(80.0), numpy.full(80, 4.0)
    given = assets("corpus", mean=mean.tolist(), variance=variance.tolist())
    samples = numpy.random.default_rng(0).uniform(-0.4, 0.4, 16000).astype(numpy.float32)
    features = model_input(Sound(samples, 16000, 1), given)
    raw = rebuild_extractor(given)(samples).astype(numpy.float16).astype(numpy.float32)
    numpy.testing.assert_allclose(features.numpy(), (raw - mean) / 2.0, atol=1e-3)
    louder = model_input(Sound(2 * samples, 16000, 1), given)
    torch.testing.assert_close(louder - features, torch.full((101, 80), numpy.log(4) / 2).float(), atol=0.01, rtol=0)


def test_normalised_features_by_hand() -> None:
    features = numpy.array([[1.0, 5.0], [3.0, 5.0]], numpy.float32)
    done = normalize_features(features, features.mean(0), features.var(0))
    numpy.testing.assert_allclose(done, [[-1, 0], [1, 0]], atol=1e-4)


def test_the_default_type_of_torch_stays() -> None:
    build_extractor(LogMel(), 16000)
    assert torch.get_default_dtype() == torch.float32


def test_moments_are_of_the_windows_that_are_loud_enough() -> None:
    loud = numpy.log(numpy.array([[4.0, 4.0], [2.0, 6.0], [6.0, 1.0]]))
    edge, quiet = numpy.log([[0.0041, 0.0041]]), numpy.log([[0.0039, 0.0039]])  # the loudest window has a power of 8
    every = numpy.concatenate([quiet, loud, edge, quiet]).astype(numpy.float32)
    mean, variance = compute_moments(every, 30.0)
    numpy.testing.assert_allclose(mean, numpy.concatenate([loud, edge]).mean(0), rtol=1e-6)
    numpy.testing.assert_allclose(variance, numpy.concatenate([loud, edge]).var(0), rtol=1e-5)
    numpy.testing.assert_allclose(compute_moments(every)[0], every.mean(0))


def test_silence_around_speech_does_not_change_how_it_is_normalised() -> None:
    samples = speechlike(0.4) + 0.01 * numpy.random.default_rng(1).standard_normal(6400).astype(numpy.float32)
    quiet = numpy.zeros(8000, numpy.float32)
    assets = {
        "features": asdict(LogMel(bands=20, speech_db=30.0)),
        "sample_rate_hz": 16000,
        "normalization": {"over": "utterance"},
    }
    alone = model_input(Sound(samples, 16000, 1), assets).numpy()
    among = model_input(Sound(numpy.concatenate([quiet, samples, quiet]), 16000, 1), assets).numpy()
    numpy.testing.assert_allclose(among[50 + 4 : 50 + 36], alone[4:36], atol=0.02)
    assert among[:40].max() == among.min() == -3  # three deviations, which no digital silence is below
    assets["features"]["speech_db"] = None
    without = model_input(Sound(numpy.concatenate([quiet, samples, quiet]), 16000, 1), assets).numpy()
    assert numpy.abs(without[50 + 4 : 50 + 36] - alone[4:36]).max() > 0.5
