"""Transcripts and sound that do not go together, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile

from dltrain.data.speech.clips import examine_clip
from dltrain.data.speech.dataset import SpokenClips
from dltrain.data.speech.manifests import Clip

RATE = 16000


def write_clips(folder: Path, name: str, texts: list[str], *, stated_rate: int = RATE, offset: float = 0.0) -> None:
    """Write clips of a quarter of a second for each character, and their manifest."""
    draw = numpy.random.default_rng(len(name))
    rows = ["path\ttext\tspeaker"]
    for index, text in enumerate(texts):
        sound = draw.normal(0, 0.1, RATE * len(text) // 4) + offset
        soundfile.write(folder / f"{name}{index}.wav", sound, stated_rate)
        rows.append(f"{name}{index}.wav\t{text}\ts{index}")
    (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")


def build(folder: Path, test: str, assets: Any = None) -> SpokenClips:
    options: dict[str, Any] = {"train": "train.tsv", "validation": 0.2, "test": f"{test}.tsv", "batch_size": 4}
    return SpokenClips("audio", 0, assets, root=str(folder), cache=str(folder / "cache"), subsampling=2, **options)


def notices(folder: Path, test: str) -> list[str]:
    dataset = build(folder, test)
    dataset.test()
    return (dataset.notice or "").splitlines()


TEXTS = ["ab" * (1 + index % 5) for index in range(50)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_clips(tmp_path, "train", TEXTS)
    return tmp_path


def test_clips_of_the_training_clips_kind_raise_no_doubt(folder: Path) -> None:
    write_clips(folder, "test", TEXTS[:20])
    assert notices(folder, "test") == []
    assert build(folder, "test").assets["pace"] == 4


@pytest.mark.parametrize(
    ("stated_rate", "found"),
    [(44100, "11.0 characters a second (median), 4.0 in the training clips; is the sample rate in the files right?"),
     (8000, "2.0 characters a second (median), 4.0 in the training clips; is the sample rate in the files right, or is "
            "there much silence in them?"),
     (22050, None)],
)  # fmt: skip
def test_a_wrong_sample_rate_in_the_files_is_heard_from_the_pace(
    stated_rate: int, found: str | None, folder: Path
) -> None:
    write_clips(folder, "test", TEXTS[:20], stated_rate=stated_rate)
    assert [one for one in notices(folder, "test") if "median" in one] == ([f"test: {found}"] if found else [])


def test_runs_of_earlier_versions_have_no_pace_and_get_none(folder: Path) -> None:
    write_clips(folder, "test", TEXTS[:20], stated_rate=44100)
    former = {name: value for name, value in build(folder, "test").assets.items() if name != "pace"}
    dataset = build(folder, "test", former)
    dataset.training(), dataset.test()
    assert dataset.notice is None
    assert "pace" not in dataset.assets


def test_transcripts_of_the_next_line_are_doubted(folder: Path) -> None:
    lines = (folder / "train.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    draw = numpy.random.default_rng(0).permutation(len(rows))
    moved = ["\t".join((name, rows[other][1], speaker)) for (name, _, speaker), other in zip(rows, draw, strict=True)]
    (folder / "train.tsv").write_text("\n".join([lines[0], *moved]) + "\n")
    [notice] = notices(folder, "train")[:1]
    assert notice.startswith("training: the lengths of transcripts and of clips are unrelated (correlation ")
    assert notice.endswith("; does each line have the transcript of its own clip?")


def test_repeated_clips_are_named(folder: Path) -> None:
    lines = (folder / "train.tsv").read_text().splitlines()
    again = [lines[1], lines[2].replace("abab", "ba"), lines[3]]
    (folder / "test.tsv").write_text("\n".join([*lines[:8], *again]) + "\n")
    assert notices(folder, "test")[:2] == [
        "test: 1 clips are in the table before, with another transcript (train1.wav): remove the wrong ones",
        "test: 3 of 10 clips are repeated (train0.wav, train1.wav and 1 more)",
    ]


def test_marks_in_brackets_are_named(folder: Path) -> None:
    write_clips(folder, "test", [*TEXTS[:8], "[ab] ab", "ab <b>"])
    assert notices(folder, "test") == [
        "test: 2 of 10 transcripts have marks in brackets ([ab], <b>), which are read as words"
    ]


def test_a_constant_offset_is_named(folder: Path) -> None:
    write_clips(folder, "test", TEXTS[:20], offset=0.2)
    assert notices(folder, "test") == [
        "test: 20 of 20 clips have a constant offset, which fills the lowest bands; remove it with a high-pass filter "
        "(test0.wav, test1.wav and 18 more)"
    ]


def test_names_with_backslashes_say_what_to_write(folder: Path) -> None:
    (folder / "clips").mkdir()
    (folder / "train0.wav").rename(folder / "clips" / "a.wav")
    lost = Clip("clips\\a.wav", folder / "clips\\a.wav", "ab", "", 2)
    dataset = build(folder, "test")
    fault = examine_clip(lost, dataset._preparation, lambda samples: samples).fault
    assert fault is not None
    assert fault.reason == "no such file; write / in place of \\"
