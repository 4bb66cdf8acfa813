"""Published archives, .tar.gz and .zip: fetching one, and unpacking those of its files that are needed."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from dltrain.data.mirrors import Progress, PublishedFiles, Remote, fetch_file
from dltrain.errors import DataError
from dltrain.files import sync_directory

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)


def fetch_packed(
    files: PublishedFiles,
    archive: Remote,
    place: Callable[[str], str | None],
    *,
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Unpack an archive into the first of a set's folders, after fetching it, unless one of the folders has it.

    `place` says where a member belongs, relative to that folder, or None for one that is not needed. An archive that
    was fetched is removed afterwards, one that was there is kept. Raises DataError.
    """
    target = files.folders[0]
    there = next((path for folder in files.folders if (path := folder / archive.name).is_file()), None)
    mirrors = files.mirrors if mirrors is None else mirrors
    advice = f"put {archive.name} into {target} and try again, or {files.advice}"
    path = there or fetch_file(archive, target, mirrors, advice=advice, progress=progress)
    try:
        unpack(path, target, place)
    finally:
        if there is None:
            path.unlink(missing_ok=True)


def unpack(archive: Path, target: Path, place: Callable[[str], str | None]) -> None:
    """Unpack the members that `place` has a place for into the folder `target`, all of them or none.

    Raises DataError for a damaged archive, and for one without any of them.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target, ignore_cleanup_errors=True) as folder:
            part = Path(folder)
            for name, content in _read_members(archive):
                if (relative := place(name)) is not None:
                    path = part / relative
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file)
                        file.flush()
                        os.fsync(file.fileno())
            unpacked = sorted(part.iterdir())
            for path in unpacked:
                path.replace(target / path.name)
            sync_directory(target)
    except _DAMAGED as error:
        raise DataError(f"{archive}: damaged archive ({error}); nothing was unpacked", advice="get it again") from None
    except OSError as error:
        raise DataError(f"{error.filename or archive}: {error.strerror or error}; nothing was unpacked") from error
    if not unpacked:
        raise DataError(f"{archive}: none of the set's files is in it", advice="get the archive of the set")


def _read_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each plain file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                with packed.open(name) as content:
                    yield name, content
        return
    with tarfile.open(archive, mode="r|*") as members:
        for member in members:
            found = members.extractfile(member) if member.isfile() else None
            if found is not None:
                yield member.name, found
