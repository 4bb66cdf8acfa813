"""Fetching and checking text: `dltrain data fetch ptb`, `dltrain data check ptb|text`."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dltrain.cli.data import app
from dltrain.data.text.sets import TEXT_SETS, PublishedText, Split, fetch
from dltrain.errors import DataError
from support.mirrors import QuietHandler, serve

REAL = os.environ.get("DLTRAIN_DATA")
CONTENTS: dict[Split, bytes] = {"train": b"a b\n<unk> b\n", "valid": b"a\n", "test": b"b a"}
FACTS: dict[Split, tuple[int, int, int]] = {"train": (2, 6, 4), "valid": (1, 2, 2), "test": (1, 3, 3)}
FILES = {
    split: PublishedText(f"ptb.{split}.txt", len(content), hashlib.sha256(content).hexdigest(), *FACTS[split])
    for split, content in CONTENTS.items()
}


class Mirror(QuietHandler):
    def answer(self) -> None:
        _, manner, name = self.path.split("/")
        content = next(CONTENTS[split] for split, file in FILES.items() if file.name == name)
        content = bytes(len(content)) if manner == "wrong" else content
        self.send_head(len(content))
        self.wfile.write(content)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve(Mirror) as address:
        yield address


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, server: str) -> str:
    known = TEXT_SETS["ptb"]._replace(files=FILES, mirrors=(f"{server}/wrong/", f"{server}/good/"))
    monkeypatch.setitem(TEXT_SETS, "ptb", known)  # type: ignore[arg-type]
    return server


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


@pytest.mark.usefixtures("published")
def test_files_are_fetched_from_the_first_mirror_that_gives_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "ptb.valid.txt.gz").write_bytes(b"the user's own")
    result = run("fetch", "ptb", "--root", str(tmp_path))
    assert result.exit_code == 0
    paths = [tmp_path / "ptb" / "ptb.train.txt", tmp_path / "ptb.valid.txt.gz", tmp_path / "ptb" / "ptb.test.txt"]
    assert result.stdout.split() == [str(path) for path in paths]
    assert result.stderr == "ptb.train.txt: 12 bytes\nptb.test.txt: 3 bytes\n"
    assert [path.read_bytes() for path in paths] == [CONTENTS["train"], b"the user's own", CONTENTS["test"]]


def test_a_mirror_that_gives_something_else_is_named(tmp_path: Path, published: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch("ptb", tmp_path, [f"{published}/wrong"])
    zeros = hashlib.sha256(bytes(12)).hexdigest()
    assert "ptb.train.txt: no mirror provides it:" in str(caught.value)
    assert f"wrong/ptb.train.txt: SHA-256 {zeros}, expected {FILES['train'].sha256}" in str(caught.value)
    assert f"put the set's three files (plain or .gz) into {tmp_path / 'ptb'}" in str(caught.value)
    assert "data.when_missing=sample" in str(caught.value)
    assert list((tmp_path / "ptb").iterdir()) == []


@pytest.mark.usefixtures("published")
def test_a_set_as_published_is_fine(tmp_path: Path) -> None:
    for split, content in CONTENTS.items():
        (tmp_path / f"ptb.{split}.txt.gz").write_bytes(gzip.compress(content))
    result = run("check", "ptb", "--root", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.count(": ok") == 3
    for line in (
        f"ptb.train.txt: ok\n  path        {tmp_path / 'ptb.train.txt.gz'}\n",
        "  bytes       12, expected 12\n",
        f"  SHA-256     {FILES['train'].sha256}, expected {FILES['train'].sha256}\n",
        "  lines       2, expected 2\n  tokens      6, expected 6\n  words       4, expected 4\n  <unk>       1\n",
    ):
        assert line in result.stdout


@pytest.mark.usefixtures("published")
def test_each_file_that_is_not_fine_is_named(tmp_path: Path) -> None:
    (tmp_path / "ptb.train.txt").write_bytes(b"a b\n<unk> c\n")
    (tmp_path / "ptb.valid.txt").write_bytes(b"a\xff")
    result = run("check", "ptb", "--root", str(tmp_path), "--json")
    assert isinstance(result.exception, DataError)
    digest = hashlib.sha256(b"a b\n<unk> c\n").hexdigest()
    assert str(result.exception).splitlines() == [
        f"ptb in {tmp_path}: 3 of 3 files are not fine:",
        f"{tmp_path / 'ptb.train.txt'}: SHA-256 {digest}, expected {FILES['train'].sha256}",
        f"{tmp_path / 'ptb.valid.txt'}, line 1: not UTF-8: byte 0xff at offset 1. "
        "Convert the file to UTF-8 (such as with iconv), or give another one.",
        f"ptb.test.txt (plain or .gz): not found in {tmp_path / 'ptb'}, {tmp_path}",
    ]
    report = json.loads(result.stdout)
    assert report["ok"] is False
    expected = {"bytes": 12, "sha256": FILES["train"].sha256, "lines": 2, "tokens": 6, "words": 4}
    assert report["files"][0]["expected"] == expected
    assert report["files"][0]["found"] == {**expected, "sha256": digest, "words": 5, "<unk>": 1}


def test_the_users_own_files_are_described(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x y\nx")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b" \n"))
    (tmp_path / "c.md").write_text("no")
    result = run("check", "text", "--root", str(tmp_path))
    assert str(result.exception).splitlines()[1:] == [f"{tmp_path / 'b.txt.gz'}: no word in it, only line ends"]
    assert "a.txt: ok\n" in result.stdout
    assert "  bytes       5\n" in result.stdout
    assert "  lines       2\n  tokens      5\n  words       3\n" in result.stdout
    assert run("check", "text", "--root", str(tmp_path / "c.md")).stdout.startswith("c.md: ok")
    nothing = run("check", "text", "--root", str(tmp_path / "none")).exception
    assert f"{tmp_path / 'none'}: no *.txt and no *.txt.gz in it" in str(nothing)


def test_published_facts_agree_with_the_papers() -> None:
    files = TEXT_SETS["ptb"].files
    assert [file.tokens for file in files.values()] == [929_589, 73_760, 82_430]
    assert files["train"].words == 10_000


@pytest.mark.skipif(REAL is None, reason="DLTRAIN_DATA does not name the folder with ptb")
def test_the_real_penn_treebank_is_fine() -> None:
    report = json.loads(run("check", "ptb", "--root", str(REAL), "--json").stdout)
    assert report["ok"] is True
