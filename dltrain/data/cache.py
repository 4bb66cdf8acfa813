"""What was made of data files once and is kept for later: folders under a key, whole or absent, limited in size.

    CACHE/
      tokens-0123456789abcdef.../    one entry: the files that its maker wrote, and
        manifest.json                its key, and size and SHA-256 of each file
      .tokens-0123.../               temporary: being written (.tmp), waited for (.lock), on its way out (.old)

Processes may share a cache. One of them makes an entry while the others wait for it; an entry appears by a rename,
after everything in it has reached the disk. Who uses one holds a shared lock on its manifest, which the kernel releases
when the process ends, and what is locked is not removed. The manifest's modification time says when it was last used.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

from dltrain.errors import DataError
from dltrain.files import hash_file, sync_directory, write_synced

MANIFEST = "manifest.json"
HASHED_BYTES = 64 << 20
"""Files up to this size are compared by their SHA-256 each time, larger ones by their size."""


class Entry:
    """A folder of the cache, at `path`. It is not removed while this object lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        weakref.finalize(self, os.close, descriptor)


class Cache:
    """Entries in one folder; beyond `limit_bytes` those that were used least recently are removed."""

    def __init__(self, directory: Path, limit_bytes: float) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes

    def entry(self, kind: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Entry:
        """The entry of a key (plain JSON); where there is no whole one, `make` writes its files into an empty folder.

        Raises DataError where the cache cannot be written to, and what `make` raises; neither leaves anything behind.
        """
        digest = sha256_of(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.directory / f"{kind}-{digest[:32]}"
        found = _opened(path)
        if found is not None:
            return found
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with _locked(self._beside(path, "lock")):
                found = _opened(path) or self._made(path, key, make)
            self._prune()
        except OSError as error:
            raise DataError(
                f"{self.directory}: the cache cannot be written to: {error.strerror or error}",
                advice="make room or change its permissions, or name another folder with data.cache or $DLTRAIN_CACHE",
            ) from error
        return found

    def _beside(self, path: Path, ending: str) -> Path:
        return self.directory / f".{path.name}.{ending}"

    def _made(self, path: Path, key: Mapping[str, Any], make: Callable[[Path], None]) -> Entry:
        part = self._beside(path, "tmp")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed: the lock is ours
        try:
            part.mkdir()
            make(part)
            _seal(part, key)
            if path.exists():  # damaged
                self._remove(path)
            descriptor = _shared_lock(part / MANIFEST)
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        sync_directory(self.directory)
        return Entry(path, descriptor)

    def _remove(self, path: Path) -> None:
        leaving = self._beside(path, f"{uuid.uuid4().hex}.old")
        path.rename(leaving)  # at once, so that nobody finds half of it
        shutil.rmtree(leaving, ignore_errors=True)

    def _prune(self) -> None:
        for part in self.directory.glob(".*.tmp"):
            with suppress(BlockingIOError), _locked(part.with_suffix(".lock"), wait=False):
                shutil.rmtree(part, ignore_errors=True)
        entries = []
        for path in self.directory.glob("[!.]*"):
            with suppress(OSError):  # another process removes it
                size = sum(file.stat().st_size for file in path.iterdir())
                entries.append(((path / MANIFEST).stat().st_mtime_ns, size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit_bytes:
                return
            with (
                suppress(OSError),  # it is in use, being made again, or not ours to remove
                _locked(self._beside(path, "lock"), wait=False),
                _held(path / MANIFEST, fcntl.LOCK_EX | fcntl.LOCK_NB),
            ):
                self._remove(path)
                total -= size


def cache_directory(named: str | None) -> Path:
    """`named`, else $DLTRAIN_CACHE, else dltrain in $XDG_CACHE_HOME, else ~/.cache/dltrain."""
    chosen = named or os.environ.get("DLTRAIN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dltrain"


def _seal(folder: Path, key: Mapping[str, Any]) -> None:
    """Bring a folder's files to the disk, then write the manifest that says what they are."""
    files = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as written:
            os.fsync(written.fileno())
        files[file.name] = {"bytes": file.stat().st_size, "sha256": hash_file(file)}
    write_synced(folder / MANIFEST, json.dumps({"key": key, "files": files}, indent=1).encode())
    sync_directory(folder)


def _shared_lock(manifest: Path) -> int:
    """A descriptor of the manifest that holds a shared lock; raises BlockingIOError while the entry is removed."""
    descriptor = os.open(manifest, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: Path) -> Entry | None:
    """The entry at `path` in use by us and marked as such, or None where there is none, or not a whole one."""
    try:
        descriptor = _shared_lock(path / MANIFEST)
    except (FileNotFoundError, NotADirectoryError, BlockingIOError):
        return None
    entry = Entry(path, descriptor)
    try:
        # The name may lead to another entry by now: what we locked was removed, and made again.
        if not _named(descriptor, path / MANIFEST) or not _whole(path):
            return None
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a cache of somebody else's, which may be read
        os.utime(path / MANIFEST)
    return entry


def _whole(path: Path) -> bool:
    """Whether every file of an entry is there and what its manifest says."""
    try:
        files = json.loads((path / MANIFEST).read_bytes())["files"]
    except (ValueError, KeyError, TypeError):
        return False
    for name, facts in files.items():
        size = (path / name).stat().st_size
        if size != facts["bytes"] or (size <= HASHED_BYTES and hash_file(path / name) != facts["sha256"]):
            return False
    return True


@contextmanager
def _held(path: Path, operation: int, flags: int = os.O_RDONLY) -> Iterator[int]:
    """An open file, locked; raises BlockingIOError where `operation` does not wait and another process holds it."""
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, operation)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[None]:
    """The lock file `path` held by us alone; it is gone afterwards."""
    while True:
        with _held(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), os.O_RDWR | os.O_CREAT) as descriptor:
            if not _named(descriptor, path):  # who held it before us removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _named(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one that its name leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
