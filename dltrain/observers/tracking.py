"""What experiment trackers have in common: rows from metrics.jsonl, sent by a thread that training never waits for.

metrics.jsonl is the queue. The thread reads there what it has not sent yet, so memory stays bounded, a tracker that was
away catches up, one that is added to a resumed run gets the whole history, and a resumed run, which cuts metrics.jsonl
back, cuts the tracker back too. A tracker that raises is opened again after a pause, and reads from the start again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any, Protocol

from dltrain.events import Evaluated, Event, Finished, Interrupted, Logged, WatchedRun

METRICS = "metrics.jsonl"
ROWS_AT_ONCE = 500
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a tracker that failed is tried again; each failure doubles them."""


@dataclass(frozen=True)
class Row:
    """The scalars of one line of metrics.jsonl, such as `training/loss`, without those that are not finite."""

    kind: str
    step: int
    epoch: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrainingEnd:
    """Why training ended, and whether it is `finished`, `stopped` (the same command continues) or `failed`."""

    state: str = "failed"
    why: str = "training ended by an error"


class Tracker(Protocol):
    """Where rows go. Only one thread calls it; what it raises is reported once, and it is opened again later."""

    interval: float
    """Seconds between two writes."""

    def open(self) -> None:
        """Connect, and find out what is there from an earlier process. Every row since the start follows."""

    def write(self, rows: list[Row]) -> None:
        """Add rows, but those that are there. Raises StartAgain where what is there contradicts them."""

    def close(self, ending: TrainingEnd) -> None:
        """Add the pictures and how training ended."""


class StartAgain(Exception):
    """The tracker has to be opened again, and to get every row again."""


def make_row(line: Mapping[str, Any]) -> Row | None:
    """The scalars of one line of metrics.jsonl; None for the line that describes the run."""
    kind = line["event"]
    if kind not in ("step", "epoch"):
        return None
    values = {}
    for name, value in line.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or name in ("step", "epoch"):
            continue
        if name.startswith("validation_"):
            values[f"validation/{name.removeprefix('validation_')}"] = float(value)
        elif kind == "step":
            values[f"training/{name}"] = float(value)
        else:
            values[f"epoch/{name}"] = float(value)
    return Row(kind, line["step"], line["epoch"], values)


class RowReader:
    """Reads the rows of metrics.jsonl that have been added since the last time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self.count = 0

    def read(self) -> list[Row]:
        """Up to `ROWS_AT_ONCE` rows; a line that is still being written is left for the next time."""
        rows: list[Row] = []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n") or len(rows) == ROWS_AT_ONCE:
                    break
                self._offset += len(line)
                if (row := make_row(json.loads(line))) is not None:
                    rows.append(row)
        self.count += len(rows)
        return rows


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a metrics.jsonl."""
    reader = RowReader(path)
    while rows := reader.read():
        yield from rows


def flatten_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config by dotted path; a list is one value."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{path}": leaf for path, leaf in flatten_settings(value).items()}
        else:
            flat[str(name)] = value
    return flat


def list_pictures(directory: Path) -> list[Path]:
    """The pictures of a run: its curves, and those of earlier evaluations, such as the confusion matrix."""
    return sorted((directory / "plots").glob("*.png"))


class BackgroundTracking:
    """The observer of a tracker: it wakes a thread, and never waits for it before training has ended.

    `patience` is for how many seconds the end of training waits for what has not been sent. What was not sent then is
    reported. Messages come from the thread that trains, so they never run into a progress bar.
    """

    def __init__(self, name: str, tracker: Tracker, run: WatchedRun, *, patience: float) -> None:
        self._name, self._tracker, self._run, self._patience = name, tracker, run, patience
        self._path = run.directory / METRICS
        self._sent = 0
        self._wake, self._closing = Signal(), Signal()
        self._ending = TrainingEnd()
        self._problem: str | None = None
        self._warned = False
        self._done = False
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Logged | Evaluated):
            self._wake.set()
        elif isinstance(event, Finished):
            self._ending = TrainingEnd("finished", event.why)
        elif isinstance(event, Interrupted):
            self._ending = TrainingEnd("stopped" if event.resumable else "failed", event.why)
        if self._problem is not None and not self._warned:
            self._warned = True
            self._run.warn(f"observer '{self._name}': {self._problem}; training continues, and it is tried again")

    def close(self) -> None:
        """Wait for the thread, at most `patience` seconds, and report what it could not send."""
        self._closing.set()
        self._wake.set()
        self._thread.join(self._patience)
        if self._done:
            return
        total = sum(1 for _ in read_rows(self._path))
        why = self._problem or f"no answer within {self._patience:g} s"
        left = total - self._sent
        missing = f"{left} of {total} rows were not sent" if left > 0 else "the end of the run was not sent"
        self._run.warn(f"observer '{self._name}': {missing} ({why}); {self._path} has them all")

    def _work(self) -> None:
        pause, opened, reader = FIRST_PAUSE, False, RowReader(self._path)
        while True:
            final = self._closing.is_set()
            try:
                if not opened:
                    reader = RowReader(self._path)
                    self._tracker.open()
                    opened = True
                while rows := reader.read():
                    self._tracker.write(rows)
                    self._sent = max(self._sent, reader.count)
                if final:
                    self._tracker.close(self._ending)
                    self._done = True
                    return
                self._problem, pause = None, FIRST_PAUSE
                self._wake.wait()
                self._wake.clear()
                self._closing.wait(self._tracker.interval)
            except StartAgain:
                opened = False
            except Exception as error:
                opened, self._problem = False, describe_problem(error)
                if final:
                    return
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)


def describe_problem(error: Exception) -> str:
    """The first line of an error, shortened, with its type."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
