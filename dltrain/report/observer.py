"""The observer that keeps report.html up to date while a run trains."""

from __future__ import annotations

import time

from dltrain.core.checkpoint import Checkpoints
from dltrain.events import EpochStarted, Evaluated, Event, Finished, Logged, WatchedRun
from dltrain.registry import observers
from dltrain.report.building import write_report
from dltrain.report.outcome import draw_outcome

SHARE = 0.01
"""Share of the time that writing the report may take while a run trains."""
SHORTEST = 5.0
"""Seconds between two versions of it at least."""


@observers.register("report")
class Report:
    """report.html in the run directory, kept up to date while training runs, and plots/training.png at its end."""

    def __init__(self, run: WatchedRun) -> None:
        self._directory = run.directory
        self._next = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            last = Checkpoints(self._directory / "checkpoints").last()
            assert last is not None, "a finished run has a checkpoint"
            draw_outcome(self._directory, last)
        elif isinstance(event, EpochStarted | Logged | Evaluated) and time.monotonic() >= self._next:
            start = time.monotonic()
            write_report(self._directory)
            end = time.monotonic()
            self._next = end + max(SHORTEST, (end - start) / SHARE)

    def close(self) -> None:
        """The last version of the process, which is not running any more: stopped, failed or finished."""
        write_report(self._directory, ours=True)
