"""A cache of prepared data: folders under a key, complete or absent, limited in total size.

    CACHE/
      tokens-0123456789abcdef.../    one entry: the files written for it, and
        manifest.json                its key, and the size and SHA-256 of each file, of large ones of each block
      .tokens-0123.../               temporary: being written (.tmp; .parts, which is continued after an interruption),
                                     locked (.lock), being removed (.old)

Processes may share a cache. One of them makes an entry while the others wait for it; an entry appears by a rename,
after all its content has reached the disk. A user of an entry holds a shared lock on its manifest, which the kernel
releases when the process ends; locked entries are not removed. The manifest's modification time is its last use.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

from dltrain.errors import DataError
from dltrain.escaping import show_controls
from dltrain.files import hash_file, sync_directory, write_synced
from dltrain.runtime.cores import count_threads

MANIFEST, MARK = "manifest.json", "mark.json"
KEPT_SECONDS = 7 * 86400.0
"""How long the parts of an interrupted preparation are kept."""
BLOCK_BYTES = 16 << 20
"""Files have a SHA-256 for each block of this size, which threads compare at each use, as fast as a disk reads."""


class CacheEntry:
    """A folder of the cache, at `path`. It is not removed as long as this object exists."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        weakref.finalize(self, _close_quietly, descriptor)


class Cache:
    """Entries in one folder; beyond `limit_bytes` the least recently used ones are removed."""

    def __init__(self, directory: Path, limit_bytes: float) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes

    def find(self, kind: str, key: Mapping[str, Any]) -> CacheEntry | None:
        """Return the entry of a key, if there is one."""
        return _open_entry(self._entry_path(kind, key))

    def entry(
        self, kind: str, key: Mapping[str, Any], make: Callable[[Path], None], *, resumable: bool = False
    ) -> CacheEntry:
        """Return the entry of a key (plain JSON); if there is none, `make` writes its files into an empty folder.

        Raises DataError if the cache cannot be written to, and any error of `make`; neither leaves anything behind.
        A `resumable` one leaves what `dltrain.data.parts` has marked, and gets it back when it is made again.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        path = self._entry_path(kind, key)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with _hold_lock(self._temporary_path(path, "lock")):
                found = _open_entry(path) or self._make_entry(path, key, make, resumable=resumable)
            self._prune()
        except OSError as error:
            raise DataError(
                f"{self.directory}: the cache cannot be written to: {error.strerror or error}",
                advice="free disk space, change its permissions, or set data.cache or $DLTRAIN_CACHE to another folder",
            ) from error
        return found

    def _entry_path(self, kind: str, key: Mapping[str, Any]) -> Path:
        return self.directory / f"{kind}-{sha256_of(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}"

    def _temporary_path(self, path: Path, ending: str) -> Path:
        return self.directory / f".{path.name}.{ending}"

    def _make_entry(
        self, path: Path, key: Mapping[str, Any], make: Callable[[Path], None], *, resumable: bool
    ) -> CacheEntry:
        part = self._temporary_path(path, "parts" if resumable else "tmp")
        if not resumable:
            shutil.rmtree(part, ignore_errors=True)  # left by a killed process: we hold the lock
        try:
            part.mkdir(exist_ok=resumable)
            make(part)
            _write_manifest(part, key)
            if path.exists():
                with suppress(OSError, ValueError):  # stderr is closed
                    sys.stderr.write(f"warning: {show_controls(str(path))}: damaged, and made again\n")
                self._remove(path)
            descriptor = _open_locked(part / MANIFEST)
            part.rename(path)
        finally:
            if not (part / MARK).exists():
                shutil.rmtree(part, ignore_errors=True)
        sync_directory(self.directory)
        return CacheEntry(path, descriptor)

    def _remove(self, path: Path) -> None:
        leaving = self._temporary_path(path, f"{uuid.uuid4().hex}.old")
        path.rename(leaving)  # atomic, so that no process sees half of it
        shutil.rmtree(leaving, ignore_errors=True)

    def _prune(self) -> None:
        for part in self.directory.glob(".*.tmp"):
            with suppress(BlockingIOError), _hold_lock(part.with_suffix(".lock"), wait=False):
                shutil.rmtree(part, ignore_errors=True)
        for part in self.directory.glob(".*.parts"):
            with suppress(OSError), _hold_lock(part.with_suffix(".lock"), wait=False):
                marked = (part / MARK).stat().st_mtime if (part / MARK).exists() else 0.0
                if time.time() - marked > KEPT_SECONDS:
                    shutil.rmtree(part, ignore_errors=True)
        for left in self.directory.glob(".*.lock"):  # of a killed process: who has held a lock removes its file
            with suppress(OSError), _hold_lock(left, wait=False):
                pass
        for leaving in self.directory.glob(".*.old"):
            shutil.rmtree(leaving, ignore_errors=True)
        entries = []
        for path in self.directory.glob("[!.]*"):
            with suppress(OSError):  # removed by another process
                size = sum(file.stat().st_size for file in path.iterdir())
                entries.append(((path / MANIFEST).stat().st_mtime_ns, size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit_bytes:
                return
            with (
                suppress(OSError),  # in use, being made again, or not removable by us
                _hold_lock(self._temporary_path(path, "lock"), wait=False),
                _hold_file(path / MANIFEST, fcntl.LOCK_EX | fcntl.LOCK_NB),
            ):
                self._remove(path)
                total -= size


def cache_directory(named: str | None) -> Path:
    """Return `named`, else $DLTRAIN_CACHE, else dltrain in $XDG_CACHE_HOME, else ~/.cache/dltrain."""
    chosen = named or os.environ.get("DLTRAIN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dltrain"


def _write_manifest(folder: Path, key: Mapping[str, Any]) -> None:
    """Flush a folder's files to disk, then write the manifest that describes them."""
    files = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as written:
            os.fsync(written.fileno())
        blocks = hash_blocks(file)
        whole = {"sha256": blocks[0]} if len(blocks) == 1 else {"block_bytes": BLOCK_BYTES, "blocks": blocks}
        files[file.name] = {"bytes": file.stat().st_size, **whole}
    write_synced(folder / MANIFEST, json.dumps({"key": key, "files": files}, indent=1).encode())
    sync_directory(folder)


