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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from dltrain.core.record import History
from dltrain.events import EpochStarted, Evaluated, Event, Logged, WatchedRun
from dltrain.files import find_free_directory
from dltrain.goal import Goal
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
    it cuts the file back to there, since it will write the rest again. Where the file is shorter than that or holds
    something else, it is kept under another name, and written again from `evaluations`, those of the checkpoint's
    history: the lines of steps are lost, which `warn` reports.
    """

    def __init__(
        self,
        path: Path,
        mark: Mapping[str, Any] | None,
        header: Mapping[str, Any],
        evaluations: Callable[[], Sequence[Evaluated]] = list,
        *,
        warn: Callable[[str], None],
    ) -> None:
        self._dataset = header["dataset"]
        damaged = None if mark is None or _begins_with(path, mark) else _set_aside(path)
        path.touch()
        self._file = path.open("r+b")
        self._digest = hashlib.sha256()
        self._size = 0
        if mark is not None and damaged is None:
            kept = self._file.read(mark["size"])
            self._digest.update(kept)
            self._size = len(kept)
        self._file.seek(self._size)
        self._file.truncate()
        if mark is None or damaged is not None:
            self._append({"event": "run", **header})
        if damaged is not None:
            logged = evaluations()
            for evaluation in logged:
                self(evaluation)
            kept_as = f", kept as {damaged.name}" if damaged.exists() else ""
            warn(
                f"{path}: damaged{kept_as}; its {len(logged)} lines of evaluations are written again from the "
                "checkpoint, those of steps until then are lost"
            )

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


def _begins_with(path: Path, mark: Mapping[str, Any]) -> bool:
    """Whether a file begins with the content that a mark describes."""
    try:
        with path.open("rb") as file:
            kept = file.read(mark["size"])
    except OSError:
        return False
    return {"size": len(kept), "sha256": hashlib.sha256(kept).hexdigest()} == dict(mark)


def _set_aside(path: Path) -> Path:
    """Rename what is at a path, if anything is; the free name beside it."""
    aside = find_free_directory(path.with_name(f"damaged-{path.name}"))
    with suppress(FileNotFoundError):
        path.rename(aside)
    return aside


def list_evaluations(history: History, goal: Goal, epochs: int) -> list[Evaluated]:
    """The events of a history's evaluations, as far as they are logged."""
    improved = history.improvements(goal)
    return [
        Evaluated(
            step=entry["step"],
            epoch=entry["epoch"],
            epochs=epochs,
            training_loss=entry["training_loss"],
            learning_rate=entry["learning_rate"],
            report=cast("dict[str, float]", history.metrics(index)),
            improved=improved[index],
            shown=(),
        )
        for index, entry in enumerate(history)
    ]


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
