"""Sound of phones and videos through PyAV, with and without it; channels that cancel; what is said of clips."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.data.speech.channels import ChannelPowers, choose_channel, mix_channels
from dltrain.data.speech.recordings import is_sound_file, read_recording
from dltrain.data.speech.sound import UnusableClip, check_audible, decode_sound, measure_clipping
from dltrain.errors import DataError

soundfile = pytest.importorskip("soundfile")

FORMS = [
    ("m4a", "ipod", "aac", 44100, "stereo"),
    ("mp4", "mp4", "aac", 16000, "mono"),
    ("3gp", "3gp", "aac", 16000, "mono"),
    ("aac", "adts", "aac", 22050, "mono"),
    ("webm", "webm", "libopus", 48000, "stereo"),
    ("mkv", "matroska", "libopus", 48000, "mono"),
    ("mov", "mov", "pcm_s16le", 16000, "mono"),
    ("wma", "asf", "wmav2", 44100, "stereo"),
]
"""Suffix, FFmpeg's container and codec, sample rate and channels."""


def tone(seconds: float, rate: int, hz: float = 440.0) -> numpy.ndarray:
    return (0.5 * numpy.sin(2 * numpy.pi * hz * numpy.arange(round(seconds * rate)) / rate)).astype(numpy.float32)


def encode(samples: numpy.ndarray, form: tuple[str, str, str, int, str]) -> bytes:
    """Encode samples (n, channels) with PyAV."""
    av = pytest.importorskip("av")
    _, container, codec, rate, layout = form
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(numpy.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return target.getvalue()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form[0])
def test_sound_of_phones_and_videos_is_read(form: tuple[str, str, str, int, str], tmp_path: Path) -> None:
    *_, rate, layout = form
    channels = 2 if layout == "stereo" else 1
    content = encode(numpy.stack([tone(1.5, rate)] * channels, 1), form)
    sound = decode_sound(content)
    assert (sound.sample_rate_hz, sound.channels, sound.opposed) == (rate, channels, False)
    assert sound.seconds == pytest.approx(1.5, abs=0.12)  # encoders pad
    spectrum = numpy.abs(numpy.fft.rfft(sound.samples))
    assert spectrum.argmax() / sound.seconds == pytest.approx(440, abs=2)
    assert numpy.sqrt((sound.samples[2000:-4000] ** 2).mean()) == pytest.approx(0.5 / numpy.sqrt(2), rel=0.1)
    path = tmp_path / f"clip.{form[0]}"
    path.write_bytes(content)
    assert is_sound_file(path)
    (piece,) = read_recording(path)
    assert numpy.array_equal(piece.sound.samples, sound.samples)


