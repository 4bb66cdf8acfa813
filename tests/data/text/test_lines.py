"""Texts whose perplexity would say something else: ends of lines, empty lines, marks that are written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dltrain.data.text.files import TextFiles
from dltrain.errors import DataError

PLAIN = "a cat sat\n" * 20


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "cache"))


def opened(folder: Path, test: str, training: str = PLAIN, **options: Any) -> list[str]:
    for name, content in (("train", training), ("test", test)):
        (folder / name).write_bytes(content.encode())
    files = {"training": ["train"], "validation": 0.0, "test": ["test"]}
    dataset = TextFiles("text", 0, None, root=str(folder), batch_size=1, sequence_length=2, **files, **options)
    dataset.training(), dataset.test()
    return (dataset.notice or "").splitlines()


def test_lines_of_other_systems_are_the_same(tmp_path: Path) -> None:
    assert opened(tmp_path, PLAIN) == opened(tmp_path, PLAIN.replace("\n", "\r\n")) == []
    with pytest.raises(
        DataError, match=r"test: its lines end with carriage returns alone, so that it is one line\nnext:"
    ):
        opened(tmp_path, PLAIN.replace("\n", "\r"))


@pytest.mark.parametrize("form", ["stream", "sentences"])
def test_empty_lines_are_counted(form: str, tmp_path: Path) -> None:
    assert opened(tmp_path, PLAIN + "\n\n", form=form) == []
    assert opened(tmp_path, PLAIN.replace("\n", "\n\n"), form=form) == [
        "test: 20 of 40 lines are empty; each is an <eos>, which perplexity counts"
    ]


def test_marks_that_are_written_out_are_named(tmp_path: Path) -> None:
    assert opened(tmp_path, PLAIN.replace("\n", " <eos>\n")) == [
        "test: 20 of its tokens are <eos> written out; each line ends with one anyway, so remove them"
    ]
    marked = "".join(f"<s> {line} </s>\n" for line in PLAIN.splitlines())
    assert opened(tmp_path, marked, training=marked) == [
        "<s>, </s> in the text are read as words, which are easily predicted, so that perplexity is too low; remove "
        "them: each line ends with <eos> anyway"
    ]
    assert opened(tmp_path, marked, training=marked, unit="character") == []
