"""Published files: where they may be, and fetching those missing from the first mirror, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from dltrain.data.cache import cache_directory
from dltrain.errors import DataError
from dltrain.files import hash_file, sync_directory, write_atomically

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
    from http.client import HTTPException  # late: only downloads need these
    from urllib.request import Request, urlopen

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


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """The files of the set `name`, searched for in `folders` and fetched to the first of them.

    `count` is their number in words; `sample` is the sample that messages offer instead. `of_folders`: the names are
    those of folders.
    """

    name: str
    folders: Sequence[Path]
    count: str
    mirrors: Sequence[str] = ()
    sample: str | None = None
    of_folders: bool = False

    def find(self, file: str) -> Path | None:
        """Return the path of a file, plain or .gz, also as NAME.idx for NAME-idx; None if there is none."""
        if self.of_folders:
            return next((path for folder in self.folders if (path := folder / file).is_dir()), None)
        dotted = file.replace("-idx", ".idx")
        names = (file, dotted, f"{file}.gz", f"{dotted}.gz")
        return next((path for folder in self.folders for name in names if (path := folder / name).is_file()), None)

    def list_missing(self, files: Iterable[str]) -> list[str]:
        return [file for file in files if self.find(file) is None]

    def describe_missing(self, files: Iterable[str]) -> str:
        """Name the files that are missing and the folders searched."""
        forms = "" if self.of_folders else " (plain or .gz)"
        return f"{', '.join(self.list_missing(files))}{forms}: not found in {', '.join(map(str, self.folders))}"

    @property
    def advice(self) -> str:
        sample = f", or train on the {self.sample} instead (data.when_missing=sample, or --sample)"
        forms = "folders" if self.of_folders else "files (plain or .gz)"
        return (
            f"put the set's {self.count} {forms} into {self.folders[0]}, or set data.root to the folder "
            f"that has them{sample if self.sample else ''}"
        )

    def obtain(self, files: Sequence[str], fetch: Callable[[], object] | None) -> None:
        """Call `fetch` if one of `files` is missing. Raises DataError if there is no `fetch`."""
        if not self.list_missing(files):
            return
        if fetch is None:
            command = f"run `dltrain data fetch {self.name}`, or " if self.mirrors else ""
            raise DataError(self.describe_missing(files), advice=f"{command}{self.advice}")
        fetch()

    def fetch_missing(
        self, remotes: Mapping[str, Remote], mirrors: Sequence[str] | None, progress: Progress | None
    ) -> list[Path]:
        """Return the paths of all files, after fetching those that are missing from `mirrors`, or the set's own.

        Raises DataError with the answer of each mirror.
        """
        mirrors = self.mirrors if mirrors is None else mirrors
        return [
            self.find(file) or fetch_file(remote, self.folders[0], mirrors, advice=self.advice, progress=progress)
            for file, remote in remotes.items()
        ]


SCHEMES = ("https://", "http://")


def fetch_weights(address: str, sha256: str, warn: Callable[[str], None]) -> Path:
    """Return the file at an address, from the cache's folder `weights`, downloading it there if it is missing.

    It is kept under a hash of the whole address, with its SHA-256 beside it, which is compared on every use: a file
    that has changed is fetched again, with a warning. `sha256` is what it must have, or ""; if its name ends with the
    first digits of that, as PyTorch's hub does (`resnet18-f37072fd.pth`), these must fit too. Raises DataError.
    """
    folder, _, _ = address.rpartition("/")
    name = Path(unquote(urlsplit(address).path)).name
    target = cache_directory(None) / "weights" / hashlib.sha256(address.encode()).hexdigest()[:16]
    path, beside = target / name, target / f"{name}.sha256"
    stated = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    expected = sha256 or (stated[1] if stated else "")
    advice = f"download it elsewhere, and name the file: weights.init_from: {name}"
    if path.is_file():
        recorded = beside.read_text().strip() if beside.is_file() else ""
        found = hash_file(path)
        if found == recorded:
            return _check_stated(path, found, (sha256, stated[1] if stated else ""))
        warn(f"{path}: not as it was fetched (SHA-256 {found}, recorded {recorded or 'none'}); it is fetched again")
    fetched = fetch_file(Remote(name, None, "sha256", expected), target, [folder], advice=advice)
    digest = hash_file(fetched)
    write_atomically(beside, f"{digest}\n".encode())
    return _check_stated(fetched, digest, (sha256, stated[1] if stated else ""))


def _check_stated(path: Path, digest: str, stated: Sequence[str]) -> Path:
    """The path. Raises DataError where the file's hash does not begin with each of those that are stated."""
    for each in stated:
        if not digest.startswith(each):
            raise DataError(
                f"{path}: its SHA-256 is {digest}, and stated is {each}",
                advice="correct weights.init_from; or the file at this address is not the one that was meant",
            )
    return path
