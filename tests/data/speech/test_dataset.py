"""Spoken corpora as data sets: what is left out and why, splits, caches, the sample, and the commands."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dltrain.data.cache import Cache
from dltrain.data.progress import Progress
from dltrain.data.speech import archive as speech_archive
from dltrain.data.speech import clips as spoken_clips
from dltrain.data.speech.archive import fetch
from dltrain.data.speech.check import find_clip_faults, verify
from dltrain.data.speech.clips import ClipFault
from dltrain.data.speech.log_mel import model_input
from dltrain.data.speech.options import LogMel, SpeechAugmentation
from dltrain.data.speech.sample import SAMPLE, list_voices, make_spoken_sample
from dltrain.data.speech.sound import decode_sound
from dltrain.data.speech.statistics import pool_moments
from dltrain.data.splits import hold_out_speakers
from dltrain.errors import DataError, UsageError
from support.speech import built, names, rewrite, run, speechlike, write_locale

soundfile = pytest.importorskip("soundfile")

REAL = os.environ.get("DLTRAIN_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locale(tmp_path_factory.mktemp("release"))


@pytest.fixture
def root(release: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(release, tmp_path / "root")
    return tmp_path / "root"


def test_a_release_becomes_batches(root: Path) -> None:
    dataset = built(root)
    assert (dataset.name, dataset.notice) == ("common_voice", None)
    assert json.loads(json.dumps(dataset.assets)) == {
        "dataset": "common_voice",
        "alphabet": ["<blank>", " ", *"dehlortw"],
        "subsampling": 4,
        "sample_rate_hz": 16000,
        "features": vars(LogMel()),
        "bands": 80,
        "normalization": {"over": "utterance"},
        "text": {"spaces": True},
        "pace": pytest.approx(11.0556, abs=1e-4),
    }
    batches = list(dataset.training().epoch(0))
    assert sum(len(batch.clips) for batch in batches) == 20
    alphabet = dataset.assets["alphabet"]
    written = {"".join(alphabet[i] for i in row if i >= 0) for batch in batches for row in batch.targets.tolist()}
    assert written == {"hello world", "hello two world"} == set(dataset.transcripts())
    assert len(dataset.transcripts()) == 20
    assert [len(names(loader)) for loader in (dataset.validation(), dataset.test())] == [4, 4]


def test_the_locale_may_lie_in_three_places(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data" / "common_voice")
    assert built(root).fingerprint == built(root / "en").fingerprint == built(tmp_path / "data").fingerprint


def test_a_model_gets_what_it_learned_from(root: Path) -> None:
    """The way of a single file, with the assets alone, gives the batch's own numbers."""
    dataset = built(root, features=LogMel(bands=40))
    batch = next(dataset.validation().epoch(0))
    clip = dataset.validation().source.spoken.clips[int(batch.clips[1])]
    alone = model_input(decode_sound(clip.path.read_bytes()), json.loads(json.dumps(dataset.assets)))
    assert torch.equal(batch.features[1, : int(batch.frames[1])], alone)


def test_building_reads_no_test_clip(root: Path) -> None:
    shutil.rmtree(root / "en" / "clips", ignore_errors=False)
    (root / "en" / "clips").mkdir()
    fresh = write_locale(root.parent / "fresh")
    for clip in (fresh / "en" / "clips").glob("[td][re]*_*.wav"):
        shutil.copy(clip, root / "en" / "clips" / clip.name)
    for clip in (root / "en" / "clips").glob("test_*"):
        clip.unlink()
    (root / "en" / "test.tsv").write_text("nonsense")
    dataset = built(root)
    assert set(dataset.fingerprint) == {"train.tsv", "dev.tsv", "clips of train.tsv", "clips of dev.tsv"}
    with pytest.raises(DataError, match=r"test.tsv: no column 'path'"):
        dataset.test()


