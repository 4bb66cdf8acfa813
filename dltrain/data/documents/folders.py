"""Labelled texts in files: a folder of text files for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dltrain.data.cleaning import clean_category, compose_prose
from dltrain.data.documents.rows import LabelledRow
from dltrain.data.input_files import is_hidden
from dltrain.data.reading import note_file, note_folder
from dltrain.data.text_files import require_files
from dltrain.errors import DataError


class ClassFolders(NamedTuple):
    """The texts of a folder with the names of their folders as labels, and the SHA-256 of all names and contents."""

    rows: list[LabelledRow]
    sha256: str


def read_class_folders(folder: Path, names: Sequence[str] | None = None) -> ClassFolders:
    """Read FOLDER/CLASS/**.txt, in the order of the names, of all classes or of `names`; hidden files are skipped.

    Raises DataError for a folder without classes, for a class without texts, and for a file that is not UTF-8.
    """
    note_folder(folder)
    classes = sorted(each for each in folder.iterdir() if each.is_dir() and not is_hidden(each.name))
    if names is not None:
        classes = [each for each in classes if each.name in names]
    if not classes:
        raise DataError(
            f"{folder}: no folders in it; needed is one folder of .txt files for each class",
            advice="name another folder",
        )
    rows, digest = [], hashlib.sha256()
    for home in classes:
        note_folder(home)
        files = [each for each in sorted(home.rglob("*.txt")) if each.is_file() and not is_hidden(each.name)]
        if not files:
            raise DataError(f"{home}: no .txt file in it", advice="add some, or remove the folder")
        for file in files:
            content = _read(file)
            name = file.relative_to(folder).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode("utf-8", "surrogateescape"))
            rows.append(LabelledRow(compose_prose(_decode(file, content)), clean_category(home.name), "", str(file)))
    return ClassFolders(rows, digest.hexdigest())


def _read(file: Path) -> bytes:
    note_file(file)
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from None


def _decode(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}",
            advice="convert it to UTF-8",
        ) from None


def require_texts(root: Path, names: Sequence[str]) -> list[Path]:
    """Find files, plain or .gz, and folders relative to `root`. Raises DataError with the files that are missing."""
    paths = {name: root / Path(name).expanduser() for name in names}
    files = [name for name, path in paths.items() if not path.is_dir()]
    found = dict(zip(files, require_files(root, files), strict=True))
    return [found.get(name, path) for name, path in paths.items()]
