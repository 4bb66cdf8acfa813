"""Penn Treebank and the user's own text: what is read, when, as what, and every fault before training."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dltrain.batch import NO_TARGET
from dltrain.data import text_files
from dltrain.data.text import dataset as text_module
from dltrain.data.text import penn_treebank, topics
from dltrain.data.text.files import TextFiles
from dltrain.data.text.passages import Passages
from dltrain.data.text.penn_treebank import PennTreebank
from dltrain.data.text.vocabulary import Vocabulary
from dltrain.errors import DataError, UsageError
from dltrain.stream import Loader

REAL = os.environ.get("DLTRAIN_DATA")
TRAIN = " the cat sat \n the dog sat on the <unk> \n a cat N \n" * 10
VALID = " the bird sat \n"
TEST = " a dog \n the end \n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "ptb"
    folder.mkdir(parents=True)
    (folder / "ptb.train.txt").write_text(TRAIN)
    (folder / "ptb.valid.txt.gz").write_bytes(gzip.compress(VALID.encode()))
    (folder / "ptb.test.txt").write_text(TEST)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "cache"))


def ptb(root: Path, assets: Any = None, **options: Any) -> PennTreebank:
    return PennTreebank("ptb", 0, assets, root=str(root), **{"batch_size": 2, "sequence_length": 5, **options})


def own(root: Path, assets: Any = None, **options: Any) -> TextFiles:
    return TextFiles("text", 0, assets, root=str(root), **{"batch_size": 1, "sequence_length": 2, **options})


def targets(stream: Loader[Passages]) -> list[int]:
    """The targets that count, column by column."""
    batches = list(stream.epoch(0))
    if not batches or batches[0].continues:
        columns = torch.cat([batch.targets for batch in batches]).T if batches else torch.empty(0, dtype=torch.int64)
    else:
        columns = torch.cat([batch.targets.T.flatten() for batch in batches])
    return columns[columns != NO_TARGET].tolist()


def words(dataset: PennTreebank | TextFiles, stream: Loader[Passages]) -> str:
    return Vocabulary(dataset.assets).decode(targets(stream))


def lines(text: str) -> str:
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines())


@pytest.mark.parametrize("place", ["ptb", "."])
def test_penn_treebank_as_its_files_have_it(root: Path, place: str) -> None:
    dataset = ptb(root if place == "ptb" else root / "ptb", batch_size=1)
    assert dataset.name == "ptb"
    assert dataset.notice is None
    assert dataset.assets == {
        "dataset": "ptb",
        "unit": "word",
        "words": ["<eos>", "the", "cat", "sat", "<unk>", "N", "a", "dog", "on"],
        "lowercase": True,
        "number": "N",
        "end": "<eos>",
        "unknown": "<unk>",
    }
    assert words(dataset, dataset.training()) == lines(TRAIN)
    assert words(dataset, dataset.validation()) == "the <unk> sat\n"
    assert dataset.fingerprint == {
        "ptb.train.txt": hashlib.sha256(TRAIN.encode()).hexdigest(),
        "ptb.valid.txt": hashlib.sha256(VALID.encode()).hexdigest(),
    }
    assert words(dataset, dataset.test()) == "a dog\nthe <unk>\n"
    assert dataset.fingerprint["ptb.test.txt"] == hashlib.sha256(TEST.encode()).hexdigest()


def test_training_never_opens_the_test_file(root: Path) -> None:
    (root / "ptb" / "ptb.test.txt").write_bytes(b"\xff")
    dataset = ptb(root, download=False)
    assert len(dataset.training()) + len(dataset.validation()) > 0
    with pytest.raises(DataError, match=r"ptb.test.txt, line 1: not UTF-8"):
        dataset.test()
    (root / "ptb" / "ptb.test.txt").unlink()
    assert len(ptb(root, download=False).training())


def test_evaluation_takes_the_checkpoints_vocabulary_and_needs_its_own_files_only(root: Path) -> None:
    assets = ptb(root).assets
    (root / "ptb" / "ptb.train.txt").unlink()
    dataset = ptb(root, assets, download=False)
    assert dataset.assets is assets
    assert dataset.fingerprint == {}
    assert words(dataset, dataset.test()) == "a dog\nthe <unk>\n"
    assert list(dataset.fingerprint) == ["ptb.test.txt"]


def test_missing_files_come_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ptb(tmp_path, download=False)
    for part in (
        f"ptb.train.txt, ptb.valid.txt (plain or .gz): not found in {tmp_path / 'ptb'}, {tmp_path}\n",
        "next: run `dltrain data fetch ptb`, or put the set's three files",
        f"into {tmp_path / 'ptb'}, or set data.root",
        "data.when_missing=sample, or --sample",
    ):
        assert part in str(caught.value)


def test_files_are_fetched_unless_they_are_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def fetch(name: str, root: Path) -> None:
        asked.append(root)
        (root / "ptb" / "ptb.train.txt").write_text(TRAIN)

    monkeypatch.setattr(penn_treebank, "fetch", fetch)
    ptb(root)
    assert asked == []
    (root / "ptb" / "ptb.train.txt").unlink()
    dataset = ptb(root, batch_size=1)
    assert words(dataset, dataset.training()) == lines(TRAIN)
    assert asked == [root]


@pytest.mark.slow
def test_the_sample_stands_in_and_says_so(tmp_path: Path) -> None:
    dataset = ptb(tmp_path, download=False, when_missing="sample")
    version = platform.python_version()
    assert dataset.name == f"Python topics sample (Python {version}, not Penn Treebank)" == dataset.assets["dataset"]
    assert dataset.notice is not None
    assert dataset.notice.startswith("NOT PENN TREEBANK: this uses the Python topics sample")
    assert "about Penn Treebank.\nptb.train.txt" in dataset.notice
    assert len(dataset.training()) > 1000
    assert len(dataset.validation()) > 0
    assert list(dataset.fingerprint) == ["topics-train", "topics-valid"]
    again = ptb(tmp_path, dataset.assets, download=False)
    assert len(again.test()) > 0
    assert again.notice is not None
    assert "as in this model's training." in again.notice
    older = ptb(tmp_path, {**dataset.assets, "dataset": "Python topics sample (Python 3.1, not Penn Treebank)"})
    assert older.notice is not None
    assert "as in this model's training on another version: Python topics sample (Python 3.1" in older.notice


def test_the_sample_may_be_asked_for(root: Path) -> None:
    dataset = ptb(root, sample=True)
    assert dataset.name == topics.SAMPLE.name
    assert "documentation, as requested. Its results say nothing about Penn Treebank." in str(dataset.notice)


def test_the_sample_is_prose_in_penn_treebanks_form() -> None:
    texts = topics.make_sample_texts()
    assert texts == topics.make_sample_texts()
    every = [line for text in texts.values() for line in text.splitlines()]
    assert len(set(every)) > 0.97 * len(every)  # sentences that differ in rare words only are the same in the end
    for text in texts.values():
        assert set("".join(text.replace("<unk>", ""))) <= set("abcdefghijklmnopqrstuvwxyz'-N \n")
        assert text.endswith("\n")
    sizes = {split: len(text.split()) for split, text in texts.items()}
    assert 15_000 < sizes["train"] < 60_000
    assert all(0.05 < sizes[split] / sum(sizes.values()) < 0.2 for split in ("valid", "test"))


def test_without_pythons_documentation_there_is_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UsageError, match=r"the Python topics sample comes with Python's documentation, which"):
        ptb(tmp_path, sample=True)


NUMBERED = "".join(f"w{number % 7} x\n" for number in range(100))


@pytest.mark.parametrize("unit", ["word", "character"])
def test_one_file_is_split_by_lines(tmp_path: Path, unit: str) -> None:
    (tmp_path / "a.txt").write_text(NUMBERED)
    dataset = own(tmp_path, training=["a.txt"], test=0.05, unit=unit)
    assert dataset.assets["unit"] == unit
    every = NUMBERED.splitlines(keepends=True)
    assert words(dataset, dataset.training()) == "".join(every[:85])
    assert words(dataset, dataset.validation()) == "".join(every[85:95])
    assert words(dataset, dataset.test()) == "".join(every[95:])
    assert dataset.fingerprint == {"a.txt": hashlib.sha256(NUMBERED.encode()).hexdigest()}
    assert dataset.assets["unknown"] == ("<unk>" if unit == "word" else None)


def test_the_split_runs_over_all_training_files(tmp_path: Path) -> None:
    every = NUMBERED.splitlines(keepends=True)
    for name, part in (("a", every[:20]), ("b", every[20:24]), ("c", every[24:])):
        (tmp_path / f"{name}.txt").write_text("".join(part).rstrip("\n"))
    (tmp_path / "test.txt").write_text("x w1")
    files = ["a.txt", "b.txt", "c.txt"]
    dataset = own(tmp_path, training=files, validation=0.78, test=["test.txt"], min_count=1)
    assert words(dataset, dataset.training()) == "".join(every[:22])
    assert words(dataset, dataset.validation()) == "".join(every[22:])
    assert list(dataset.fingerprint) == files
    assert words(dataset, dataset.test()) == "x w1\n"


def test_no_validation_and_no_test(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(NUMBERED)
    dataset = own(tmp_path, training=["a.txt"], validation=0.0)
    assert len(dataset.validation()) == 0
    assert len(own(tmp_path, training=["a.txt"], validation=0.0, form="sentences").validation()) == 0
    assert words(dataset, dataset.training()) == NUMBERED
    with pytest.raises(UsageError, match=r"data.test is 0: there is no test split\nnext: train with data.test as a"):
        dataset.test()
    with pytest.raises(UsageError, match=r"no test split\nnext: evaluate with --split validation, or train with data"):
        own(tmp_path, training=["a.txt"]).test()


def test_only_the_lines_trained_on_make_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b\n" * 9 + "a new\n")
    dataset = own(tmp_path, training=["a.txt"])
    assert dataset.assets["words"] == ["<eos>", "a", "b", "<unk>"]
    assert words(dataset, dataset.validation()) == "a <unk>\n"


def test_lower_case_and_a_smaller_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The THE the\nB b ÄB\n" * 2)
    dataset = own(tmp_path, training=["a.txt"], validation=0.0, lowercase=True, max_vocabulary=4)
    assert dataset.assets["words"] == ["the", "<eos>", "b", "<unk>"]
    assert dataset.assets["lowercase"] is True
    assert words(dataset, dataset.training()) == "the the the\nb b <unk>\n" * 2
    assert Vocabulary(dataset.assets).encode("THE x") == ([0, 3], ["x"])


@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_text_without_a_newline_at_its_end_has_the_same_tokens(tmp_path: Path, unit: str) -> None:
    (tmp_path / "with.txt").write_text("a b\nb a\n")
    (tmp_path / "without.txt").write_text("a b\nb a")
    found = [own(tmp_path, training=[name], validation=0.0, unit=unit) for name in ("with.txt", "without.txt")]
    assert targets(found[0].training()) == targets(found[1].training())


def test_sentences_in_any_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(NUMBERED)
    dataset = own(tmp_path, training=["a.txt"], form="sentences", batch_size=8)
    assert sorted(words(dataset, dataset.training()).splitlines()) == sorted(NUMBERED.splitlines()[:90])
    assert words(dataset, dataset.validation()) == "".join(NUMBERED.splitlines(keepends=True)[90:])
    assert dataset.validation().source._batch_size == 10  # type: ignore[attr-defined]


def test_text_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(NUMBERED)
    first = own(tmp_path, training=["a.txt"])
    expected = targets(first.training()), targets(first.validation())
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")  # what counts is the content

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("text was read again")

    monkeypatch.setattr("dltrain.data.text.encoding.read_text_pieces", refuse)
    again = own(tmp_path, training=["b.txt"])
    assert again.assets == first.assets
    assert (targets(again.training()), targets(again.validation())) == expected
    evaluated = own(tmp_path, first.assets, training=["b.txt"])
    assert targets(evaluated.validation()) == expected[1]
    with pytest.raises(AssertionError, match="read again"):
        own(tmp_path, training=["b.txt"], min_count=1)


@pytest.mark.slow
def test_text_never_lies_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = numpy.random.default_rng(0)
    vocabulary = numpy.array([f"word{number}" for number in range(100)])
    with (tmp_path / "a.txt").open("w") as file:
        for _ in range(50):
            file.write(" ".join(vocabulary[draw.integers(0, 100, 10_000)]) + "\n")
    size = (tmp_path / "a.txt").stat().st_size
    monkeypatch.setattr(text_files, "PIECE_BYTES", 1 << 13)
    own(tmp_path, training=["a.txt"])  # what is imported and kept once
    tracemalloc.start()
    try:
        dataset = own(tmp_path, training=["a.txt"], min_count=1, batch_size=20, sequence_length=35)
        count = sum(batch.count for batch in dataset.training().epoch(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 45 * 10_001 // 20 * 20
    assert size > 3_000_000
    assert peak < 2_000_000


def test_too_little_text_for_the_columns_is_told_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b\n" * 10)
    dataset = own(tmp_path, training=["a.txt"], validation=0.0, batch_size=4, sequence_length=8)
    with pytest.raises(DataError) as caught:
        dataset.training()
    assert str(caught.value) == (
        f"{tmp_path / 'a.txt'}: 30 tokens to train on, but one window of 8 tokens in each of 4 columns takes 32.\n"
        "next: lower data.batch_size or data.sequence_length, or give more text"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a.txt: the file is empty \(0 bytes\)"),
        (b"\n \n\n", r"a.txt: no word in it, only line ends"),
        (b"a b\nc \xfc\n", r"a.txt, line 2: not UTF-8: byte 0xfc at offset 6"),
        (b"\x1f\x8b\x08\0damaged", r"a.txt: damaged gzip file after 0 unpacked bytes"),
    ],
)
def test_files_at_fault_are_named_before_training(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        own(tmp_path, training=["a.txt"], validation=0.0)


def test_a_word_that_validation_alone_has_is_named_where_nothing_stands_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b\n")
    (tmp_path / "b.txt").write_text("a\nb c\n")
    dataset = own(tmp_path, training=["a.txt"], validation=["b.txt"], min_count=1)
    with pytest.raises(DataError, match=r"b.txt, line 2: the word 'c' is not in the vocabulary of 3 words"):
        dataset.validation()
    characters = own(tmp_path, training=["a.txt"], validation=["b.txt"], unit="character")
    with pytest.raises(DataError, match=r"b.txt, line 2: the character 'c' is not in the vocabulary of 4 characters"):
        characters.validation()


def test_missing_files_of_ones_own_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(NUMBERED)
    with pytest.raises(DataError) as caught:
        own(tmp_path, training=["a.txt", "b.txt", "c.txt"])
    assert f"b.txt, c.txt (plain or .gz): not found in {tmp_path}\nnext: correct the name" in str(caught.value)


def test_shares_that_leave_no_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a a\nb b\n")
    with pytest.raises(DataError, match=r"a.txt: data.validation=0.5 and data.test=0.5 of 2 lines leave none to train"):
        own(tmp_path, training=["a.txt"], validation=0.5, test=0.5)
    dataset = own(tmp_path, training=["a.txt"], validation=0.1)
    with pytest.raises(DataError, match=r"a.txt: data.validation=0.1 of 2 lines is no line; allowed are 0, a larger"):
        dataset.validation()


def test_a_line_that_is_no_sentence_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE_BYTES", 64)
    monkeypatch.setattr(text_module, "LONGEST_SENTENCE", 300)
    (tmp_path / "a.txt").write_text("a b\n" * 30)
    (tmp_path / "b.txt").write_text("b\nab b\n" + "a b " * 150 + "a\na b\n")
    options = {"training": ["a.txt", "b.txt"], "validation": 0.0, "min_count": 1}
    dataset = own(tmp_path, form="sentences", **options)
    with pytest.raises(DataError, match=r"b.txt, line 3: 302 tokens in one line; a sentence has at most 300. This is"):
        dataset.training()
    assert len(own(tmp_path, **options).training()) > 0


def test_random_lengths_go_with_a_stream(root: Path) -> None:
    with pytest.raises(UsageError, match=r"data.random_lengths: true needs data.form: stream"):
        ptb(root, form="sentences", random_lengths=True)
    rates = {batch.rate for batch in ptb(root, random_lengths=True).training().epoch(0)}
    assert len(rates) > 1


@pytest.mark.skipif(REAL is None, reason="DLTRAIN_DATA does not name the folder with ptb")
def test_the_real_penn_treebank(tmp_path: Path) -> None:
    def opened() -> tuple[PennTreebank, Loader[Passages], Loader[Passages], float]:
        start = time.monotonic()
        dataset = PennTreebank("ptb", 0, None, root=str(REAL), download=False)
        streams = dataset.training(), dataset.validation()
        return dataset, *streams, time.monotonic() - start

    opened()
    dataset, training, validation, seconds = opened()
    assert len(dataset.assets["words"]) == 10_000
    assert dataset.assets["words"][:4] == ["the", "<unk>", "<eos>", "N"]
    assert sum(batch.count for batch in training.epoch(0)) == 929_589 // 20 * 20
    assert sum(batch.count for batch in validation.epoch(0)) == 73_760
    assert sum(batch.count for batch in dataset.test().epoch(0)) == 82_430
    assert seconds < 2
