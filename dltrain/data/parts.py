"""Long preparations that continue where they were interrupted: files that only grow, and a mark of what is complete."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import MARK
from dltrain.files import write_atomically
from dltrain.runtime.interrupts import OutOfTime, stop_if_out_of_time

MARK_SECONDS = 1.0
"""The time between two marks, at least."""
_LARGEST_SHARE = 0.05
"""Of the time, which writing marks takes."""


class Parts:
    """Files `names` of a folder that a preparation appends to, part by part; a context manager.

    `done` is the number of parts that were complete at the last mark, and `state` what the preparation knew by then, as
    JSON. What was written after it is cut off, so a kill at any moment costs the parts since then, and nothing else.
    `scratch` are files of which the caller keeps something else: they are removed at the end, as the mark is.
    """

    def __init__(self, folder: Path, names: Sequence[str] = (), *, scratch: Sequence[str] = ()) -> None:
        self._folder, self._scratch = folder, scratch
        marked = _read_mark(folder)
        self.done: int = marked.get("done", 0)
        self.state: Any = marked.get("state")
        self._files: dict[str, IO[bytes]] = {}
        for name in (*names, *scratch):
            (folder / name).touch()
            self._files[name] = (folder / name).open("r+b")
            self._files[name].truncate(marked.get("sizes", {}).get(name, 0))
            self._files[name].seek(0, os.SEEK_END)
        self._complete = (self.done, self._measure())
        self._describe: Callable[[], Any] = lambda: None
        self._next = time.monotonic() + MARK_SECONDS

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OutOfTime):  # raised between two parts; a signal may arrive within one
            with suppress(OSError):
                self.mark()
        if error is not None:
            for file in self._files.values():
                with suppress(OSError):
                    file.close()
            return
        for file in self._files.values():
            file.close()
        for name in (*self._scratch, MARK):
            (self._folder / name).unlink(missing_ok=True)

    def describe_with(self, describe: Callable[[], Any]) -> None:
        """Let `describe` give the state, as JSON, when a mark is written."""
        self._describe = describe

    def write(self, name: str, content: bytes) -> None:
        """Append to a file; it counts once the part is complete."""
        self._files[name].write(content)

    def complete_part(self) -> None:
        """Count what was written as complete, and write a mark if one is due. Raises OutOfTime if time is spent."""
        self.done += 1
        self._complete = (self.done, self._measure())
        if time.monotonic() >= self._next:
            self.mark()
        stop_if_out_of_time()

    def mark(self) -> None:
        """Make all complete parts survive a kill and a power cut."""
        start = time.monotonic()
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        done, sizes = self._complete
        content = {"done": done, "sizes": sizes, "state": self._describe()}
        write_atomically(self._folder / MARK, json.dumps(content).encode())
        now = time.monotonic()
        self._next = now + max(MARK_SECONDS, (now - start) / _LARGEST_SHARE)

    def read(self, name: str, kind: Any, columns: int) -> NDArray[Any]:
        """The numbers of this kind in a file, (N, columns)."""
        self._files[name].flush()
        return numpy.fromfile(self._folder / name, kind).reshape(-1, columns)

    def _measure(self) -> dict[str, int]:
        return {name: file.tell() for name, file in self._files.items()}


def _read_mark(folder: Path) -> dict[str, Any]:
    """The last mark; empty where there is none that fits the files."""
    try:
        marked: dict[str, Any] = json.loads((folder / MARK).read_bytes())
        fits = all((folder / name).stat().st_size >= size for name, size in marked["sizes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return marked if fits else {}