def test_the_fingerprint_is_of_tables_and_of_contents(root: Path) -> None:
    before = built(root).fingerprint
    folder = root / "en"
    listed = "".join(
        f"dev_{number}.wav {hashlib.sha256((folder / 'clips' / f'dev_{number}.wav').read_bytes()).hexdigest()}\n"
        for number in range(4)
    )
    assert before["clips of dev.tsv"] == hashlib.sha256(listed.encode()).hexdigest()
    assert before["dev.tsv"] == hashlib.sha256((folder / "dev.tsv").read_bytes()).hexdigest()
    soundfile.write(folder / "clips" / "dev_0.wav", speechlike(0.6, seed=99), 16000)
    after = built(root).fingerprint
    assert {name for name in before if before[name] != after[name]} == {"clips of dev.tsv"}


def test_with_a_checkpoints_assets_nothing_is_learned(root: Path, tmp_path: Path) -> None:
    assets = dict(built(root, features=LogMel(bands=20), subsampling=2).assets)
    shutil.rmtree(root / "en" / "clips")
    again = built(root, assets=assets)
    assert again.assets == assets
    assert again.fingerprint == {}
    built(tmp_path / "nowhere", assets=assets)
    with pytest.raises(DataError, match="no Common Voice release"):
        built(tmp_path / "nowhere", assets=assets).test()


# What is wrong with clips ------------------------------------------------------------------------------------------