def test_faults_of_such_files(tmp_path: Path) -> None:
    content = encode(tone(3.0, 16000)[:, None], FORMS[1])
    for name, damaged, reason in (
        ("cut.mp4", content[: len(content) // 2], "not sound that can be read"),
        ("noise.mp4", content[:16] + b"noise" * 100, "not sound that can be read"),
    ):
        with pytest.raises(UnusableClip, match=reason):
            decode_sound(damaged)
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            list(read_recording(tmp_path / name))
    webm = encode(numpy.stack([tone(3.0, 48000)] * 2, 1), FORMS[4])
    with pytest.raises(
        UnusableClip, match=r"damaged or cut short: it decodes to 1\.\d+ s, its header promises 2\.\d+ s"
    ):
        decode_sound(webm[: len(webm) // 2])


@pytest.mark.parametrize("suffix", ["mp4", "webm", "aac", "wma"])
def test_without_pyav_the_extra_is_named(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = next(form for form in FORMS if form[0] == suffix)
    channels = 2 if form[4] == "stereo" else 1
    content = encode(numpy.stack([tone(1.0, form[3])] * channels, 1), form)
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"read by PyAV, which cannot be imported .* pip install 'dltrain\[media\]'"):
        next(read_recording(path))
    with pytest.raises(UnusableClip, match=r"pip install 'dltrain\[media\]'"):
        decode_sound(content)
    with pytest.raises(UnusableClip, match=r"not sound that can be read \(Format not recognised\)"):
        decode_sound(b"These are words, not sound.\n" * 50)


# Channels --------------------------------------------------------------------------------------------------------


def wav(samples: numpy.ndarray, rate: int = 16000, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, **({"subtype": "FLOAT"} if form == "WAV" else {}))
    return file.getvalue()


def test_channels_in_opposite_phase_are_not_silence(tmp_path: Path) -> None:
    one = tone(1.0, 16000)
    sound = decode_sound(wav(numpy.stack((0.9 * one, -one), 1)))
    assert sound.opposed
    assert numpy.array_equal(sound.samples, -one)  # the loudest channel
    check_audible(sound)
    (tmp_path / "a.wav").write_bytes(wav(numpy.stack((0.9 * one, -one), 1)))
    (piece,) = read_recording(tmp_path / "a.wav")
    assert piece.sound.opposed
    assert numpy.array_equal(piece.sound.samples, -one)


def test_other_channels_are_averaged(tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    one, other = tone(1.0, 16000), draw.normal(0, 0.2, 16000).astype(numpy.float32)
    for pair in ((one, one), (one, other), (one, 0 * one), (one, -0.4 * one), (0 * one, 0 * one)):
        samples = numpy.stack(pair, 1)
        sound = decode_sound(wav(samples))
        assert not sound.opposed
        assert numpy.array_equal(sound.samples, samples.mean(1))
    assert choose_channel(one[:, None]) is None
    assert numpy.array_equal(mix_channels(one[:, None], None), one)


def test_a_long_file_has_one_rule_for_all_its_blocks(tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    one = draw.normal(0, 0.1, 16000 * 60).astype(numpy.float32)
    other = -one
    other[16000 * 20 : 16000 * 24] = one[16000 * 20 : 16000 * 24]  # in phase for some seconds
    for form, tolerance in (("WAV", 0.0), ("MP3", 0.3)):
        (tmp_path / "a").write_bytes(wav(numpy.stack((one, other), 1), form=form))
        pieces = list(read_recording(tmp_path / "a"))
        assert len(pieces) > 2
        assert all(piece.sound.opposed for piece in pieces)
        start = pieces[1].sound.samples[:1000]
        first = round(16000 * pieces[1].start_seconds)
        expected = one[first : first + 1000]
        assert min(numpy.abs(start - expected).max(), numpy.abs(start + expected).max()) <= tolerance


def test_powers_add_up_over_blocks() -> None:
    draw = numpy.random.default_rng(0)
    samples = draw.normal(0, 1, (1000, 3)).astype(numpy.float32)
    samples[:, 2] = -samples[:, 0] - samples[:, 1]
    powers = ChannelPowers(3)
    for block in numpy.split(samples, 10):
        powers.add(block)
    assert powers.choose() == choose_channel(samples) == int((samples**2).sum(0).argmax())


# What is said of clips -------------------------------------------------------------------------------------------


def test_a_constant_offset_is_silence_and_clipping_is_measured() -> None:
    with pytest.raises(UnusableClip, match="silent"):
        check_audible(decode_sound(wav(numpy.full(16000, 0.3, numpy.float32))))
    loud = (4 * tone(1.0, 16000)).clip(-1, 1)
    assert measure_clipping(loud) == pytest.approx(1 - 2 / numpy.pi * numpy.arcsin(0.5), abs=0.01)
    assert measure_clipping(tone(1.0, 16000)) == 0


def test_clips_with_less_than_they_seem_to_have_are_named(tmp_path: Path) -> None:
    from support.speech import built, run, speechlike, write_locale

    folder = write_locale(tmp_path) / "en" / "clips"
    one = speechlike(1.0)
    soundfile.write(folder / "train_0.wav", numpy.stack((one, -one), 1), 16000)
    soundfile.write(folder / "train_1.wav", speechlike(1.0, 8000), 8000)
    for number in (2, 3, 4):
        soundfile.write(folder / f"train_{number}.wav", ((20 + number) * one).clip(-1, 1), 16000)
    options: dict[str, Any] = {"cache": str(tmp_path / "cache")}
    for _ in range(2):  # from the files, and from the cache
        dataset = built(tmp_path, **options)
        assert (dataset.notice or "").splitlines() == [
            "training: 1 of 20 clips have channels in opposite phase; the loudest one is used (train_0.wav)",
            "training: 3 of 20 clips are clipped: 1% or more of their samples are at full scale",
            "training: 1 of 20 clips have a lower sample rate than data.sample_rate_hz 16000 (1 at 8000 Hz): there is "
            "nothing in their upper bands",
        ]
    assert "  note        1 of 20 clips have channels in opposite phase; the loudest one" in (
        run("check", "common_voice", "--root", tmp_path).stdout
    )


def test_clips_and_speakers_of_two_splits_are_counted(tmp_path: Path) -> None:
    from support.speech import built, run, speechlike

    for name in ("a", "b", "c", "d"):
        soundfile.write(tmp_path / f"{name}.wav", speechlike(1.0, seed=ord(name)), 16000)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    for split, rows in (
        ("train", ["a.wav ann", "b.wav bob"]),
        ("dev", ["c.wav ann"]),
        ("test", ["copy.wav zoe", "d.wav bob"]),
    ):
        lines = ["path\ttext\tspeaker", *(f"{row.split()[0]}\tone\t{row.split()[1]}" for row in rows)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    manifests = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    options: dict[str, Any] = {"cache": str(tmp_path / "cache"), **manifests}
    trained = built(tmp_path, "audio", **options)
    evaluated = built(tmp_path, "audio", trained.assets, **options)
    evaluated.test()
    assert evaluated.notice == "test: 1 of 2 clips are in the training data too, so that scores are too good"
    assert not any("train" in name for name in evaluated.fingerprint)
    elsewhere = built(tmp_path, "audio", trained.assets, **{**options, "cache": str(tmp_path / "other")})
    elsewhere.test()  # no training clip is read for this
    assert elsewhere.notice is None
    (tmp_path / "config.yaml").write_text(
        f"task: speech_recognition\ndata: {{name: audio, root: {tmp_path}, train: train.tsv, validation: dev.tsv, "
        "test: test.tsv}\nmodel: crnn\n"
    )
    printed = run("check", tmp_path / "config.yaml").stdout
    for note in (
        "1 of 1 speakers are in the training split too (ann)",
        "1 of 2 clips are in the training split too (copy.wav is a.wav)",
        "1 of 2 speakers are in the training split too (bob)",
    ):
        assert f"  note        {note}\n" in printed
