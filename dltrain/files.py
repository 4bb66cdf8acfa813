"""Files that are whole or absent, whatever happens in between."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dltrain.temporary import name_temporary


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory and those that it is in, as far as they are missing, so that a power cut leaves them there."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def is_stream(path: Path) -> bool:
    """Whether `path` is there, but no file or folder: a device, a pipe or standard output, which are written into."""
    return path.exists() and (not (path.is_file() or path.is_dir()) or _is_standard_output(path))


def _is_standard_output(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:  # closed
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, then rename: readers see the old file or the new one.

    A link stays, and what it leads to is replaced. Into a device or a pipe the content is written.
    """
    if is_stream(path):
        _write_into(path, content)
        return
    path = path.resolve() if path.is_symlink() else path
    temporary = name_temporary(path)
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def _write_into(path: Path, content: bytes) -> None:
    if not _is_standard_output(path):
        with path.open("wb") as stream:
            stream.write(content)
        return
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "wb") as stream:  # opened by its name, a file would be written from its beginning
        stream.write(content)


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class EarlierContent:
    """What was in a directory before this process: names, and the folders on its path that did not exist."""

    directory: Path
    missing: tuple[Path, ...]
    names: frozenset[str]

    @classmethod
    def look(cls, directory: Path) -> EarlierContent:
        missing = tuple(path for path in (directory, *directory.parents) if not path.exists())
        names = frozenset(path.name for path in directory.iterdir()) if directory.is_dir() else frozenset()
        return cls(directory, missing, names)

    def restore(self) -> None:
        """Remove what is new: the directory, and the empty folders made for it; or what has been put into it."""
        if self.missing:
            shutil.rmtree(self.directory, ignore_errors=True)
            with suppress(OSError):  # something else has come to be in one of them
                for folder in self.missing[1:]:
                    folder.rmdir()
            return
        for path in self.directory.iterdir():
            if path.name not in self.names:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def find_free_directory(directory: Path) -> Path:
    """`directory`, or the first of directory-2, directory-3, ... that does not exist."""
    number, path = 1, directory
    name = directory.resolve().name
    while path.exists():
        number += 1
        path = directory.parent / f"{name}-{number}" if directory.name else Path("..") / f"{name}-{number}"
    return path
