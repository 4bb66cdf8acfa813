"""Long preparations on all cores, and their progress: a bar on a terminal, lines elsewhere, nothing for a short one."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypeVar

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.parts import Parts
from dltrain.data.reading import describe_file, note_folders_of
from dltrain.escaping import open_console, show_controls
from dltrain.runtime.cores import count_threads
from dltrain.runtime.interrupts import stop_if_out_of_time
from dltrain.stream import map_in_order

Item = TypeVar("Item")
Made = TypeVar("Made")

UNREADABLE = "-"
"""The hash of a file that cannot be read."""
SECONDS_BEFORE_ANY = 2.0
SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts up to `total`, on stderr unless another stream is given; a context manager. `done` were done before."""

    def __init__(self, what: str, total: int, out: TextIO | None = None, *, done: int = 0) -> None:
        self._what, self._total, self._out = what, total, out or sys.stderr
        self._done = self._before = done
        self._began = time.perf_counter()
        self._next = self._began + SECONDS_BEFORE_ANY
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):  # the terminal is gone
                self._bar.stop()

    def advance(self) -> None:
        self._done += 1
        now = time.perf_counter()
        if now >= self._next:
            with suppress(OSError, ValueError):
                self._show(now)

    def _show(self, now: float) -> None:
        if not self._out.isatty():
            self._next = now + SECONDS_BETWEEN_LINES
            left = (now - self._began) / (self._done - self._before) * (self._total - self._done)
            print(f"{self._what}: {self._done} of {self._total}, {left:.0f} s left", file=self._out, flush=True)
            return
        self._next = now + 0.1
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            what = TextColumn("{task.description}", markup=False)
            columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=open_console(self._out), auto_refresh=False, transient=True)
            self._bar.add_task(show_controls(self._what), total=self._total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done)
        self._bar.refresh()


def map_with_progress(
    function: Callable[[Item], Made], items: Sequence[Item], title: str, ahead: int = 2, *, done: int = 0
) -> Generator[Made]:
    """Apply a function to the items on all cores, in order, each core up to `ahead` items ahead.

    The first `done` items were done before, and are left out. Raises OutOfTime, between two items, if time is spent.
    """
    made_ahead = closing(map_in_order(function, items[done:], count_threads(), ahead))
    with Progress(title, len(items), done=done) as progress, made_ahead as results:
        for made in results:
            yield made
            progress.advance()
            stop_if_out_of_time()


def hash_files(kind: str, paths: Sequence[Path], title: str, cache: Cache) -> list[str]:
    """Compute the SHA-256 of each file, "-" for an unreadable one, with cache entries of this kind.

    Files are read again only if their path or their state has changed (`dltrain.data.reading`), so also those edited in
    place whose size and modification time are as before.
    """
    note_folders_of(paths)

    def make(folder: Path) -> None:
        with (
            Parts(folder, ["digests"]) as parts,
            closing(map_with_progress(_hash_file, paths, f"reading {title}", done=parts.done)) as digests,
        ):
            for digest in digests:
                parts.write("digests", f"{chr(10) if parts.done else ''}{digest}".encode("ascii"))
                parts.complete_part()

    return _read_digests(cache.entry(kind, _identify_files(paths), make, resumable=True))


def recall_hashes(kind: str, paths: Sequence[Path], cache: Cache) -> list[str] | None:
    """Return what `hash_files` computed of the same files before, or None if they would have to be read."""
    entry = cache.find(kind, _identify_files(paths))
    return None if entry is None else _read_digests(entry)


def _identify_files(paths: Sequence[Path]) -> dict[str, Any]:
    known = hashlib.sha256()
    for path in paths:
        known.update(f"{path}\0{describe_file(path)}\n".encode("utf-8", "surrogateescape"))
    return {"format": 2, "files": known.hexdigest()}


def _read_digests(entry: CacheEntry) -> list[str]:
    return (entry.path / "digests").read_text(encoding="ascii").split("\n")


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return UNREADABLE
