"""The logs of a run, one event a line.

metrics.jsonl holds what training measured, the same bytes however often the run was interrupted; times.jsonl, kept
apart because it is not exact, when each epoch ended and how fast it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dltrain.errors import UsageError
from dltrain.events import EpochStarted, Evaluated, Event, Logged, WatchedRun
from dltrain.registry import observers


def format_json_line(values: Mapping[str, Any]) -> bytes:
    """One line of strict JSON; a number that is not finite becomes null."""
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
    return json.dumps(plain).encode() + b"\n"


class MetricsLog:
    """Appends to metrics.jsonl. Holds no clock time: that belongs to times.jsonl.

    A checkpoint records the size and the SHA-256 of the file when it was written (`mark`); a run that continues from
    it cuts the file back to there, since it will write the rest again. Raises UsageError where the file is shorter
    than that or holds something else.
    """

    def __init__(self, path: Path, mark: Mapping[str, Any] | None, header: Mapping[str, Any]) -> None:
        path.touch()
        self._file = path.open("r+b")
        self._digest = hashlib.sha256()
        self._size = 0
        self._dataset = header["dataset"]
        if mark is not None:
            kept = self._file.read(mark["size"])
            self._digest.update(kept)
            self._size = len(kept)
            if self.mark() != mark:
                self._file.close()
                raise UsageError(
                    f"{path}: its first {mark['size']} bytes differ from those when the checkpoint was written",
                    advice="restore the file, or start again with --fresh",
                )
        self._file.seek(self._size)
        self._file.truncate()
        if mark is None:
            self._append({"event": "run", **header})

    def _append(self, values: Mapping[str, Any]) -> None:
        content = format_json_line(values)
        self._file.write(content)
        self._file.flush()
        self._digest.update(content)
        self._size += len(content)

    def mark(self) -> dict[str, Any]:
        return {"size": self._size, "sha256": self._digest.hexdigest()}

    def sync(self) -> None:
        """Flush to the disk: no checkpoint may know of a line that a power cut can take away."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # what a full disk did not take is written again by the run that continues
            self._file.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Logged):
            names = ("step", "epoch", "loss", "learning_rate", "gradient_norm")
            self._append({"event": "step", **{name: getattr(event, name) for name in names}})
        elif isinstance(event, Evaluated):
            validation = {f"validation_{name}": value for name, value in event.report.items()}
            facts = {"event": "epoch", "step": event.step, "epoch": event.epoch, "dataset": self._dataset}
            training = {"training_loss": event.training_loss, "learning_rate": event.learning_rate}
            self._append({**facts, **training, **validation, "improved": event.improved})


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
        elif isinstance(event, Evaluated) and event.epoch % 1 == 0:
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
