"""times.jsonl: when each epoch ended and how fast it was. Kept apart from metrics.jsonl, which is exact."""

from __future__ import annotations

import time
from pathlib import Path

from dltrain.events import EpochStarted, Evaluated, Event
from dltrain.observers.metrics import line


class TimesLog:
    """One line an epoch: its seconds in this process and the batches trained on.

    They are counted from the end of the epoch before, so that writing its checkpoint is in them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.perf_counter()
        self._mark: float | None = None
        self._batches = 0

    @property
    def seconds(self) -> float:
        """Seconds since this was made."""
        return time.perf_counter() - self._began

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochStarted):
            self._mark = self._mark or time.perf_counter()
            self._batches = event.batches - event.position
        elif isinstance(event, Evaluated):
            now = time.perf_counter()
            entry = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "epoch": event.epoch,
                "step": event.step,
                "seconds": round(now - (self._mark or now), 4),
                "batches": self._batches,
            }
            with self._path.open("ab") as file:
                file.write(line(entry))
            self._mark = now
