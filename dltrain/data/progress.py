"""Progress of a long preparation: a bar on a terminal, occasional lines elsewhere, nothing if it is short."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

SECONDS_BEFORE_ANY = 2.0
SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts up to `total`, on stderr unless another stream is given; a context manager."""

    def __init__(self, what: str, total: int, out: TextIO | None = None) -> None:
        self._what, self._total, self._out = what, total, out or sys.stderr
        self._done = 0
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
            left = (now - self._began) / self._done * (self._total - self._done)
            print(f"{self._what}: {self._done} of {self._total}, {left:.0f} s left", file=self._out, flush=True)
            return
        self._next = now + 0.1
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(file=self._out), auto_refresh=False, transient=True)
            self._bar.add_task(self._what, total=self._total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done)
        self._bar.refresh()
