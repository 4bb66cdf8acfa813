"""Fetch a published file from the first mirror that provides it, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from urllib.request import Request, urlopen

from dltrain.errors import DataError
from dltrain.files import sync_directory

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes received so far and the bytes expected."""

_PIECE_BYTES = 1 << 16
_TIMEOUT_SECONDS = 10


class Remote(NamedTuple):
    """A file as every mirror has it, under the address of its folder.

    `size_bytes` is None if it is not published; `digest` may be its first digits only, or "".
    """

    name: str
    size_bytes: int | None
    algorithm: Literal["md5", "sha256"]
    digest: str


def fetch_file(
    file: Remote, target: Path, mirrors: Sequence[str], *, advice: str, progress: Progress | None = None
) -> Path:
    """Fetch a file, complete and with the right checksum, into the folder `target`; return its path.

    Raises DataError with the answer of each mirror; `advice` says what to do without the file.
    """
    path = target / file.name
    try:
        target.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=target)
    except OSError as error:
        raise DataError(
            f"{path.name}: missing, and {target} cannot be written to ({error.strerror})", advice=advice
        ) from error
    part = Path(name)
    failures = []
    try:
        with os.fdopen(handle, "wb") as stream:
            for mirror in mirrors:
                url = f"{mirror.rstrip('/')}/{path.name}"
                failure = _download(url, stream, file, progress)
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
    raise DataError("\n".join((f"{path.name}: no mirror provides it:", *failures)), advice=advice)


def _download(url: str, stream: BinaryIO, file: Remote, progress: Progress | None) -> str | None:
    """Download a file into `stream`; return what went wrong, or None."""
    stream.seek(0)
    stream.truncate()
    digest, received, expected = hashlib.new(file.algorithm, usedforsecurity=False), 0, file.size_bytes
    try:
        with urlopen(Request(url, headers={"User-Agent": "dltrain"}), timeout=_TIMEOUT_SECONDS) as answer:
            while (expected is None or received <= expected) and (piece := answer.read(_PIECE_BYTES)):
                stream.write(piece)
                digest.update(piece)
                received += len(piece)
                if progress is not None:
                    progress(file.name, received, expected or received)
    except (OSError, HTTPException, ValueError) as error:
        return f"{error}" or type(error).__name__
    if expected is not None and received != expected:
        found = f"more than {expected}" if received > expected else str(received)
        return f"{found} bytes, expected {expected}"
    if not digest.hexdigest().startswith(file.digest):
        name = {"md5": "MD5", "sha256": "SHA-256"}[file.algorithm]
        return f"{name} {digest.hexdigest()}, expected {file.digest}"
    return None
