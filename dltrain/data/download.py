"""Fetching the published files: from the first mirror that gives the right ones, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import Request, urlopen

from dltrain.data.idx import locate
from dltrain.data.image_sets import IMAGE_SETS, PublishedFile
from dltrain.errors import DataError
from dltrain.files import sync_directory

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes received so far and the bytes expected."""

_PIECE_BYTES = 1 << 16


def fetch(
    variant: str,
    root: Path,
    mirrors: Sequence[str] | None = None,
    files: Sequence[PublishedFile] | None = None,
    progress: Progress | None = None,
    timeout_seconds: float = 10,
) -> list[Path]:
    """The paths of the set's files, after those that are nowhere under `root` were fetched to ROOT/FOLDER/raw.

    `mirrors` and `files` are the published ones unless given. A file appears under its name only when it is complete
    and its checksum is right. Raises DataError with what each mirror answered.
    """
    known = IMAGE_SETS[variant]
    mirrors = known.mirrors if mirrors is None else mirrors
    target = root / (known.folder or "") / "raw"
    paths = []
    for file in known.files if files is None else files:
        path = locate(root, known.folder, file.name)
        paths.append(path or _from_any_mirror(variant, file, target, mirrors, progress, timeout_seconds))
    return paths


def _from_any_mirror(
    variant: str,
    file: PublishedFile,
    target: Path,
    mirrors: Sequence[str],
    progress: Progress | None,
    timeout_seconds: float,
) -> Path:
    path = target / f"{file.name}.gz"
    try:
        target.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=target)
    except OSError as error:
        raise DataError(
            f"{path.name}: not there, and {target} cannot be written to ({error.strerror}).\n"
            f"{ways_out(variant, target)}"
        ) from error
    part = Path(name)
    failures = []
    try:
        with os.fdopen(handle, "wb") as stream:
            for mirror in mirrors:
                url = f"{mirror.rstrip('/')}/{path.name}"
                failure = _download(url, stream, file, progress, timeout_seconds)
                if failure is None:
                    stream.flush()
                    os.fsync(stream.fileno())
                    part.chmod(0o644)  # a temporary file is private
                    part.replace(path)
                    sync_directory(target)
                    return path
                failures.append(f"  {url}: {failure}")
    finally:
        part.unlink(missing_ok=True)
    raise DataError("\n".join((f"{path.name}: no mirror gave it.", *failures, ways_out(variant, target))))


def _download(
    url: str, stream: BinaryIO, file: PublishedFile, progress: Progress | None, timeout_seconds: float
) -> str | None:
    """What went wrong, or None when `stream` now holds the file."""
    stream.seek(0)
    stream.truncate()
    digest, received = hashlib.md5(usedforsecurity=False), 0
    try:
        with urlopen(Request(url, headers={"User-Agent": "dltrain"}), timeout=timeout_seconds) as answer:
            while received <= file.packed_bytes and (piece := answer.read(_PIECE_BYTES)):
                stream.write(piece)
                digest.update(piece)
                received += len(piece)
                if progress is not None:
                    progress(file.name, received, file.packed_bytes)
    except (OSError, HTTPException, ValueError) as error:
        return f"{error}" or type(error).__name__
    if received != file.packed_bytes:
        found = f"more than {file.packed_bytes}" if received > file.packed_bytes else str(received)
        return f"{found} bytes, expected {file.packed_bytes}"
    if digest.hexdigest() != file.packed_md5:
        return f"MD5 {digest.hexdigest()}, expected {file.packed_md5}"
    return None


def ways_out(variant: str, target: Path) -> str:
    """What a user without the files can do."""
    instead = ", or train on the digits sample instead (data.when_missing=sample, or --sample)"
    return (
        f"Put the set's four files (plain or .gz) into {target}, or set data.root to the folder that has them"
        f"{instead if variant == 'mnist' else ''}."
    )
