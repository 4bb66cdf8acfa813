"""Which data files are read, and the state that each is in by then: a later process sees by it what may have changed.

The state of a file are its size, its inode, and the times of the last change of its content and of its properties. The
last one cannot be set back: a file that was edited in place, its size and modification time restored, differs in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ABSENT = "absent"


@dataclass
class ReadFiles:
    """The states of files and of whole folders, by absolute path."""

    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)

    def are_unchanged(self) -> bool:
        """Whether each file and each folder is in the state that was noted."""
        return all(describe_file(Path(path)) == state for path, state in self.files.items()) and all(
            describe_folder(Path(path)) == state for path, state in self.folders.items()
        )

    def find_changed(self) -> list[str]:
        """The paths that are there, in another state than the one that was noted."""
        states = [(path, state, describe_file(Path(path))) for path, state in self.files.items()]
        states += [(path, state, describe_folder(Path(path))) for path, state in self.folders.items()]
        return [path for path, before, now in states if now not in (before, _ABSENT)]

    def to_plain(self) -> dict[str, Any]:
        return {"files": self.files, "folders": self.folders}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ReadFiles:
        return cls(dict(plain["files"]), dict(plain["folders"]))


_collecting: list[ReadFiles] = []


@contextmanager
def collect_read_files() -> Iterator[ReadFiles]:
    """Note the files that are read as data within this context."""
    read = ReadFiles()
    _collecting.append(read)
    try:
        yield read
    finally:
        _collecting.remove(read)


def note_file(path: Path) -> None:
    """Note that a file is about to be read as data."""
    for read in _collecting:
        read.files.setdefault(str(path.absolute()), describe_file(path))


def note_folder(folder: Path) -> None:
    """Note that the files of a folder, and the names in it, are about to be read as data."""
    for read in _collecting:
        read.folders.setdefault(str(folder.absolute()), describe_folder(folder))


def note_folders_of(paths: Sequence[Path]) -> None:
    """Note the folders of many files, and the folders between these and the one that contains all of them."""
    if not _collecting or not paths:
        return
    found = {path.absolute().parent for path in paths}
    top = Path(os.path.commonpath(found))
    for folder in sorted({above for one in found for above in (one, *one.parents) if above.is_relative_to(top)}):
        note_folder(folder)


def describe_file(path: Path) -> str:
    """The state of a file, as a text."""
    try:
        status = path.stat()
    except OSError:
        return _ABSENT
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def describe_folder(folder: Path) -> str:
    """A hash of the names in a folder, and of the states of its files; what is in its folders does not count."""
    digest = hashlib.sha256()
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                state = "folder" if entry.is_dir() else describe_file(Path(entry.path))
                digest.update(f"{entry.name}\0{state}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        return _ABSENT
    return digest.hexdigest()
