"""Published sets of labelled texts: where their files may be, and fetching, reading and checking them."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dltrain.data.cleaning import compose_prose
from dltrain.data.documents.folders import read_class_folders
from dltrain.data.documents.rows import LabelledRow
from dltrain.data.mirrors import Progress, PublishedFiles, Remote
from dltrain.data.packed import fetch_packed
from dltrain.data.text_files import LineSpan, read_text_pieces, scan_file
from dltrain.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DocumentCollection:
    """One published set: `training` and `test` are files or folders, in `folder` under the root, or in the root.

    `needed` are the paths that must be there; `rows` the number of texts of `training` and of `test`. It is published
    as `files`, or as an `archive`.
    """

    folder: str
    training: str
    test: str
    needed: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[int, int]
    mirrors: tuple[str, ...]
    files: Mapping[str, Remote] = field(default_factory=dict)
    archive: Remote | None = None


COLLECTIONS: Mapping[str, DocumentCollection] = {
    "ag_news": DocumentCollection(  # Zhang, Zhao and LeCun 2015, arXiv:1509.01626
        folder="ag_news_csv",
        training="train.csv",
        test="test.csv",
        needed=("train.csv", "test.csv"),
        labels=("World", "Sports", "Business", "Sci/Tech"),
        rows=(120000, 7600),
        mirrors=("https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/",),
        files={
            "train.csv": Remote("train.csv", None, "md5", "b1a00f826fdfbd249f79597b59e1dc12"),
            "test.csv": Remote("test.csv", None, "md5", "d52ea96a97a2d943681189a97654912d"),
        },
    ),
    "imdb": DocumentCollection(  # Maas et al. 2011, "Learning word vectors for sentiment analysis"
        folder="aclImdb",
        training="train",
        test="test",
        needed=("train/neg", "train/pos", "test/neg", "test/pos"),
        labels=("neg", "pos"),
        rows=(25000, 25000),
        mirrors=("https://ai.stanford.edu/~amaas/data/sentiment/",),
        archive=Remote("aclImdb_v1.tar.gz", None, "md5", "7c2ac02c03563afcf9b574c7e56c153a"),
    ),
}

_REVIEW = re.compile(r"(?:\./)?aclImdb/((?:train|test)/(?:neg|pos)/\w+\.txt)")


def locate_collection(name: str, root: Path) -> PublishedFiles:
    known = COLLECTIONS[name]
    return PublishedFiles(
        name=name,
        folders=(root / known.folder, root),
        count="two" if known.files else "four",
        mirrors=known.mirrors,
        of_folders=not known.files,
    )


def fetch(name: str, root: Path, mirrors: Sequence[str] | None = None, progress: Progress | None = None) -> list[Path]:
    """Return the set's files or folders, after fetching what is missing under `root` to ROOT/FOLDER.

    `mirrors` are the published ones unless given. Raises DataError with the answer of each mirror.
    """
    known, files = COLLECTIONS[name], locate_collection(name, root)
    if known.archive is None:
        return files.fetch_missing(known.files, mirrors, progress)
    if files.list_missing(known.needed):
        fetch_packed(files, known.archive, _place_review, mirrors=mirrors, progress=progress)
    return [path for each in known.needed if (path := files.find(each))]


def _place_review(member: str) -> str | None:
    found = _REVIEW.fullmatch(member)
    return found[1] if found else None


def read_collection(name: str, path: Path) -> tuple[list[LabelledRow], str]:
    """Read the texts of a file or folder of the set, and the SHA-256 of its content. Raises DataError."""
    if path.is_dir():
        return read_class_folders(path, COLLECTIONS[name].labels)
    return _read_news(path, COLLECTIONS[name].labels)


def _read_news(path: Path, labels: Sequence[str]) -> tuple[list[LabelledRow], str]:
    """Read rows of a class's number from 1, a title and a description, without a line of names.

    A backslash stands for a line end in them.
    """
    file = scan_file(path)
    content = "".join(piece.text for piece in read_text_pieces(LineSpan(file, 0, file.lines), "character"))
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows = []
    try:
        for number, *texts in filter(None, reader):
            source = f"{path.name}, line {reader.line_num}"
            if number not in map(str, range(1, 1 + len(labels))) or len(texts) != 2:
                raise DataError(
                    f"{path}, line {reader.line_num}: no row of the set; expected are a number from 1 to "
                    f"{len(labels)}, a title and a description; found {1 + len(texts)} fields, first '{number[:9]}'",
                    advice="delete the file and fetch it again",
                )
            text = compose_prose(" ".join(texts).replace("\\", " "))
            rows.append(LabelledRow(text, labels[int(number) - 1], "", source))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", advice="fetch the file again") from None
    return rows, file.sha256


@dataclass
class CollectionReport:
    """Report on a split: texts found and published, those of each label; `fault` is None if nothing is wrong."""

    name: str
    path: str | None = None
    texts_found: int | None = None
    texts_expected: int | None = None
    classes: dict[str, int] = field(default_factory=dict)
    fault: str | None = None

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path    {self.path or 'not found'}"]
        if self.texts_found is not None:
            lines.append(f"  texts   {self.texts_found}, expected {self.texts_expected}")
            lines.append("  labels  " + ", ".join(f"{label}: {count}" for label, count in self.classes.items()))
        return [*lines, f"  fault   {self.fault}"] if self.fault else lines


def verify(name: str, root: Path) -> list[CollectionReport]:
    """Report on both splits; damaged and missing ones are reported, not raised."""
    known, files, reports = COLLECTIONS[name], locate_collection(name, root), []
    for split, expected in zip((known.training, known.test), known.rows, strict=True):
        report, path = CollectionReport(split, texts_expected=expected), files.find(split)
        reports.append(report)
        if path is None:
            report.fault = files.describe_missing([split])
            continue
        report.path = str(path)
        try:
            rows, _ = read_collection(name, path)
        except DataError as error:
            report.fault = str(error)
            continue
        counts = Counter(row.label for row in rows)
        report.texts_found, report.classes = len(rows), {label: counts[label] for label in known.labels}
        if set(report.classes.values()) != {expected // len(known.labels)}:
            report.fault = f"{path}: {len(rows)} texts, expected {expected}, equally many of each label"
    return reports