def break_clips(folder: Path) -> dict[str, str]:
    """Every fault once, on the clips of train.tsv: what is to be said of each."""
    clips = folder / "clips"
    whole = (clips / "train_0.wav").read_bytes()
    (clips / "train_0.wav").write_bytes(whole[: len(whole) // 2])
    (clips / "train_1.wav").write_bytes(b"")
    (clips / "train_2.wav").write_text("These are words, not sound.")
    soundfile.write(clips / "train_3.wav", numpy.zeros(16000), 16000)
    broken = speechlike(1.0)
    broken[7] = numpy.nan
    soundfile.write(clips / "train_4.wav", broken, 16000, "FLOAT")
    soundfile.write(clips / "train_5.wav", numpy.zeros(600 * 8000, numpy.int16), 8000)
    (clips / "train_6.wav").unlink()
    rows = (folder / "train.tsv").read_text().splitlines()
    rows[8] = "train-2\ttrain_7.wav\t ?! \ten"
    rows[9] = "train-3\ttrain_8.wav\tone\ttab too many\ten"
    rows[10] = f"train-4\ttrain_9.wav\t{'ab' * 20}\ten"
    rows[11] = f"train-0\ttrain_10.wav\t{'aa' * 9}\ten"
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    return {
        "train_0.wav": "damaged or cut short: it decodes to 0.35 s, its header promises 0.70 s",
        "train_1.wav": "the file is empty (0 bytes)",
        "train_2.wav": "not sound that can be read (Format not recognised)",
        "train_3.wav": "silent: its loudest sample is 0, digital silence",
        "train_4.wav": "1 of its 16000 samples are NaN or infinite",
        "train_6.wav": "no such file",
        "train_7.wav": "no transcript: nothing is left of ' ?! '",
        "train_8.wav": "line 10 of train.tsv has 5 columns, its first line 4 (a tab within a field?)",
        "train_9.wav": "its 40 characters need 40 output frames, but 116 frames at subsampling 4 give 29",
        "train_10.wav": "its 18 characters and 17 blanks between equal neighbours need 35 output frames, "
        "but 121 frames at subsampling 4 give 31",
    }


def test_training_leaves_out_exactly_what_the_check_names(root: Path, tmp_path: Path) -> None:
    expected = break_clips(root / "en")
    listed = tmp_path / "bad.tsv"
    train, dev, test, validated = verify("common_voice", root, output=listed)
    assert {name: reason for name, _, reason in train.bad} == expected
    assert (train.clips, train.usable, dev.fault, test.fault) == (20, 9, None, None)
    unheard = {name for name, _, _ in validated.bad}  # validated.tsv's own lines are as they were
    assert unheard == {f"train_{number}.wav" for number in (0, 1, 2, 3, 4, 6)}
    assert train.left_out["too long"] == 1
    assert train.rates == {16000: 13}  # of those that could be decoded
    rows = [row.split("\t") for row in listed.read_text().splitlines()]
    assert rows[0] == ["manifest", "clip", "kind", "reason"]
    assert {row[1]: row[3] for row in rows[1:] if row[0] == "train.tsv"} == expected
    assert str(train.fault).startswith(f"{root / 'en' / 'train.tsv'}: 10 of 20 clips are bad: train_0.wav: damaged or")
    shown = "\n".join(train.lines())
    assert "train.tsv: NOT FINE" in shown
    assert "clips       20, usable 9" in shown
    assert "and 5 more (--output FILE lists all)" in shown

    dataset = built(root, max_bad_fraction=0.5)
    assert set(names(dataset.training())) == {f"train_{n}.wav" for n in range(20)} - expected.keys() - {"train_5.wav"}
    assert dataset.notice == (
        "training split: 11 of 20 clips are left out: 1 longer than max_seconds 10, 2 unreadable, "
        "2 text too long for CTC, 1 damaged, 1 silent, 1 not finite, 1 missing, 1 empty transcript, 1 bad line "
        f"(train_0.wav: {expected['train_0.wav']}; train_1.wav: {expected['train_1.wav']}; and 8 more)."
    )


def test_too_many_bad_clips_stop_training(root: Path) -> None:
    break_clips(root / "en")
    with pytest.raises(DataError) as caught:
        built(root)
    assert str(caught.value).startswith(
        f"{root / 'en' / 'train.tsv'}: 10 of 20 clips are bad (50.0%; data.max_bad_fraction allows 5.0%): "
    )
    assert "\n  train_1.wav: the file is empty (0 bytes)\n" in str(caught.value)
    assert f"next: run `dltrain data check common_voice --root {root / 'en'}` for all of them" in str(caught.value)


def test_a_split_of_which_nothing_is_left_is_an_error(root: Path) -> None:
    with pytest.raises(DataError, match=r"train.tsv: none of its 20 clips can be used: 20 too long"):
        built(root, max_seconds=0.3)


def test_a_stated_duration_shows_a_cut_clip(root: Path) -> None:
    (root / "en" / "clip_durations.tsv").write_text("clip\tduration[ms]\ntrain_3.wav\t5000\n")
    dataset = built(root)
    assert "train_3.wav: damaged or cut short: it decodes to 0.85 s, its stated length is 5.00 s" in str(dataset.notice)
    assert "clip_durations.tsv" in dataset.fingerprint


def test_any_rate_and_channels_are_one_rate_and_one_channel(root: Path) -> None:
    stereo = numpy.stack((speechlike(0.8, 44100), speechlike(0.8, 44100, 1)), 1)
    soundfile.write(root / "en" / "clips" / "dev_0.wav", stereo, 44100)
    soundfile.write(root / "en" / "clips" / "dev_1.wav", speechlike(0.8, 8000), 8000)
    dataset = built(root)
    assert len(names(dataset.validation())) == 4
    batch = next(dataset.validation().epoch(0))
    lengths = dict(zip(batch.clips.tolist(), batch.frames.tolist(), strict=True))
    assert (lengths[0], lengths[1]) == (81, 81)
    assert verify("common_voice", root)[1].rates == {8000: 1, 16000: 2, 44100: 1}


def test_an_empty_sentence_and_a_faulty_sound_are_told_apart(root: Path) -> None:
    clips = built(root).training().source.spoken.clips[:2]
    survey = spoken_clips.survey_clips(clips, spoken_clips.Preparation(), "clips")
    faults = find_clip_faults([clips[0]._replace(text=""), clips[1]], survey, ["", "fine"], 4)
    assert faults == [ClipFault("empty transcript", "no transcript: the sentence is empty"), None]


# Splits, alphabets, statistics ---------------------------------------------------------------------------------------


def test_validated_clips_are_split_by_speakers_without_the_tests(root: Path) -> None:
    splits = {}
    for seed in (0, 1):
        dataset = built(root, splits="validated", validation=0.2, seed=seed)
        training, validation = (dataset.training(), dataset.validation())
        speakers = [{clip.speaker for clip in loader.source.spoken.clips} for loader in (training, validation)]
        assert not speakers[0] & speakers[1]
        assert not any(speaker.startswith("test") for speaker in speakers[0] | speakers[1])
        assert (len(names(training)), len(names(validation))) in {(19, 5), (20, 4), (21, 3)}
        splits[seed] = sorted(names(validation))
        assert {"validated.tsv", "test.tsv", "clips of validated.tsv"} <= dataset.fingerprint.keys()
        assert len(names(dataset.test())) == 4
    assert splits[0] != splits[1]


def test_validated_clips_of_test_speakers_only_are_an_error(root: Path) -> None:
    shutil.copy(root / "en" / "test.tsv", root / "en" / "validated.tsv")
    with pytest.raises(DataError, match=r"validated.tsv: all its clips are of the test split's speakers"):
        built(root, splits="validated")


def test_speakers_held_out() -> None:
    speakers = [f"speaker {place % 40}" for place in range(1000)]
    kept = hold_out_speakers(speakers, 0.1, 0)
    assert kept.sum() == 100
    assert not set(numpy.array(speakers)[kept]) & set(numpy.array(speakers)[~kept])
    assert not hold_out_speakers(speakers, 0.0, 0).any()
    assert hold_out_speakers(["a"] * 9 + ["b"] * 5, 0.1, 0).sum() == 5  # nobody fits: the one with fewest
    assert not hold_out_speakers(["a"] * 9, 0.1, 0).any()


def test_a_users_own_manifests(root: Path) -> None:
    rows = "".join(f'clips/train_{n}.wav,"Hello, world",{"ab"[n % 2]}\n' for n in range(20))
    (root / "en" / "mine.csv").write_text("path,text,speaker\n" + rows)
    (root / "en" / "other.jsonl").write_text('{"path": "clips/dev_0.wav", "text": "hello"}\n')
    folder = root / "en"
    halves = built(folder, "audio", train="mine.csv", validation=0.5)
    assert [len(names(loader)) for loader in (halves.training(), halves.validation())] == [10, 10]
    assert halves.name == "audio"
    with pytest.raises(DataError, match=r"data.test: names no manifest, so there is no test split"):
        halves.test()
    apart = built(folder, "audio", train="mine.csv", validation="other.jsonl", test="other.jsonl")
    assert [len(names(loader)) for loader in (apart.training(), apart.validation(), apart.test())] == [20, 1, 1]
    whole = built(folder, "audio", train="mine.csv", validation=0.0)
    assert (len(names(whole.training())), len(whole.validation())) == (20, 0)
    rewrite(folder / "mine.csv", lambda text: text.replace(",b\n", ",a\n"))
    with pytest.raises(DataError, match=r"mine.csv: all its clips are of one speaker"):
        built(folder, "audio", train="mine.csv")
    (report,) = verify("audio", folder / "mine.csv")
    assert (report.clips, report.speakers, report.characters["l"]) == (20, 1, 60)
    assert [one.name for one in verify("audio", folder)] == [
        "dev.tsv", "mine.csv", "other.jsonl", "test.tsv", "train.tsv", "validated.tsv"
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"no manifest in it \(.tsv, .csv, .jsonl\)"):
        verify("audio", folder / "clips")


def test_a_given_alphabet_drops_what_it_lacks_and_says_so(root: Path) -> None:
    dataset = built(root, alphabet="helord")
    assert dataset.assets["alphabet"] == ["<blank>", " ", *"dehlor"]
    assert "training split: 40 characters that the alphabet does not have are dropped" in str(dataset.notice)
    assert "('w' 30, 't' 10)" in str(dataset.notice)
    assert built(root, spaces=False).assets["alphabet"][1] == "d"


def test_an_unknown_character_in_validation_is_dropped_and_said(root: Path) -> None:
    rewrite(root / "en" / "dev.tsv", lambda text: text.replace("world", "wörld"))
    dataset = built(root)
    assert dataset.notice == (
        "validation split: 4 characters that the alphabet does not have are dropped from the transcripts ('ö' 4)."
    )


def test_statistics_of_speaker_and_corpus_are_those_of_all_frames_together(root: Path) -> None:
    raw = built(root).training().source.spoken
    frames = {place: raw.features(place) for place in range(20)}
    by_speaker = built(root, normalize="speaker").training().source.spoken
    mine = [place for place, clip in enumerate(raw.clips) if clip.speaker == raw.clips[3].speaker]
    together = numpy.concatenate([frames[place] for place in mine]).astype(numpy.float64)
    numpy.testing.assert_allclose(by_speaker.statistics[3], [together.mean(0), together.var(0)], rtol=1e-4)
    corpus = built(root, normalize="corpus")
    together = numpy.concatenate([frames[place] for place in range(20)]).astype(numpy.float64)
    found = corpus.assets["normalization"]
    numpy.testing.assert_allclose(found["mean"], together.mean(0), rtol=1e-4)
    numpy.testing.assert_allclose(found["variance"], together.var(0), rtol=1e-4)
    validation = built(root, assets=corpus.assets).validation().source.spoken
    numpy.testing.assert_allclose(validation.statistics[0][0], found["mean"], rtol=1e-6)
    assert pool_moments(numpy.array([3]), numpy.ones((1, 2, 4), numpy.float32), ["x"]).shape == (1, 2, 4)


# The cache -----------------------------------------------------------------------------------------------------------


def test_features_are_computed_once(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [batch.features for batch in built(root).training().epoch(1)]
    monkeypatch.setattr(spoken_clips, "examine_clip", lambda *arguments: pytest.fail("examined again"))
    second = [batch.features for batch in built(root, normalize="utterance", batch_size=16).training().epoch(1)]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert {entry.name.split("-")[0] for entry in cache.iterdir()} == {"clips", "speech"}
    with pytest.raises(pytest.fail.Exception, match="examined again"):
        built(root, features=LogMel(bands=79))


def test_without_the_cache_the_numbers_are_the_same(root: Path, cache: Path) -> None:
    kept, fresh = built(root), built(root, precompute=False)
    for one, other in zip(kept.training().epoch(3), fresh.training().epoch(3), strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.targets, other.targets)
    assert sum(path.name == "features.f16" for path in cache.rglob("*")) == 2  # of `kept` alone
    (root / "en" / "clips" / "train_0.wav").unlink()
    with pytest.raises(DataError, match=r"train_0.wav: was fine when training began, but now: no such file"):
        list(fresh.training().epoch(0))


def test_workers_and_augmentation_change_no_order(root: Path) -> None:
    augment = SpeechAugmentation(time_masks=1, frequency_masks=1, tempo=[0.9, 1.1], noise=0.5, gain_db=3.0)
    plain, threaded = (built(root, augment=augment, batch_size=3, workers=workers) for workers in (0, 2))
    for one, other in zip(plain.training().epoch(2), threaded.training().epoch(2), strict=True):
        assert torch.equal(one.features, other.features)


def test_batches_by_seconds(root: Path) -> None:
    dataset = built(root, batch_seconds=4.0, max_seconds=3.0)
    for batch in dataset.training().epoch(0):
        assert batch.features.shape[0] * batch.features.shape[1] <= 400
    assert all(b.features.shape[0] * b.features.shape[1] <= 400 for b in dataset.validation().epoch(0))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("audio", {}, "data.train: not given"),
        ("audio", {"train": "a.csv", "sample": True}, "data.sample: true: the sample stands in for common_voice only"),
        ("audio", {"train": "a.csv", "when_missing": "sample"}, "data.when_missing: sample: the sample stands in"),
        ("common_voice", {"train": "a.csv"}, "common_voice has tables of its own, chosen by data.splits"),
        (
            "common_voice",
            {"batch_seconds": 5.0},
            "5 is too little for one clip of max_seconds 10; allowed is 11",
        ),
        ("common_voice", {"augment": SpeechAugmentation(noise_snr_db=(9.0, 3.0))}, r"\[9.0, 3.0\]; allowed are two"),
        ("common_voice", {"augment": SpeechAugmentation(speed=[0.9], tempo=[1.1])}, "speed and tempo were both given"),
        ("common_voice", {"augment": SpeechAugmentation(warp=(1.2, 0.8))}, r"warp: \[1.2, 0.8\]; allowed are two"),
        ("common_voice", {"features": LogMel(hop_ms=0.01)}, "less than one sample"),
    ],
)
def test_options_that_do_not_go_together(root: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        built(root, name, **options)


def test_a_missing_corpus_says_where_to_get_it(tmp_path: Path) -> None:
    write_locale(tmp_path / "there", {"train": 1})
    (tmp_path / "there" / "en").rename(tmp_path / "there" / "fr")
    with pytest.raises(DataError) as caught:
        built(tmp_path / "there")
    for part in ("available locales: fr", "https://commonvoice.mozilla.org/datasets", "--archive FILE.tar.gz"):
        assert part in str(caught.value)


# The sample ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_sample_stands_in_and_says_so(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("espeakng_loader")
    dataset = built(tmp_path / "nowhere", when_missing="sample", features=LogMel(bands=20))
    assert (
        dataset.name
        == dataset.assets["dataset"]
        == SAMPLE.name
        == "synthetic digits sample (espeak-ng, not Common Voice)"
    )
    assert "NOT COMMON VOICE: this uses the synthetic digits sample" in str(dataset.notice)
    assert "because the files are missing" in str(dataset.notice)
    parts = [loader.source.spoken for loader in (dataset.training(), dataset.validation(), dataset.test())]
    assert [len(part) for part in parts] == [480, 60, 60]
    speakers = [{clip.speaker for clip in part.clips} for part in parts]
    assert [len(part) for part in speakers] == [12, 3, 3]
    assert len(set.union(*speakers)) == 18
    assert {word for clip in parts[2].clips for word in clip.text.split()} == {
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
    }  # fmt: skip
    again = built(tmp_path / "nowhere", assets=dataset.assets)
    assert again.name == SAMPLE.name
    assert "as in this model's training" in str(again.notice)
    (entry,) = cache.glob("spoken-digits-*")
    elsewhere = make_spoken_sample(Cache(tmp_path / "elsewhere", 1e9))
    files = [file for file in entry.iterdir() if file.name != "manifest.json"]
    assert len(files) == 603
    assert all(file.read_bytes() == (elsewhere.path / file.name).read_bytes() for file in files)  # the same each time
    assert "as requested" in str(built(tmp_path / "nowhere", sample=True, features=LogMel(bands=20)).notice)


def test_no_voice_is_in_two_splits() -> None:
    every = [voice.name for part in list_voices().values() for voice in part]
    assert len(every) == len(set(every)) == 18


def test_without_the_synthesizer_the_sample_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dltrain.data.speech.sample.PACKAGE", "no-such-package")
    with pytest.raises(UsageError, match=r"spoken by no-such-package, which is not installed. Install it .*\[audio\]"):
        built(tmp_path, sample=True)


def test_a_synthesizer_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("dltrain.data.speech.sample.sys.executable", shutil.which("false"))
    with pytest.raises(DataError, match=r"could not be made: no message. Use the real corpus"):
        built(tmp_path, sample=True)


# Commands ------------------------------------------------------------------------------------------------------------


def test_the_check_command(root: Path, tmp_path: Path) -> None:
    fine = run("check", "common_voice", "--root", root)
    assert fine.exit_code == 0
    assert fine.stdout.count(": ok") == 4
    assert "rates       16000 Hz: 20" in fine.stdout
    break_clips(root / "en")
    result = run("check", "common_voice", "--root", root, "--json", "--output", tmp_path / "bad.tsv")
    assert isinstance(result.exception, DataError)
    report = json.loads(result.stdout)
    assert (report["ok"], report["files"][0]["left_out"]["unreadable"]) == (False, 2)
    assert len((tmp_path / "bad.tsv").read_text().splitlines()) == 1 + 10 + 6
    loose = run("check", "common_voice", "--root", root, "--subsampling", 2, "--max-seconds", 700, "--json")
    assert {name for name, _, _ in json.loads(loose.stdout)["files"][0]["bad"]} == {
        *(f"train_{number}.wav" for number in (0, 1, 2, 3, 4, 5, 6, 7, 8))
    }


@pytest.mark.parametrize(
    ("words", "option"),
    [(("check", "mnist", "--locale", "de"), "--locale"), (("fetch", "ptb", "--archive", "x"), "--archive")],
)
def test_settings_of_speech_are_for_speech(words: tuple[str, ...], option: str) -> None:
    result = run(*words)
    assert isinstance(result.exception, UsageError)
    assert f"{option}: not for {words[1]}; allowed is to leave it out" in str(result.exception)


def test_fetch_explains_that_the_corpus_is_given_on_request(tmp_path: Path) -> None:
    result = run("fetch", "common_voice", "--root", tmp_path)
    assert isinstance(result.exception, UsageError)
    assert "Mozilla distributes Common Voice on request" in str(result.exception)
    assert f"dltrain data fetch common_voice --root {tmp_path} --archive FILE.tar.gz" in str(result.exception)


def archive(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def test_an_archive_is_unpacked_to_where_training_looks(release: Path, tmp_path: Path) -> None:
    packed = tmp_path / "cv-corpus-99.0-en.tar.gz"
    with tarfile.open(packed, "w:gz") as file:
        file.add(release / "en", "cv-corpus-99.0/en")
    result = run("fetch", "common_voice", "--root", tmp_path / "data", "--archive", packed)
    assert result.stdout == f"{tmp_path / 'data' / 'common_voice' / 'en'}\n"
    assert built(tmp_path / "data").fingerprint == built(release).fingerprint
    assert [path.name for path in (tmp_path / "data" / "common_voice").iterdir()] == ["en"]
    with pytest.raises(DataError, match=r"common_voice/en: exists already; nothing was unpacked"):
        fetch("common_voice", tmp_path / "data", packed)


def write_archive(path: Path, *tables: str) -> Path:
    """An archive with these tables, and a clip for each."""
    return archive(path, {name: b"" for table in tables for name in (table, f"{Path(table).parent}/clips/a.mp3")})


def test_all_locales_of_an_archive_appear_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = write_archive(tmp_path / "a.tar.gz", "cv/de/train.tsv", "cv/fr/validated.tsv")
    there = tmp_path / "data" / "common_voice" / "fr"
    there.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", lambda *files: pytest.fail("unpacked") if "fr" in files[1].name else None)
        with pytest.raises(DataError, match=r"common_voice/fr: exists already; nothing was unpacked"):
            fetch("common_voice", tmp_path / "data", packed)
    assert list(there.parent.iterdir()) == [there]
    there.rmdir()
    assert fetch("common_voice", tmp_path / "data", packed) == [there.parent / "de", there]


def test_a_locale_that_appears_meanwhile_is_seen_before_any_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = write_archive(tmp_path / "a.tar.gz", "cv/de/train.tsv", "cv/fr/train.tsv")
    there = tmp_path / "data" / "common_voice" / "fr"
    found = speech_archive._find_locales
    monkeypatch.setattr(speech_archive, "_find_locales", lambda *arguments: there.mkdir() or found(*arguments))
    with pytest.raises(DataError, match=r"common_voice/fr: exists already; nothing was unpacked"):
        fetch("common_voice", tmp_path / "data", packed)
    assert list(there.parent.iterdir()) == [there]


def test_what_fails_at_the_last_moment_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = write_archive(tmp_path / "a.tar.gz", "cv/de/train.tsv", "cv/fr/train.tsv")
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target.name == "fr":
            raise OSError(28, "No space left on device", str(target))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(DataError, match=r"fr: No space left on device; nothing was unpacked"):
            fetch("common_voice", tmp_path / "data", packed)
    assert list((tmp_path / "data" / "common_voice").iterdir()) == []


def test_a_folder_in_a_locale_is_a_part_of_it(tmp_path: Path) -> None:
    for number, tables in enumerate((("fr/train.tsv", "fr/old/train.tsv"), ("fr/old/train.tsv", "fr/train.tsv"))):
        root = tmp_path / str(number)
        (moved,) = fetch("common_voice", root, write_archive(tmp_path / "a.tar.gz", *tables))
        assert moved == root / "common_voice" / "fr"
        assert (moved / "old" / "train.tsv").exists()
    packed = write_archive(tmp_path / "a.tar.gz", "one/fr/train.tsv", "two/fr/train.tsv")
    with pytest.raises(DataError, match=r"a.tar.gz: fr is in it in several folders; nothing was unpacked"):
        fetch("common_voice", tmp_path / "data", packed)


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"cv/en/../../../x": b""}, r"cv/en/../../../x leads out of its folder; allowed are files and folders"),
        ({"/tmp/x": b""}, "/tmp/x leads out of its folder"),
        ({"x": special("cv/en/link", tarfile.SYMTYPE)}, "cv/en/link is a link or a device"),
        ({"x": special("cv/en/hard", tarfile.LNKTYPE)}, "cv/en/hard is a link or a device"),
        ({"x": special("cv/en/null", tarfile.CHRTYPE)}, "cv/en/null is a link or a device"),
        ({"cv/en/notes.txt": b"", "train.tsv": b""}, "no folder LOCALE with train.tsv"),
        ({"cv/en/notes.txt": b""}, "not a Common Voice archive; nothing was unpacked"),
    ],
)
def test_an_archive_with_anything_else_is_refused(tmp_path: Path, members: dict[str, Any], message: str) -> None:
    packed = archive(tmp_path / "a.tar.gz", {"cv/en/clips/a.mp3": b"", **members})
    with pytest.raises(DataError, match=message):
        fetch("common_voice", tmp_path / "data", packed)
    assert list((tmp_path / "data" / "common_voice").iterdir()) == []


