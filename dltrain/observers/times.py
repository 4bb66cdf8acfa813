"""times.jsonl: when each epoch ended and how fast it was. Kept apart from metrics.jsonl, which is exact."""

from __future__ import annotations

import time
from pathlib import Path

from dltrain.events import EpochStarted, Evaluated, Event
from dltrain.observers.metrics import line


class TimesLog:
    """One line an epoch: its seconds in this process, training and validation, and the batches trained on."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._began = self._epoch_began = time.perf_counter()
        self._batches = 0

    @property
    def seconds(self) -> float:
        """Seconds since this was made."""
        return time.perf_counter() - self._began

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochStarted):
            self._epoch_began = time.perf_counter()
            self._batches = event.batches - event.position
        elif isinstance(event, Evaluated):
            self._file.write(
                line(
                    {
                        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                        "epoch": event.epoch,
                        "step": event.step,
                        "seconds": round(time.perf_counter() - self._epoch_began, 4),
                        "batches": self._batches,
                    }
                )
            )

    def close(self) -> None:
        self._file.close()
