"""`dltrain transcribe`: tones stand for letters, and a model reads them off exactly, so that every word is known."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dltrain.cli.main import application
from dltrain.data.input_files import list_input_files
from dltrain.data.speech.captions import format_srt, format_vtt, make_captions
from dltrain.data.speech.recognition import ScoresClips, Transcribes
from dltrain.data.speech.recordings import (
    CONTEXT_SECONDS,
    LONGEST_SECONDS,
    PIECE_SECONDS,
    RecordingPiece,
    cut_pieces,
    find_cut,
    find_longest_run,
    is_sound_file,
    read_recording,
)
from dltrain.data.speech.sound import Sound
from dltrain.data.speech.statistics import normalize_features
from dltrain.data.speech.transcription import SpokenWord, Transcriber, select_new_words
from dltrain.decoding.ngram import estimate_ngrams, read_arpa, write_arpa
from dltrain.errors import DataError, UsageError
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from support.commands import call, good
from support.tones import RATE, random_words, said, spoken, train

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def transcriber(run: Path) -> Transcriber:
    from dltrain.decoding.ctc import decode_greedily

    trained = load_trained(find_checkpoint(run))
    assert isinstance(trained.task, Transcribes)
    assert isinstance(trained.task, ScoresClips)
    return Transcriber(trained.task, trained.model, trained.runtime, trained.record.assets, decode_greedily, 3)


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, text: str, rate: int = RATE, channels: int = 1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.stack([said(text, rate)] * channels, 1), rate)
        return path

    return make


def test_a_line_for_each_file_of_any_rate_and_number_of_channels(run: Path, clip: Any) -> None:
    one, two, three = clip("one.wav", "ab cad b"), clip("two.flac", "d", 44100, 2), clip("three.ogg", "bad cab", 22050)
    assert good("transcribe", run, one, two, three).stdout == f"{one}\tab cad b\n{two}\td\n{three}\tbad cab\n"
    assert (
        good("transcribe", run, one, two, three, "--batch-size", 1).stdout
        == good("transcribe", run / "best", one, two, three).stdout
    )


def test_folders_and_names_on_standard_input(run: Path, clip: Any, tmp_path: Path) -> None:
    second, first = clip("clips/b.wav", "b"), clip("clips/a.WAV", "a")
    (tmp_path / "clips" / "notes.txt").write_text("no sound")
    done = good("transcribe", run, tmp_path / "clips")
    assert done.stdout == f"{first}\ta\n{second}\tb\n"
    assert f"1 file is skipped, since it is no sound file ({tmp_path}/clips/notes.txt)" in done.stderr
    assert good("transcribe", run, "-", stdin=f"{second}\n\n{first}\n").stdout == f"{second}\tb\n{first}\ta\n"
    nothing = call("transcribe", run, "-", stdin="")
    assert isinstance(nothing.exception, DataError)
    assert str(nothing.exception) == "no sound files given, on the command line or on standard input"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no sound")
    with pytest.raises(
        DataError, match=r"empty: no sound file in it, only 1 other files such as notes.txt\nnext: name"
    ):
        list_input_files([str(tmp_path / "empty")], iter(()), is_sound_file, "sound", skipped=[])


def test_a_language_model_in_upper_case_finds_its_words(run: Path, clip: Any, tmp_path: Path) -> None:
    path, lm, other = clip("one.wav", "ab cad"), tmp_path / "lm.arpa", tmp_path / "other.arpa"
    write_arpa(estimate_ngrams(["AB CAD"], 2), lm)
    write_arpa(estimate_ngrams(["xyz"], 1), other)
    done = good("transcribe", run, path, "--lm", lm, "--lm-weight", 5)
    assert done.stdout == f"{path}\tab cad\n"
    assert f"note: language model {lm}: 0 of its 2 words can be spelled" in done.stderr
    refused = call("transcribe", run, path, "--lm", other)
    assert isinstance(refused.exception, UsageError)
    assert "none of its 1 words (xyz) can be spelled with the alphabet of the model, ' abcd'" in str(refused.exception)


def test_what_may_be_wrong_with_the_sound_is_noted(run: Path, clip: Any, tmp_path: Path) -> None:
    one = said("ab cad", RATE)
    paths = [tmp_path / name for name in ("opposed.wav", "silent.wav", "low.wav")]
    soundfile.write(paths[0], np.stack((one, -one), 1), RATE)
    soundfile.write(paths[1], 0 * one, RATE)
    soundfile.write(paths[2], said("ab cad", 8000), 8000)
    done = good("transcribe", run, *paths)
    assert done.stdout.splitlines() == [f"{paths[0]}\tab cad", f"{paths[1]}\t", f"{paths[2]}\tab cad"]
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: 1 of")]
    assert notes == [
        f"note: 1 of 3 files have channels in opposite phase, of which the loudest one is used ({paths[0]})",
        f"note: 1 of 3 files are silent: they have no words ({paths[1]})",
        f"note: 1 of 3 files have a lower sample rate (8000 Hz) than the model's {RATE} Hz: there is nothing in their "
        f"upper bands ({paths[2]})",
    ]


def test_the_language_model_of_a_run_is_named(run: Path, clip: Any, tmp_path: Path) -> None:
    path, lm = clip("one.wav", "ab cad"), run / "words.arpa"
    write_arpa(estimate_ngrams(["ab cad"], 1), lm)
    try:
        note = f"note: this run has a language model; if the words are those of its training, add --lm {lm}\n"
        assert note in good("transcribe", run, path).stderr
        assert note not in good("transcribe", run, path, "--lm", lm).stderr
    finally:
        lm.unlink()


def test_words_with_their_times(run: Path, clip: Any) -> None:
    path = clip("one.wav", "ab cad")
    expected = spoken(["ab", "cad"], [0.15, 0])[1]
    rows = [line.split("\t") for line in good("transcribe", run, path, "--timestamps").stdout.splitlines()]
    assert [(row[0], row[3]) for row in rows] == [(str(path), "ab"), (str(path), "cad")]
    for row, word in zip(rows, expected, strict=True):
        assert [float(row[1]), float(row[2])] == pytest.approx([word.start, word.end], abs=0.03)
    told = json.loads(good("transcribe", run, path, "--timestamps", "--json", "--beam", 4).stdout)
    assert (told["file"], told["text"], told["seconds"]) == (str(path), "ab cad", pytest.approx(0.75, abs=1e-3))
    assert [(w["word"], f"{w['start']:.2f}", f"{w['end']:.2f}") for w in told["words"]] == [
        (row[3], row[1], row[2]) for row in rows
    ]
    assert all(0.9 < word["confidence"] <= 1 for word in told["words"])
    assert "words" not in json.loads(good("transcribe", run, path, "--json").stdout)


def test_a_language_model_decides_between_what_sounds_alike(run: Path, tmp_path: Path) -> None:
    samples, _ = spoken(["a[bc]", "d"], [0.15, 0.15])
    path, lm = tmp_path / "chord.wav", tmp_path / "lm.arpa"
    soundfile.write(path, samples, RATE)
    assert good("transcribe", run, path).stdout == f"{path}\tab d\n"
    for text in ("ab d", "ac d"):
        write_arpa(estimate_ngrams([text] * 3, 2), lm)
        assert good("transcribe", run, path, "--lm", lm, "--lm-weight", 5).stdout == f"{path}\t{text}\n"
    free = good("transcribe", run, path, "--lm", lm, "--lm-weight", 0, "--word-bonus", 0).stdout
    assert free == good("transcribe", run, path, "--beam", 16).stdout != f"{path}\tac d\n"


@pytest.mark.parametrize("silent", [True, False], ids=["with pauses", "without any"])
@pytest.mark.parametrize("seed", range(3))
def test_a_long_recording_loses_no_word_and_doubles_none(
    run: Path, transcriber: Transcriber, tmp_path: Path, silent: bool, seed: int
) -> None:
    draw = Random(seed)
    words = random_words(230, seed)
    gaps = [draw.choice([0.1, 0.25, 0.5]) if silent else None for _ in words]
    samples, expected = spoken(words, gaps)
    seconds = len(samples) / RATE
    assert seconds > 2 * LONGEST_SECONDS
    path = tmp_path / "long.wav"
    soundfile.write(path, samples, RATE)
    heard: list[float] = []
    [found] = transcriber.transcribe_files([path], heard.append)
    assert [word.text for word in found.words] == words
    for word, truth in zip(found.words, expected, strict=True):
        assert [word.start, word.end] == pytest.approx([truth.start, truth.end], abs=0.04)
    assert found.seconds == pytest.approx(seconds)
    overlaps = sum(heard) - seconds
    assert overlaps == pytest.approx(0, abs=0.01) if silent else overlaps >= 4 * CONTEXT_SECONDS
    cut = list(read_recording(path))
    assert len(cut) >= 3
    assert [piece.from_seconds for piece in cut[1:]] == [piece.to_seconds for piece in cut[:-1]]
    assert all(10 < piece.to_seconds - piece.from_seconds <= LONGEST_SECONDS for piece in cut)


class Counted:
    """A sound file that never ends by itself, and counts what is read."""

    samplerate, channels = 1000, 2

    def __init__(self, frames: int) -> None:
        self.frames = self.left = frames
        self.largest = 0

    def seek(self, frame: int) -> None:
        assert frame == 0
        self.left = self.frames

    def read(self, frames: int, dtype: str, always_2d: bool) -> np.ndarray:
        assert (dtype, always_2d) == ("float32", True)
        frames = min(frames, self.left)
        self.largest, self.left = max(self.largest, frames), self.left - frames
        return np.random.default_rng(self.left).normal(0, 0.1, (frames, 2)).astype(np.float32)


def test_an_hour_is_read_in_blocks_and_held_in_pieces() -> None:
    file = Counted(3600 * 1000)
    held = total = 0
    ahead = []
    for piece in cut_pieces(file, file.frames):
        held = max(held, len(piece.sound.samples))
        total += round(1000 * (piece.to_seconds - piece.from_seconds))
        assert piece.sound.samples.base is None or len(piece.sound.samples.base) <= 45_000
        ahead.append(file.frames - file.left - 1000 * piece.to_seconds)
    assert total == 3600 * 1000
    assert file.largest == 5000
    assert held <= 1000 * (LONGEST_SECONDS + 2 * CONTEXT_SECONDS)
    assert max(ahead) <= 1000 * (2 * PIECE_SECONDS + 5)


def test_a_recording_is_cut_in_the_middle_of_its_longest_silence() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * RATE).astype(np.float32)
    quiet = noise.copy()
    for start, end in ((3, 9), (16, 16.4), (21, 21.8), (26, 30)):
        quiet[round(start * RATE) : round(end * RATE)] *= 1e-3
    assert find_cut(quiet, RATE) == (pytest.approx(21.4 * RATE, abs=0.03 * RATE), True)
    place, silent = find_cut(noise, RATE)
    assert (15 * RATE <= place <= 25 * RATE, silent) == (True, False)
    dip = noise.copy()
    dip[18 * RATE : round(18.2 * RATE)] *= 0.3
    assert find_cut(dip, RATE) == (pytest.approx(18.1 * RATE, abs=0.03 * RATE), False)
    assert 8 * RATE <= find_cut(noise[: 26 * RATE], RATE, 26.0)[0] <= 18 * RATE
    assert find_cut(np.zeros(40 * RATE, np.float32), RATE) == (pytest.approx(20 * RATE, abs=RATE / 50), True)
    assert find_longest_run(np.array([0, 1, 1, 0, 1, 1, 0], bool)) == (1, 3)
    assert find_longest_run(np.zeros(3, bool)) == (0, 0)


def piece(start: float, own: float, end: float, after: float) -> RecordingPiece:
    """A piece that begins at `start` and ends at `after`, of which `own` to `end` is its own."""
    return RecordingPiece(Sound(np.zeros(round(100 * (after - start)), np.float32), 100, 1), start, own, end)


def at(text: str, start: float, end: float) -> SpokenWord:
    return SpokenWord(text, start, end, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # A word on the border at 20 s: behind it or before it by both pieces; or so that it might be lost, or doubled.
        ([at("a", 19, 19.4), at("b", 19.9, 20.2)], [at("a", 19, 19.4), at("b", 19.9, 20.2)], ["a", "b"]),
        ([at("a", 19, 19.4), at("b", 19.8, 20.1)], [at("a", 19, 19.4), at("b", 19.8, 20.1)], ["a", "b"]),
        ([at("a", 19, 19.4), at("b", 19.9, 20.14)], [at("a", 19, 19.4), at("b", 19.85, 20.13)], ["a", "b"]),
        ([at("a", 19, 19.4), at("b", 19.9, 20.06)], [at("a", 19, 19.4), at("b", 19.95, 20.1)], ["a", "b"]),
        ([at("a", 19, 19.4), at("b", 19.96, 19.98)], [at("a", 19, 19.4), at("b", 20.0, 20.04)], ["a", "b"]),
        # What is cut off at the edge of the context does not count, nor does a word said again get lost.
        ([at("cab", 17.8, 18.5), at("a", 21.9, 22)], [at("b", 18.1, 18.5), at("ad", 21.5, 22.4)], ["cab", "ad"]),
        ([at("a", 19.5, 19.8)], [at("a", 19.5, 19.8), at("a", 20.1, 20.4)], ["a", "a"]),
        ([], [at("a", 19.96, 20.2)], ["a"]),
        ([], [at("a", 18.2, 19)], []),
    ],
)
def test_pieces_that_overlap_are_joined(first: list[SpokenWord], second: list[SpokenWord], expected: list[str]) -> None:
    words: list[SpokenWord] = []
    for found, where in ((first, piece(0, 0, 20, 22)), (second, piece(18, 20, 35, 35))):
        words += select_new_words(words, found, where)
    assert [word.text for word in words] == expected


def test_without_an_overlap_every_word_stays() -> None:
    words = [at("a", 20, 20.1), at("a", 34.99, 35.02)]
    assert select_new_words([at("a", 19.9, 20)], words, piece(20, 20, 35, 35)) == words


def test_silence_says_nothing(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(RATE // 2, np.float32), RATE)
    assert good("transcribe", run, path).stdout == f"{path}\t\n"
    assert good("transcribe", run, path, "--srt").stdout == ""
    assert good("transcribe", run, path, "--vtt").stdout == "WEBVTT\n\n"
    assert good("transcribe", run, path, "--timestamps").stdout == ""


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("samples", [1, 2, 200, 1000])
def test_the_shortest_sounds(run: Path, tmp_path: Path, rate: int, samples: int) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(samples, 0.5, np.float32), rate)
    assert good("transcribe", run, path).stdout.startswith(f"{path}\t")


def test_a_file_that_cannot_be_read_among_others(run: Path, clip: Any, tmp_path: Path) -> None:
    first, last = clip("a.wav", "a"), clip("z.wav", "d")
    text, empty = tmp_path / "text.wav", tmp_path / "empty.wav"
    text.write_text("no sound")
    soundfile.write(empty, np.zeros(0, np.float32), RATE)
    broken = tmp_path / "nan.wav"
    soundfile.write(broken, np.full(100, np.nan, np.float32), RATE, "FLOAT")
    cut = tmp_path / "cut.flac"
    soundfile.write(cut, np.random.default_rng(0).normal(0, 0.1, 50 * RATE), RATE)
    cut.write_bytes(cut.read_bytes()[:500_000])
    result = call("transcribe", run, first, text, tmp_path / "missing.wav", empty, broken, cut, last)
    assert result.stdout == f"{first}\ta\n{last}\td\n"
    told = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1:3] for line in told[:4]] == [
        [str(text), told[0].split(": ")[2]],
        [f"{tmp_path}/missing.wav", "cannot be read"],
        [str(empty), "no sample in it"],
        [str(broken), "some of its samples are NaN or infinite"],
    ]
    assert told[0].endswith("not sound that can be read (Format not recognised)")
    assert told[1].endswith("No such file or directory")
    assert str(cut) in told[4]
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "5 of 7 files could not be transcribed; the others are done"


@pytest.fixture
def noise(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        """A file of 20 s, and of some ten thousand bytes."""
        path = tmp_path / name
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32), RATE)
        return path

    return make


def test_a_file_of_nothing_and_text_by_another_name(run: Path, clip: Any, tmp_path: Path) -> None:
    first, nothing, text = clip("a.wav", "a"), tmp_path / "nothing.mp3", tmp_path / "text.mp3"
    nothing.touch()
    text.write_text("no sound " * 500)
    result = call("transcribe", run, nothing, first, text)
    assert result.stdout == f"{first}\ta\n"
    assert result.stderr == (
        f"error: {nothing}: the file is empty (0 bytes)\nnext: copy it again, or leave it out\n"
        f"error: {text}: not sound that can be read (Format not recognised)\n"
        "next: convert it to WAV, FLAC, OGG or MP3, or leave it out\n"
    )
    assert isinstance(result.exception, DataError)


def test_an_mp3_file_that_was_cut_short(
    run: Path, clip: Any, noise: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, cut = clip("a.wav", "a"), noise("cut.mp3")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    result = call("transcribe", run, cut, first)
    assert result.stdout == f"{first}\ta\n"
    assert result.stderr.startswith(f"error: {cut}: damaged or cut short: it decodes to ")
    assert result.stderr.endswith(" s, its header promises 20.00 s\nnext: copy it again, or leave it out\n")
    assert "Xing" not in capfd.readouterr().err


def test_an_ogg_file_that_was_cut_short_is_as_long_as_it_is(transcriber: Transcriber, noise: Any) -> None:
    cut = noise("cut.ogg")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    [found] = transcriber.transcribe_files([cut])
    assert found.fault is None
    assert 7 < found.seconds < 13
    cut.write_bytes(cut.read_bytes()[:100])
    [found] = transcriber.transcribe_files([cut])
    assert str(found.fault).startswith(f"{cut}: not sound that can be read (")


def test_what_is_no_file(run: Path, clip: Any, tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe.wav", tmp_path / "folder.wav"
    os.mkfifo(pipe)
    folder.mkdir()
    result = call("transcribe", run, pipe, "/dev/null", "-", stdin=f"{folder}\n")
    assert [line for line in result.stderr.splitlines() if line.startswith("error")] == [
        f"error: {pipe}: a pipe; allowed is a file",
        "error: /dev/null: a device; allowed is a file",
        f"error: {folder}: a folder; allowed is a file",
    ]
    assert result.stderr.count("\nnext: write the sound to a file, and name that\n") == 3
    assert str(result.exception).startswith("3 of 3 files could not be transcribed")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.wav", "a WAV file"),
        ("a.flac", "a FLAC file"),
        ("a.ogg", "an OGG file"),
        ("a.mp3", "bytes that are not text"),
    ],
)
def test_sound_on_standard_input(run: Path, clip: Any, name: str, found: str) -> None:
    content = clip(name, "ab cad").read_bytes()
    refused = CliRunner().invoke(application(), ["transcribe", str(run), "-"], input=content, obj=Interrupts())
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        f"-: standard input holds {found}; allowed are the names of sound files, one a line\n"
        "next: name sound files on the command line; write piped content to a file first"
    )


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["RIFF\n", "\x10\0"], "a WAV file"),
        (["ID3\x04\0"], "an MP3 file"),
        (["a.wav\0b.wav"], "bytes that are not text"),
    ],
)
def test_lines_that_are_no_names(lines: list[str], found: str) -> None:
    with pytest.raises(UsageError, match=f"^-: standard input holds {found}; allowed are the names of image files"):
        list_input_files(["-"], iter(lines), is_sound_file, "image", skipped=[])
    assert list_input_files(["-"], iter(["RIFF.wav\n", "ID3 é.mp3"]), is_sound_file, "sound", skipped=[]) == [
        Path("RIFF.wav"), Path("ID3 é.mp3")
    ]  # fmt: skip


def test_places_that_cannot_be_written_to(run: Path, clip: Any, tmp_path: Path, monkeypatch: Any) -> None:
    path = clip("a.wav", "a")
    monkeypatch.setattr("dltrain.runs.loading.load_trained", None)  # nothing is loaded before
    messages = {
        tmp_path: f"--output {tmp_path}: this is a folder\nnext: name a file in it",
        tmp_path / "new": f"--output {tmp_path}/new: the folder {tmp_path} cannot be written to\nnext: change its perm",
    }
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path or not mode & os.W_OK)
    for output, message in messages.items():
        refused = call("transcribe", run, path, "-o", output)
        assert isinstance(refused.exception, UsageError)
        assert str(refused.exception).startswith(message)


def test_a_file_shorter_than_its_header_says() -> None:
    from dltrain.data.speech import recordings

    with pytest.raises(recordings._Unfit, match=r"it decodes to 10\.00 s, its header promises 20\.00 s"):
        list(cut_pieces(Counted(10_000), 20_000))


def test_a_wav_file_that_was_cut_short(clip: Any) -> None:
    path = clip("cut.wav", "ab " * 20)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"cut\.wav: damaged or cut short: it decodes to 1\.56 s, its header promises"):
        list(read_recording(path))


WORDS = [
    at("good", 0.5, 0.8), at("morning", 0.9, 1.4), at("x" * 40, 1.5, 2.0), at("again", 2.1, 2.25),
    at("later", 3.4, 3.6), at("much", 3.7, 3.9), at("even", 3725.0, 3725.0),
]  # fmt: skip


def test_captions_are_srt() -> None:
    assert format_srt(make_captions(WORDS)) == (
        f"1\n00:00:00,500 --> 00:00:02,000\ngood morning\n{'x' * 40}\n\n"
        "2\n00:00:02,100 --> 00:00:03,100\nagain\n\n"
        "3\n00:00:03,400 --> 00:00:04,400\nlater much\n\n"
        "4\n01:02:05,000 --> 01:02:06,000\neven\n\n"
    )


def test_captions_are_vtt() -> None:
    assert format_vtt(make_captions([*WORDS[:2], at("<b>&", 1.9999, 2.0)])) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\ngood morning &lt;b&gt;&amp;\n\n"
    )


def test_captions_last_no_longer_than_they_can_be_read() -> None:
    words = [at("ab", 0.6 * number, 0.6 * number + 0.5) for number in range(40)]
    shown = make_captions(words)
    assert [len(one.lines[0].split()) for one in shown] == [11] * 3 + [7]
    assert all(1000 <= one.end - one.start <= 7000 for one in shown)
    assert make_captions([at("a", 1, 1.01), at("b" * 50, 1.2, 1.4), at("c" * 50, 1.25, 1.5)])[0].lines == [
        "a",
        "b" * 50,
    ]
    assert [one.start for one in make_captions([at("a" * 99, 1, 2), at("b" * 99, 1, 2), at("c" * 99, 1, 2)])] == [
        1000,
        1000,
    ]
    unspaced = make_captions(
        [at(letter, number / 20, number / 20 + 0.02) for number, letter in enumerate("甲乙" * 50)], ""
    )
    assert [len(line) for one in unspaced for line in one.lines] == [42, 42, 16]


def test_captions_of_a_file(run: Path, clip: Any, tmp_path: Path) -> None:
    path, out = clip("one.wav", "ab cad"), tmp_path / "one.srt"
    assert good("transcribe", run, path, "--srt", "-o", out).stdout == ""
    number, times, text, end = out.read_text().split("\n", 3)
    assert (number, text, end) == ("1", "ab cad", "\n")
    assert times.startswith("00:00:00,0")
    assert good("transcribe", run, path, "--vtt").stdout == ("WEBVTT\n\n" + times.replace(",", ".") + "\nab cad\n\n")
    refused = call("transcribe", run, path, path, "--vtt")
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == ("--vtt: 2 files given; allowed is one, since captions are of one recording")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "--srt"], "--json and --srt do not go together\nnext: leave one of them out"),
        (["--srt", "--vtt"], "--srt and --vtt do not go together"),
        (["--srt", "--timestamps"], "--timestamps does not go with --srt, which has times anyway"),
        (["--lm-weight", 1], "--lm-weight goes with --lm, which was not given\nnext: add --lm FILE, or leave --lm-wei"),
        (["--beam", 4, "--word-bonus", 1], "--word-bonus goes with --lm"),
        (["-o", "nowhere/out.txt"], "--output nowhere/out.txt: there is no folder nowhere"),
    ],
)
def test_options_that_do_not_go_together(run: Path, clip: Any, words: list[object], message: str) -> None:
    refused = call("transcribe", run, clip("a.wav", "a"), *words)
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception).startswith(message)


def test_the_output_file_holds_what_could_be_transcribed(run: Path, clip: Any, tmp_path: Path) -> None:
    path, out = clip("a.wav", "a"), tmp_path / "out.tsv"
    result = call("transcribe", run, path, tmp_path / "none.wav", "-o", out)
    assert isinstance(result.exception, DataError)
    assert (result.stdout, out.read_text()) == ("", f"{path}\ta\n")
    out.unlink()
    assert isinstance(call("transcribe", run, tmp_path / "none.wav", "-o", out).exception, DataError)
    assert not out.exists()


def test_a_language_model_that_is_none(run: Path, clip: Any, tmp_path: Path) -> None:
    lm = tmp_path / "lm.arpa"
    refused = call("transcribe", run, clip("a.wav", "a"), "--lm", lm)
    assert isinstance(refused.exception, DataError)
    assert str(refused.exception) == (
        f"--lm {lm}: there is no such file\nnext: check its name, or make one with dltrain data lm"
    )
    lm.write_text("words")
    refused = call("transcribe", run, clip("a.wav", "a"), "--lm", lm)
    assert isinstance(refused.exception, DataError)
    assert "since a language model is an ARPA file" in str(refused.exception)


def test_without_the_audio_extra(run: Path, clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip("a.wav", "a")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    refused = call("transcribe", run, path)
    assert isinstance(refused.exception, UsageError)
    assert "Install it: pip install 'dltrain[audio]'" in str(refused.exception)


def test_a_task_that_does_not_transcribe(
    write_settings: Any, settings: dict[str, Any], clip: Any, tmp_path: Path
) -> None:
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "images", "-q")
    refused = call("transcribe", tmp_path / "images", clip("a.wav", "a"))
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception).endswith(
        "the task 'image_classification' does not transcribe sound\nnext: name the run of a task that does"
    )


@pytest.mark.slow
def test_a_closed_pipe_is_quiet(run: Path, clip: Any, tmp_path: Path) -> None:
    paths = " ".join(str(clip(f"{number}.wav", "a")) for number in range(3))
    command = f"({sys.executable} -m dltrain transcribe {run} {paths}; echo $? >&2) | true"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "0\n")


def test_a_signal_at_the_very_end_leaves_no_traceback() -> None:
    program = (
        "import atexit, os, signal, sys; from dltrain.cli.main import main\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT); sys.argv = ['dltrain', '--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_on_a_terminal_there_is_progress_and_nothing_is_lost(
    run: Path, clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dltrain.cli.transcribe import TranscriptionProgress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    watch = TranscriptionProgress(2)
    watch.advance(90)
    watch.print_result("one.wav\ta b\n")
    watch.close()
    assert capsys.readouterr().out == "one.wav\ta b\n"
    assert "0 of 2 files, 1.5 minutes of sound" in screen.getvalue()
    assert "1 of 2 files" in screen.getvalue()


def test_without_spaces_characters_are_words() -> None:
    from dltrain.decoding.ctc import decode_greedily
    from dltrain.tasks.speech_recognition import SpeechRecognition

    task = SpeechRecognition({"alphabet": ["<blank>", "a", "b"], "subsampling": 2, "bands": 3})
    scores = torch.tensor([[1, 1, 0, 2, 1]])
    features = 20 * torch.nn.functional.one_hot(scores, 3).float().repeat_interleave(2, 1)

    class Ear(torch.nn.Module):
        def forward(self, features: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return features[:, ::2].log_softmax(2), (frames + 1) // 2

    [found] = task.transcribe(Ear(), features, torch.tensor([10]), decode_greedily)
    assert (found.text, [(word.text, word.first, word.end) for word in found.words]) == (
        "aba", [("a", 0, 4), ("b", 6, 8), ("a", 8, 10)]
    )  # fmt: skip


def test_a_language_model_from_text(tmp_path: Path, run: Path) -> None:
    text, lm = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("a b\nB, c!\n", encoding="utf-8")
    told = good("data", "lm", text, "-", "--order", 2, "-o", lm, stdin="a b d").stdout
    model = estimate_ngrams(["a b", "B, c!", "a b d"], 2)
    assert (
        told == f"{lm}: {len(model.vocabulary)} 1-grams, {len(model.probabilities) - len(model.vocabulary)} 2-grams\n"
    )
    assert read_arpa(lm).probabilities == pytest.approx(model.probabilities, abs=1e-6)
    good("data", "lm", text, "--normalize", "-o", lm)
    assert read_arpa(lm).vocabulary == {"<s>", "</s>", "<unk>", "a", "b", "c"}
    assert read_arpa(lm).order == 3
    text.write_text("A beé Cab\n", encoding="utf-8")
    good("data", "lm", text, "--like", run, "-o", lm)
    assert read_arpa(lm).vocabulary == {"<s>", "</s>", "<unk>", "a", "b", "cab"}
    good("data", "lm", "--like", run, "--order", 1, "-o", lm)
    learned = estimate_ngrams(["d b", "d"], 1)
    assert read_arpa(lm).probabilities == pytest.approx(learned.probabilities, abs=1e-6)


@pytest.mark.slow
def test_text_that_makes_no_language_model(tmp_path: Path, write_settings: Any, settings: dict[str, Any]) -> None:
    lm, text = tmp_path / "lm.arpa", tmp_path / "text.txt"
    text.write_bytes(b"fine\n\xff\n")
    for words, message in (
        ([text], "text.txt, line 2: not UTF-8: byte 0xff"),
        ([tmp_path / "none.txt"], "none.txt: cannot be read (No such file or directory)"),
    ):
        refused = call("data", "lm", *words, "-o", lm)
        assert isinstance(refused.exception, DataError)
        assert message in str(refused.exception)
    refused = call("data", "lm", text, "-o", tmp_path / "none" / "lm.arpa")
    assert isinstance(refused.exception, UsageError)
    assert "there is no folder" in str(refused.exception)
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "images", "-q")
    refused = call("data", "lm", text, "--like", tmp_path / "images", "-o", lm)
    assert isinstance(refused.exception, UsageError)
    assert "its data has no transcripts\nnext: name a run of a speech recogniser" in str(refused.exception)
    refused = call("data", "lm", "-o", lm)
    assert "no text given\nnext: name text files, or a run with --like" in str(refused.exception)
    nameless = train(tmp_path, "{name: tones, names: false}")
    refused = call("data", "lm", "--like", nameless, "-o", lm)
    assert "its data has no training text\nnext: name text files" in str(refused.exception)
    assert not lm.exists()


def test_the_features_are_the_trainings(transcriber: Transcriber) -> None:
    from dltrain.data.speech.log_mel import model_input, rebuild_extractor

    assets = transcriber.assets
    samples = said("ab c")
    raw = rebuild_extractor(assets)(samples).astype(np.float16).astype(np.float32)
    own = {**assets, "normalization": {"over": "utterance"}}
    expected = normalize_features(raw, raw.mean(0), raw.var(0))
    assert torch.equal(model_input(Sound(samples, RATE, 1), own), torch.from_numpy(expected))