def test_an_archive_that_is_damaged_or_missing_is_refused(release: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.tar.gz"
    with tarfile.open(packed, "w:gz") as file:
        file.add(release / "en", "cv/en")
    content = packed.read_bytes()
    for damaged in (content[: len(content) // 2], b"no archive"):
        packed.write_bytes(damaged)
        with pytest.raises(
            DataError, match=r"a.tar.gz: not a whole .tar or .tar.gz archive \(.+\); nothing was unpacked"
        ):
            fetch("common_voice", tmp_path / "data", packed)
    with pytest.raises(DataError, match=r"gone.tar.gz: No such file or directory; nothing was unpacked"):
        fetch("common_voice", tmp_path / "data", tmp_path / "gone.tar.gz")
    with tarfile.open(packed, "w") as file:
        for _ in range(2):
            file.addfile(tarfile.TarInfo("cv/en/train.tsv"), io.BytesIO())
    with pytest.raises(DataError, match=r"cv/en/train.tsv is in it twice"):
        fetch("common_voice", tmp_path / "data", packed)
    assert list((tmp_path / "data" / "common_voice").iterdir()) == []


# Progress ------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_when_short_and_tells_when_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("dltrain.data.progress.time.perf_counter", lambda: now[0])
    quiet, lines, terminal = io.StringIO(), io.StringIO(), Terminal()
    for out, seconds in ((quiet, 0.01), (lines, 10.0), (terminal, 10.0)):
        with Progress("features of train.tsv", 10, out) as progress:
            for _ in range(10):
                now[0] += seconds
                progress.advance()
    assert quiet.getvalue() == ""
    assert lines.getvalue().splitlines() == [
        "features of train.tsv: 1 of 10, 90 s left",
        "features of train.tsv: 4 of 10, 60 s left",
        "features of train.tsv: 7 of 10, 30 s left",
        "features of train.tsv: 10 of 10, 0 s left",
    ]
    assert "features of train.tsv" in terminal.getvalue()
    assert "10/10" in terminal.getvalue()


# Real data -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="DLTRAIN_DATA does not name the folder with common_voice_digits")
def test_real_digits() -> None:
    dataset = built(Path(str(REAL)) / "common_voice_digits", subsampling=2)
    assert dataset.notice is None
    parts = [dataset.training(), dataset.validation(), dataset.test()]
    assert [len(names(part)) for part in parts] == [2000, 500, 500]
    assert "".join(dataset.assets["alphabet"][1:]) == " efghinorstuvwxz"
    batch = next(parts[0].epoch(0))
    assert torch.isfinite(batch.features).all()
