"""`dltrain data check` of speech looks at what training looks at, and tables are looked for before sound is read."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dltrain.data.speech import check as speech_check
from dltrain.data.speech import clips as spoken_clips
from dltrain.data.speech import dataset as speech_dataset
from dltrain.data.speech.check import verify
from dltrain.data.speech.options import LogMel
from dltrain.errors import FIND_DATA, ConfigError, DataError, UsageError
from support.speech import built, names, rewrite, run, speechlike, write_locale

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locale(tmp_path_factory.mktemp("released"))


@pytest.fixture
def root(release: Path, tmp_path: Path) -> Path:
    shutil.copytree(release, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_clips, "decode_sound", lambda *arguments: pytest.fail("a clip was decoded"))
    monkeypatch.setattr("dltrain.data.progress._hash_file", lambda *arguments: pytest.fail("a clip was read"))


def config(folder: Path, root: Path, **options: Any) -> Path:
    data = {"name": "common_voice", "root": str(root), **options}
    path = folder / "speech.yaml"
    path.write_text(json.dumps({"task": "speech_recognition", "data": data, "model": "crnn"}))
    return path


def add_clip(folder: Path, table: str, name: str, seconds: float, sentence: str, speaker: str = "another") -> None:
    soundfile.write(folder / "clips" / name, speechlike(seconds, seed=7), 16000)
    rewrite(folder / table, lambda text: f"{text}{speaker}\t{name}\t{sentence}\ten\n")


def checked(*words: object) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(run("check", *words, "--json").stdout)["files"]
    return files


def bad(report: dict[str, Any]) -> set[str]:
    return {name for name, _, _ in report["bad"]}


# A config's splits ---------------------------------------------------------------------------------------------------


def test_a_configs_splits_are_fine(root: Path, tmp_path: Path) -> None:
    result = run("check", config(tmp_path, root))
    assert result.exit_code == 0
    assert re.findall(r"^(\w+): ok$", result.stdout, re.M) == ["training", "validation", "test"]
    assert f"training: ok\n  path        {root / 'en' / 'train.tsv'}\n  clips       20, usable 20" in result.stdout


def test_a_configs_validated_clips_are_those_that_are_trained_on(root: Path, tmp_path: Path) -> None:
    add_clip(root / "en", "validated.tsv", "lost.wav", 1.0, "One")
    (root / "en" / "clips" / "lost.wav").unlink()
    add_clip(root / "en", "validated.tsv", "tested.wav", 1.0, "One", "test-0")  # by a speaker of the test split
    (root / "en" / "clips" / "tested.wav").unlink()
    path = config(tmp_path, root, splits="validated", validation=0.2)
    training, validation, test = checked(path)
    assert bad(training) | bad(validation) == {"lost.wav"}
    assert [one["name"] for one in (training, validation, test)] == ["training", "validation", "test"]
    dataset = built(root, splits="validated", validation=0.2, max_bad_fraction=1.0)
    assert training["usable"] == len(names(dataset.training()))
    assert validation["usable"] == len(names(dataset.validation()))
    result = run("check", path, "-o", tmp_path / "bad.tsv")
    assert isinstance(result.exception, DataError)
    assert str(result.exception).startswith(f"{path}: 1 of 3 splits are not fine:\n")
    assert f": {root / 'en' / 'validated.tsv'}: 1 of " in str(result.exception)
    assert (tmp_path / "bad.tsv").read_text().splitlines()[1:] == ["validated.tsv\tlost.wav\tmissing\tno such file"]
    assert [bad(one) for one in checked(path, "--set", "data.splits=release", "--set", "data.validation=null")] == [
        set(), set(), set()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "seconds", "sentence", "kind"),
    [
        ({"subsampling": 2}, 1.0, "ab" * 15, None),
        ({"subsampling": 2, "features": {"hop_ms": 20}}, 1.0, "ab" * 15, "text too long for CTC"),  # 51 frames give 26
        ({"spaces": True}, 1.0, "a b " * 8, "text too long for CTC"),
        ({"spaces": False}, 1.0, "a b " * 8, None),
        ({"alphabet": "dehlortw"}, 1.0, "aba", "empty transcript"),
        ({"subsampling": 4}, 1.0, "ab" * 20, "text too long for CTC"),
        ({"max_seconds": 0.3}, 0.2, "ab" * 20, "text too long for CTC"),
    ],
)
def test_a_configs_options_decide_which_clips_are_bad(
    root: Path, tmp_path: Path, options: dict[str, Any], seconds: float, sentence: str, kind: str | None
) -> None:
    add_clip(root / "en", "train.tsv", "odd.wav", seconds, sentence)
    training, _, _ = checked(config(tmp_path, root, **options))
    assert [(name, found) for name, found, _ in training["bad"]] == [("odd.wav", kind)][: kind is not None]
    if "max_seconds" in options:
        assert training["left_out"]["too long"] == 20
        return
    if "features" in options:
        options = {**options, "features": LogMel(**options["features"])}
    assert ("odd.wav" in names(built(root, **options).training())) == (kind is None)


def test_the_learned_alphabet_decides_in_validation(root: Path, tmp_path: Path) -> None:
    add_clip(root / "en", "dev.tsv", "odd.wav", 1.0, "zzz")
    training, validation, _ = checked(config(tmp_path, root))
    assert (bad(training), bad(validation), validation["dropped"]) == (set(), {"odd.wav"}, {"z": 3})
    shown = run("check", config(tmp_path, root)).stdout
    assert "  dropped     'z' 3, which the alphabet does not have\n" in shown
    assert bad(checked("common_voice", "--root", root)[1]) == set()


def test_a_split_of_which_nothing_is_left_does_not_hide_the_others(root: Path, tmp_path: Path) -> None:
    for number in range(20):
        (root / "en" / "clips" / f"train_{number}.wav").unlink()
    training, validation, test = checked(config(tmp_path, root))
    assert (training["usable"], len(training["bad"])) == (0, 20)
    assert (validation["usable"], test["usable"], validation["fault"]) == (4, 4, None)


def test_a_faulty_table_is_a_fault_of_its_split(root: Path, tmp_path: Path) -> None:
    (root / "en" / "dev.tsv").write_text("nonsense\n")
    training, validation, _ = checked(config(tmp_path, root))
    assert (training["fault"], training["usable"]) == (None, 20)
    assert "dev.tsv: no column 'path' and no column 'sentence'" in validation["fault"]


def test_a_configs_own_manifests(root: Path, tmp_path: Path) -> None:
    rows = "".join(f"clips/train_{n}.wav,hello,{n}\n" for n in range(20))
    (root / "en" / "mine.csv").write_text("path,text,speaker\n" + rows + "clips/gone.wav,hello,21\n")
    path = config(tmp_path, root / "en", name="audio", train="mine.csv")
    training, validation = checked(path)
    assert training["clips"] + validation["clips"] == 21
    assert bad(training) | bad(validation) == {"clips/gone.wav"}
    assert checked(path, "--set", "data.test=mine.csv")[2]["clips"] == 21


def test_a_run_directory_is_checked_by_its_config(root: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    config(tmp_path, root).rename(tmp_path / "run" / "config.yaml")
    assert [one["clips"] for one in checked(tmp_path / "run")] == [20, 4, 4]


def test_a_check_keeps_features_for_training(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked(config(tmp_path, root))
    monkeypatch.setattr(spoken_clips, "examine_clip", lambda *arguments: pytest.fail("examined again"))
    built(root)


def test_a_check_tells_that_a_sample_stands_in(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, split in enumerate(("train", "dev", "test"), 1):
        rows = "".join(f"{release}/en/clips/train_{n}.wav\thello\n" for n in range(number))
        (tmp_path / f"{split}.tsv").write_text(f"path\ttext\n{rows}")
    monkeypatch.setattr(speech_dataset, "make_spoken_sample", lambda cache: SimpleNamespace(path=tmp_path))
    result = run("check", config(tmp_path, tmp_path / "nowhere", when_missing="sample"))
    assert result.exit_code == 0
    assert "warning: NOT COMMON VOICE" in result.stderr
    assert re.findall(r"clips       (\d)", result.stdout) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--root", "x"), r"--root: not with a config, which says it\nnext: --set data.root=x"),
        (("--max-seconds", 5), r"--max-seconds: not with a config, which says it\nnext: --set data.max_seconds=5.0"),
        (("--set", "data.alphabet=a!"), r"dataset 'common_voice': alphabet: '!' never occurs in a transcript"),
        (
            ("--set", "data={name: mnist, root: here}", "--set", "task=image_classification", "--set", "model=mlp"),
            r"its data is mnist; a config is checked where that is one of common_voice, audio, "
            r"librispeech, speech_commands\nnext: dltrain data check mnist --root here",
        ),
    ],
)
def test_what_a_config_check_refuses(root: Path, tmp_path: Path, words: tuple[object, ...], message: str) -> None:
    result = run("check", config(tmp_path, root), *words)
    assert isinstance(result.exception, UsageError)
    assert re.search(message, str(result.exception)), result.exception


def test_a_config_that_is_not_there_and_settings_of_a_name(tmp_path: Path) -> None:
    assert isinstance(run("check", tmp_path / "gone.yaml").exception, ConfigError)
    result = run("check", "common_voice", "--set", "seed=1")
    assert "--set: not for common_voice; allowed is a config in its place." in str(result.exception)


# Tables by their name ------------------------------------------------------------------------------------------------


def test_validated_is_checked_too_and_no_clip_is_decoded_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_clip(root / "en", "validated.tsv", "lost.wav", 1.0, "One")
    (root / "en" / "clips" / "lost.wav").unlink()
    seen: list[str] = []
    examined = spoken_clips.examine_clip
    monkeypatch.setattr(
        spoken_clips, "examine_clip", lambda clip, *more: seen.append(clip.name) or examined(clip, *more)
    )
    reports = verify("common_voice", root)
    assert [(one.name, one.clips, len(one.bad)) for one in reports] == [
        ("train.tsv", 20, 0), ("dev.tsv", 4, 0), ("test.tsv", 4, 0), ("validated.tsv", 29, 1)
    ]  # fmt: skip
    assert sorted(seen) == sorted({*seen})
    assert len(seen) == 29
    assert reports[0].hours == pytest.approx(sum(0.7 + 0.05 * n for n in range(20)) / 3600)


def test_a_table_without_a_usable_clip_is_not_fine(root: Path) -> None:
    result = run("check", "common_voice", "--root", root, "--max-seconds", 0.3)
    assert isinstance(result.exception, DataError)
    assert "train.tsv: none of its 20 clips can be used: 20 too long" in str(result.exception)
    assert "train.tsv: NOT FINE" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--subsampling", 3), "--subsampling: found 3; allowed is one of 2, 4."),
        (("--max-seconds", 0), "--max-seconds: found 0.0; allowed is number > 0."),
        (("--max-seconds", "nan"), "--max-seconds: found nan; allowed is number > 0."),
    ],
)
def test_settings_have_the_configs_bounds(root: Path, words: tuple[object, ...], message: str) -> None:
    result = run("check", "common_voice", "--root", root, *words)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == message


def test_where_the_list_goes_is_looked_at_first(root: Path, tmp_path: Path, no_sound: None) -> None:
    for output, message in ((tmp_path / "gone" / "bad.tsv", "there is no folder"), (tmp_path, "this is a folder")):
        result = run("check", "common_voice", "--root", root, "-o", output)
        assert isinstance(result.exception, UsageError)
        assert f"--output {output}: {message}" in str(result.exception)
        assert "\nnext: " in str(result.exception)
    with pytest.raises(
        DataError,
        match=r"cannot be written \(Is a directory\)\nnext: free some disk space, or name another output file",
    ):
        speech_check.write_bad_clips([], tmp_path)


def test_a_manifest_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope.tsv: no such file or folder\nnext: name a manifest, or a folder"):
        verify("audio", tmp_path / "nope.tsv")


# What training says --------------------------------------------------------------------------------------------------


def advised(error: pytest.ExceptionInfo[DataError]) -> str:
    found = re.search(r"\nnext: run `(.+?)`", str(error.value))
    assert found is not None
    return found[1]


def test_training_names_the_command_that_shows_its_faults(root: Path, tmp_path: Path) -> None:
    (root / "en").rename(root / "my fr")
    for number in range(5):
        add_clip(root / "my fr", "train.tsv", f"odd_{number}.wav", 1.0, "ab" * 20)
        add_clip(root / "my fr", "dev.tsv", f"long_{number}.wav", 3.0, "One")
    with pytest.raises(DataError) as caught:
        built(root, locale="my fr", max_seconds=2.0)
    command = advised(caught)
    assert command == (f"dltrain data check common_voice --root '{root / 'my fr'}' --locale 'my fr' --max-seconds 2.0")
    result = run(*shlex.split(command)[2:])
    assert "train.tsv: 5 of 25 clips are bad" in str(caught.value)
    assert "train.tsv: 5 of 25 clips are bad" in str(result.exception)
    add_clip(root / "my fr", "train.tsv", "odd_5.wav", 1.0, "ab" * 26)
    with pytest.raises(DataError) as caught:
        built(root, locale="my fr", max_seconds=2.0, subsampling=2, max_bad_fraction=0.0)
    assert "--subsampling 2" in advised(caught)
    mine = root / "my fr" / "mine.csv"
    mine.write_text("path,text\nclips/gone.wav,One\nclips/train_0.wav,One\n")
    with pytest.raises(DataError) as caught:
        built(root / "my fr", "audio", train="mine.csv", validation="mine.csv")
    assert advised(caught) == f"dltrain data check audio --root '{mine}'"


@pytest.mark.parametrize(
    "options", [{"splits": "validated"}, {"features": LogMel(hop_ms=20)}, {"spaces": False}, {"alphabet": "helo"}]
)
def test_where_the_commands_options_do_not_do_training_names_the_config(root: Path, options: dict[str, Any]) -> None:
    for number in range(20):
        (root / "en" / "clips" / f"train_{number}.wav").unlink()
    with pytest.raises(DataError) as caught:
        built(root, **options)
    assert "run `dltrain data check CONFIG` (the config with its --set flags, or the run's directory) for all" in str(
        caught.value
    )


def test_nothing_left_says_what_to_do(root: Path) -> None:
    with pytest.raises(DataError) as caught:
        built(root, max_seconds=0.3)
    assert advised(caught) == f"dltrain data check common_voice --root {root / 'en'} --max-seconds 0.3"


# Tables that are missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "split"), [("train", "training"), ("dev", "validation")])
def test_a_missing_table_stops_before_any_sound_is_read(root: Path, no_sound: None, table: str, split: str) -> None:
    path = root / "en" / f"{table}.tsv"
    path.unlink()
    for missing in ("error", "sample"):
        with pytest.raises(DataError) as caught:
            built(root, when_missing=missing)
        assert str(caught.value) == (
            f"{path}: no such file; with data.splits: release it has the {split} split\n"
            "next: add it, or set data.splits: validated, which trains and validates on validated.tsv"
        )


def test_without_validated_there_is_nothing_to_turn_to(root: Path, no_sound: None) -> None:
    (root / "en" / "validated.tsv").unlink()
    with pytest.raises(DataError, match=r"validated.tsv: no such file; .*\nnext: add it, or set data.splits: release$"):
        built(root, splits="validated")
    (root / "en" / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"\nnext: add it$"):
        built(root)


def test_without_a_test_table_training_goes_and_says_so(root: Path, tmp_path: Path) -> None:
    path = root / "en" / "test.tsv"
    path.unlink()
    dataset = built(root)
    said = f"{path}: no such file; with data.splits: release it has the test split\nnext: add it"
    assert dataset.notice == f"This can be trained, but not tested yet: {said}"
    with pytest.raises(DataError) as caught:
        built(root, assets=dataset.assets).test()
    assert str(caught.value) == said
    assert [one["fault"] for one in checked(config(tmp_path, root))] == [None, None, f"test: {said}"]


def test_a_missing_manifest_of_ones_own_stops_before_any_sound_is_read(root: Path, no_sound: None) -> None:
    (root / "en" / "mine.csv").write_text("path,text\nclips/train_0.wav,hello\n")
    for options, option in (
        ({"train": "gone.csv"}, "train"),
        ({"train": "mine.csv", "validation": "gone.csv"}, "validation"),
    ):
        with pytest.raises(DataError) as caught:
            built(root / "en", "audio", **options)
        assert str(caught.value) == (f"data.{option}: gone.csv: no such file in {root / 'en'}\nnext: {FIND_DATA}")


@pytest.mark.parametrize(
    ("table", "content", "options", "message"),
    [
        ("dev.tsv", "nonsense\n", {}, r"dev.tsv: no column 'path'"),
        ("mine.csv", "path,text\nclips/train_0.wav,hello\n", {"name": "audio", "train": "mine.csv"}, "one speaker"),
    ],
)
def test_a_faulty_table_stops_before_any_sound_is_read(
    root: Path, no_sound: None, table: str, content: str, options: dict[str, Any], message: str
) -> None:
    (root / "en" / table).write_text(content)
    with pytest.raises(DataError, match=message):
        built(root / "en", **options)


# Clips and options ---------------------------------------------------------------------------------------------------


def test_a_cut_ogg_file_shows_only_where_its_length_is_stated(root: Path) -> None:
    folder = root / "en"
    soundfile.write(folder / "clips" / "cut.ogg", speechlike(3.0), 16000, format="OGG", subtype="VORBIS")
    whole = (folder / "clips" / "cut.ogg").read_bytes()
    (folder / "clips" / "cut.ogg").write_bytes(whole[: len(whole) * 2 // 3])
    rewrite(folder / "train.tsv", lambda text: f"{text}another\tcut.ogg\tOne\ten\n")
    assert "cut.ogg" in names(built(root).training())
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\ncut.ogg\t3000\n")
    train = verify("common_voice", root)[0]
    ((name, kind, reason),) = train.bad
    assert (name, kind) == ("cut.ogg", "damaged")
    assert re.fullmatch(r"damaged or cut short: it decodes to [12]\.\d\d s, its stated length is 3\.00 s", reason)
    assert "cut.ogg" not in names(built(root).training())


def test_validation_is_not_for_the_releases_splits(root: Path) -> None:
    with pytest.raises(UsageError, match=r"data.validation: 0.1 is not used with data.splits: release.*\nnext: leave"):
        built(root, validation=0.1)
    assert len(names(built(root, assets=built(root).assets, validation=0.1).validation())) == 4  # as older runs say
    tenth = [built(root, splits="validated", **options) for options in ({}, {"validation": 0.1})]
    assert names(tenth[0].validation()) == names(tenth[1].validation()) != []
