"""What images, texts and clips report about themselves: splits, classes, losses; and examples by their content."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from dltrain.data.contents import count_shared, hash_fields
from dltrain.data.documents.dataset import LabelledTexts
from dltrain.data.images.folder import ImageFolder
from dltrain.data.images.mnist import IDXImages
from dltrain.data.text.files import TextFiles
from dltrain.dataset import DataSummary, Identifies, Summarizes
from support.images import write_images


def read(dataset: Any) -> DataSummary:
    """What the dataset says once its training and validation streams have been made, as `fit` asks."""
    dataset.training()
    dataset.validation()
    assert isinstance(dataset, Summarizes)
    assert isinstance(dataset, Identifies)
    return dataset.summarize()


def sizes(summary: DataSummary) -> dict[str, int | None]:
    return {split.name: split.examples for split in summary.splits}


def write_folders(root: Path, splits: dict[str, int], size: int = 8) -> Path:
    draw = numpy.random.default_rng(0)
    for split, count in splits.items():
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(0, 256, (size, size, 3), numpy.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def test_rows_are_hashed_with_their_borders() -> None:
    hashes = hash_fields([("a", "bc"), ("ab", "c"), ("a", "bc")])
    assert hashes.dtype == numpy.uint64
    assert hashes[0] == hashes[2] != hashes[1]
    assert count_shared(hashes, hashes[1:2]) == 1


def test_idx_images(tmp_path: Path) -> None:
    dataset = IDXImages("mnist", 0, None, root=str(write_images(tmp_path)), validation=0.1, download=False)
    summary = read(dataset)
    assert sizes(summary) == {"training": 180, "validation": 20, "test": None}
    assert summary.splits[0].classes == dict.fromkeys("0123456789", 18)
    assert summary.splits[2].files[0].endswith("t10k-images-idx3-ubyte")
    assert len(set(dataset.identities("training").tolist()) | set(dataset.identities("validation").tolist())) == 200
    dataset.test()
    assert sizes(dataset.summarize())["test"] == 60


def test_the_identity_of_a_picture_survives_another_name_and_size(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "a", {"train": 10, "test": 3})
    other = tmp_path / "b"
    shutil.copytree(root, other)
    (other / "train" / "cat" / "0.png").rename(other / "train" / "cat" / "renamed.png")
    options: dict[str, Any] = {"validation": 0.2, "cache": str(tmp_path / "cache")}
    first = ImageFolder("image_folder", 0, None, root=str(root), height=8, width=8, **options)
    second = ImageFolder("image_folder", 1, None, root=str(other), height=4, width=4, **options)
    summary = read(first)
    assert (sizes(summary), summary.unit) == ({"training": 16, "validation": 4, "test": None}, "pictures")
    assert summary.facts["test folder, not opened yet"] == "6 pictures"
    assert summary.splits[1].classes == {"cat": 2, "dog": 2}
    everything = [set(numpy.concatenate([one.identities(s) for s in ("training", "validation")]).tolist())
                  for one in (first, second)]  # fmt: skip
    assert everything[0] == everything[1]
    assert len(everything[0]) == 20
    assert count_shared(first.identities("test"), first.identities("training")) == 0


def test_labelled_texts(tmp_path: Path) -> None:
    rows = [f"word{number} " * (1 + number % 5) + f",{'pn'[number % 2]}" for number in range(40)]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    random.Random(0).shuffle(rows)
    (tmp_path / "u.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    options: dict[str, Any] = {"root": str(tmp_path), "max_tokens": 4, "min_count": 1}
    dataset = LabelledTexts("labelled_text", 0, None, training=["t.csv"], test=["u.csv"], **options)
    summary = read(dataset)
    assert sizes(summary) == {"training": 36, "validation": 4, "test": None}
    assert summary.splits[0].classes == {"n": 18, "p": 18}
    assert summary.splits[2].files == ("u.csv",)
    cut = [one for one in summary.treatments if one.option == "data.max_tokens"]
    assert sum(one.count for one in cut) == 8
    assert sum(one.total for one in cut) == 40
    both = numpy.concatenate((dataset.identities("training"), dataset.identities("validation")))
    assert sorted(dataset.identities("test").tolist()) == sorted(both.tolist())
    assert sizes(dataset.summarize())["test"] == 40


def test_text_for_language_models(tmp_path: Path) -> None:
    lines = [f"line {number} of a text" for number in range(100)]
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
    dataset = TextFiles("text", 0, None, training=["t.txt"], root=str(tmp_path), test=0.1, batch_size=2,
                        min_count=2, cache=str(tmp_path / "cache"))  # fmt: skip
    summary = read(dataset)
    assert sizes(summary) == {"training": 80, "validation": 10, "test": 10}
    unknown = {one.what: (one.count, one.total) for one in summary.treatments}
    assert unknown == {"training words that are or become <unk>": (80, 480),
                       "validation words that are or become <unk>": (10, 60)}  # fmt: skip
    before = dataset.identities("test")
    (tmp_path / "t.txt").write_text("\n".join(["new", *lines]) + "\n")
    moved = TextFiles("text", 0, None, training=["t.txt"], root=str(tmp_path), test=0.1, batch_size=2,
                      min_count=2, cache=str(tmp_path / "cache"))  # fmt: skip
    assert count_shared(moved.identities("test"), before) == 10


def test_clips(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    from support.speech import built, rewrite, write_locale

    root = write_locale(tmp_path)
    dataset = built(root, cache=str(tmp_path / "cache"), max_seconds=1.5)
    summary = read(dataset)
    assert (sizes(summary), summary.unit) == ({"training": 17, "validation": 4, "test": None}, "clips")
    assert [(one.what, one.count, one.total, one.option) for one in summary.treatments] == [
        ("training clips left out: longer than 1.5 s", 3, 20, "data.max_seconds")
    ]
    assert "5 speakers" in summary.facts["training sound"]
    assert "16000 Hz: 17" in summary.facts["training sample rates"]
    before = dataset.identities("training")
    assert len(set(before.tolist())) == 17
    rewrite(root / "en" / "train.tsv", lambda text: "\n".join([*text.splitlines()[:1], *text.splitlines()[:0:-1]]))
    again = built(root, cache=str(tmp_path / "cache"), max_seconds=1.5)
    assert again.identities("training").tolist() == before[::-1].tolist()
