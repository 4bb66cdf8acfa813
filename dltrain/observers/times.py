"""times.jsonl: when each epoch ended and how fast it was. Kept apart from metrics.jsonl, which is exact."""

from __future__ import annotations

import time

from dltrain.events import EpochStarted, Evaluated, Event, WatchedRun
from dltrain.observers.metrics import format_json_line
from dltrain.registry import observers


@observers.register("times")
class TimesLog:
    """One line of times.jsonl for each epoch: its seconds in this process and the batches trained on.

    They are counted from the end of the epoch before, so that writing its checkpoint is in them.
    """

    def __init__(self, run: WatchedRun) -> None:
        self._path = run.directory / "times.jsonl"
        self._mark: float | None = None
        self._batches = 0

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
                file.write(format_json_line(entry))
            self._mark = now
