"""AG News and IMDB, on small files of the same formats."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dltrain.data.documents.published import PublishedTexts
from dltrain.data.documents.sets import COLLECTIONS, fetch, verify
from dltrain.data.mirrors import Remote
from dltrain.errors import DataError
from support.mirrors import QuietHandler, serve
from support.published_texts import write_news, write_reviews


def built(root: Path, variant: str, **options: Any) -> PublishedTexts:
    return PublishedTexts(variant, 0, None, root=str(root), download=False, **{"min_count": 1, **options})


def test_a_news_text_is_its_title_and_description(tmp_path: Path) -> None:
    folder = tmp_path / "ag_news_csv"
    folder.mkdir()
    (folder / "train.csv").write_text(
        '"3","Oil, again","Prices \\""rise"", he said\\to 50"\n"4","Chips","Two\\\\three"\n"1","A","b"\n"2","C","d"\n'
    )
    (folder / "test.csv").write_text('"2","Final","1-0"\n')
    dataset = built(tmp_path, "ag_news", validation=0.0)
    assert dataset.show_raw("training", [0, 1]) == [
        {"text": 'Oil, again Prices  "rise", he said to 50', "label": "Business", "from": "train.csv, line 1"},
        {"text": "Chips Two  three", "label": "Sci/Tech", "from": "train.csv, line 2"},
    ]
    assert dataset.show_raw("test", [0])[0]["label"] == "Sports"
    assert set(dataset.fingerprint) == {"train.csv", "test.csv"}


def test_splits_are_the_sets_own_and_a_stratified_share(tmp_path: Path) -> None:
    write_news(tmp_path, training=40, test=8)
    dataset = built(tmp_path, "ag_news", validation=0.1)
    assert [sum(batch.count for batch in stream().epoch(0)) for stream in (dataset.training, dataset.validation)] == [
        36, 4,
    ]  # fmt: skip
    assert sum(batch.count for batch in dataset.test().epoch(0)) == 8
    assert set(dataset.assets["labels"]) == set(COLLECTIONS["ag_news"].labels)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ('"5","a","b"', "line 3: no row of the set; expected are a number from 1 to 4"),
        ('"1","a"', "found 2 fields"),
        ('Class Index,"a","b"', "first 'Class Ind'"),
        ('"1","a","b', "line 3: unexpected end of data"),
    ],
)
def test_a_row_that_is_not_of_the_set_is_named(tmp_path: Path, row: str, fault: str) -> None:
    write_news(tmp_path, training=2, test=2)
    path = tmp_path / "ag_news_csv" / "train.csv"
    path.write_text(path.read_text() + row)
    with pytest.raises(DataError, match=fault):
        built(tmp_path, "ag_news")


def test_reviews_are_read_by_folder_and_unlabelled_ones_left_out(tmp_path: Path) -> None:
    write_reviews(tmp_path / "aclImdb", training=10, test=4)
    dataset = built(tmp_path, "imdb", validation=0.2)
    assert dataset.assets["labels"] == ["neg", "pos"]
    rows = dataset.show_raw("training", range(8))
    assert Counter(row["label"] for row in rows) == {"neg": 4, "pos": 4}
    assert all(f"/{row['label']}/" in row["from"] for row in rows)
    assert sum(batch.count for batch in dataset.test().epoch(0)) == 4
    moved = tmp_path / "elsewhere"
    (tmp_path / "aclImdb").rename(moved)
    assert built(moved, "imdb", validation=0.2).fingerprint["train"] == dataset.fingerprint["train"]


@pytest.mark.parametrize("variant", ["ag_news", "imdb"])
def test_missing_files_are_named_with_the_command_that_fetches_them(tmp_path: Path, variant: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)not found in .*dltrain data fetch {variant}"):
        built(tmp_path, variant)
    assert all(report.fault for report in verify(variant, tmp_path))


def test_the_check_compares_the_number_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_reviews(tmp_path / "aclImdb", training=10, test=4)
    assert "10 texts, expected 25000" in str(verify("imdb", tmp_path)[0].fault)
    monkeypatch.setitem(COLLECTIONS, "imdb", replace(COLLECTIONS["imdb"], rows=(10, 4)))  # type: ignore[arg-type]
    reports = verify("imdb", tmp_path)
    assert [report.fault for report in reports] == [None, None]
    assert "  labels  neg: 5, pos: 5" in reports[0].lines()


class Archive(QuietHandler):
    content = b""

    def answer(self) -> None:
        self.send_head(len(self.content))
        self.wfile.write(self.content)


def test_the_reviews_archive_is_fetched_and_unpacked_without_unlabelled_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reviews(tmp_path / "aclImdb", training=6, test=2)
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "aclImdb", arcname="aclImdb")
    content = (tmp_path / "packed.tar.gz").read_bytes()
    remote = Remote("aclImdb_v1.tar.gz", None, "md5", hashlib.md5(content).hexdigest())
    monkeypatch.setitem(COLLECTIONS, "imdb", replace(COLLECTIONS["imdb"], archive=remote))  # type: ignore[arg-type]
    monkeypatch.setattr(Archive, "content", content)
    with serve(Archive) as address:
        paths = fetch("imdb", tmp_path / "data", [address])
    home = tmp_path / "data" / "aclImdb"
    assert paths == [home / name for name in ("train/neg", "train/pos", "test/neg", "test/pos")]
    assert sorted(path.name for path in home.iterdir()) == ["test", "train"]
    assert sorted(path.name for path in (home / "train").iterdir()) == ["neg", "pos"]
    assert built(tmp_path / "data", "imdb").assets["words"] == built(tmp_path, "imdb").assets["words"]