def _close_quietly(descriptor: int) -> None:
    with suppress(OSError):  # only read from, so nothing is lost, and a finalizer's error would be a traceback
        os.close(descriptor)


def _open_locked(manifest: Path) -> int:
    """Open the manifest with a shared lock, and return its descriptor; raises BlockingIOError during removal."""
    descriptor = os.open(manifest, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open_entry(path: Path) -> CacheEntry | None:
    """Open the entry at `path` and mark it as used; return None if there is no complete one."""
    try:
        descriptor = _open_locked(path / MANIFEST)
    except (FileNotFoundError, NotADirectoryError, BlockingIOError):
        return None
    entry = CacheEntry(path, descriptor)
    try:
        # The path may belong to another entry by now: the locked one was removed, and made again.
        if not _is_current(descriptor, path / MANIFEST) or not _is_complete(path):
            return None
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a read-only cache of another user
        os.utime(path / MANIFEST)
    return entry


def _is_complete(path: Path) -> bool:
    """Return whether every file of an entry exists and matches its manifest; an earlier version wrote no blocks."""
    try:
        files = json.loads((path / MANIFEST).read_bytes())["files"]
        for name, facts in files.items():
            if (path / name).stat().st_size != facts["bytes"]:
                return False
            if "blocks" in facts:
                whole = hash_blocks(path / name, facts["block_bytes"]) == facts["blocks"]
            else:
                whole = hash_file(path / name) == facts["sha256"]
            if not whole:
                return False
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def hash_blocks(path: Path, size: int = BLOCK_BYTES) -> list[str]:
    """The SHA-256 of each block of a file, by threads; of an empty file one."""
    starts = range(0, max(1, path.stat().st_size), size)
    if len(starts) == 1:
        return [hash_file(path)]
    with ThreadPoolExecutor(count_threads(), "dltrain-hash") as pool:
        return list(pool.map(partial(_hash_block, path, size), starts))


def _hash_block(path: Path, size: int, start: int) -> str:
    digest, left = sha256_of(), size
    with path.open("rb") as file:
        file.seek(start)
        while left and (piece := file.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


@contextmanager
def _hold_file(path: Path, operation: int, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open and lock a file; raises BlockingIOError if `operation` does not wait and another process holds the lock."""
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, operation)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _hold_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` exclusively; it is removed afterwards."""
    while True:
        with _hold_file(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), os.O_RDWR | os.O_CREAT) as descriptor:
            if not _is_current(descriptor, path):  # the previous holder removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_current(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
