"""What a person sees: a progress bar on a terminal, plain lines elsewhere, JSON lines on request. All on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TextIO

from dltrain.errors import DltrainError, find_plugin_line
from dltrain.escaping import open_console, show_controls
from dltrain.events import BatchesDivided, EpochStarted, Evaluated, Event, Finished, Logged, Observer, WatchedRun
from dltrain.goal import Goal
from dltrain.registry import observers

SECONDS_BETWEEN_LINES = 30.0
WIDTH = 80
"""Columns that an epoch's line takes at most."""
BAR_WIDTH = 12
SHORT_DURATION = len("12.3 s")


def format_duration(seconds: float) -> str:
    """Seconds as a person writes them: 4.2 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02d} min"


def format_metric(value: float | None) -> str:
    """A loss or metric with four decimals, or four significant digits where these would show nothing or too much."""
    if value is None or math.isnan(value):
        return "undefined"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def format_baselines(baselines: Mapping[str, Mapping[str, float | None]], metric: str) -> str:
    """The score of each baseline by `metric`: rmse of mean 1.0312, of linear 0.7264."""
    scores = [f"{name} {format_metric(metrics.get(metric))}" for name, metrics in baselines.items()]
    return f"{metric} of {', of '.join(scores)}"


class Narration:
    """What a bar and plain lines have in common: the clocks, and the texts on updates and on epochs."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._start = self._epoch_start = time.perf_counter()
        self._examples = 0

    def describe_speed(self, event: Logged) -> str:
        """Examples a second since training started in this process."""
        self._examples += event.examples
        rate = self._examples / max(1e-9, time.perf_counter() - self._start)
        return f"{rate:.0f} {self._goal.counted}/s"

    def describe_epoch(self, event: Evaluated) -> str:
        """The line of an epoch, in up to `WIDTH` columns, and what the task shows below it."""
        epoch = f"{event.epoch:>{len(str(event.epochs))}}" if event.epoch % 1 == 0 else f"{event.epoch:.2f}"
        start = f"epoch {epoch}/{event.epochs}  loss {format_metric(event.training_loss)}  "
        now = time.perf_counter()
        duration, self._epoch_start = format_duration(now - self._epoch_start), now
        room = WIDTH - len(start) - len("  ") - max(len(duration), SHORT_DURATION) - len("  best")
        forms = self._list_forms(event)
        fitting = next((form for form in forms if len(form) <= room), forms[-1])
        line = f"{start}{fitting}{'  ' if fitting else ''}{duration}{'  best' if event.improved else ''}"
        return "\n  ".join((line, *event.shown))

    def _list_forms(self, event: Evaluated) -> list[str]:
        """The validation scores of an epoch as text, the most complete one first."""
        metric = self._goal.metric
        if metric not in event.report:
            return [""]
        score = f"{metric} {format_metric(event.report[metric])}"
        with_loss = "loss" in event.report and metric != "loss"
        complete = [f"validation {score}, loss {format_metric(event.report['loss'])}"] if with_loss else []
        return [*complete, f"validation {score}", score]


def describe_division(event: BatchesDivided) -> str:
    return f"note: no memory left at step {event.step}: from there on each batch is computed in {event.parts} parts"


class PlainLines(Narration):
    """One line an epoch, and one every half minute within long epochs: for files, pipes and cron."""

    def __init__(self, goal: Goal, out: TextIO) -> None:
        super().__init__(goal)
        self._out = out
        self._last_line = time.perf_counter()

    def _print(self, text: str) -> None:
        self._last_line = time.perf_counter()
        print(text, file=self._out, flush=True)

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochStarted):
            self._epoch_start = time.perf_counter()
        elif isinstance(event, Logged):
            speed = self.describe_speed(event)
            if time.perf_counter() - self._last_line >= SECONDS_BETWEEN_LINES:
                position = f"batch {event.position}/{event.batches}"
                self._print(f"epoch {event.epoch}  {position}  loss {format_metric(event.loss)}  {speed}")
        elif isinstance(event, BatchesDivided):
            self._print(describe_division(event))
        elif isinstance(event, Evaluated):
            self._print(self.describe_epoch(event))
        elif isinstance(event, Finished):
            self._print(f"finished at step {event.step}: {event.why}")


class JsonLines:
    """Every event as one JSON object a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        values = {"event": type(event).__name__, "time": round(time.time(), 3), **asdict(event)}
        print(json.dumps(values), file=self._out, flush=True)


class ProgressBar(Narration):
    """A bar over the whole run, with loss, speed and the time left, and a line above it for each epoch."""

    def __init__(self, goal: Goal, out: TextIO) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__(goal)
        # Refreshed by events, not by a thread of its own that would take time from training.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=open_console(out),
            auto_refresh=False,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=None, facts="")

    def __call__(self, event: Event) -> None:
        progress = self._progress
        if isinstance(event, EpochStarted):
            self._epoch_start = time.perf_counter()
            total, done = event.limit or event.epochs * event.batches, _count_batches(event)
            progress.update(self._bar, description=f"epoch {event.epoch}/{event.epochs}", total=total, completed=done)
            if not progress.live.is_started:
                progress.start()
            progress.refresh()
        elif isinstance(event, Logged):
            facts = f"loss {format_metric(event.loss)}  {self.describe_speed(event)}"
            progress.update(self._bar, completed=_count_batches(event), facts=facts)
            progress.refresh()
        elif isinstance(event, BatchesDivided):
            progress.console.print(describe_division(event), highlight=False)
        elif isinstance(event, Evaluated):
            progress.console.print(show_controls(self.describe_epoch(event)), highlight=False, markup=False)
        elif isinstance(event, Finished):
            self.close()
            progress.console.print(f"finished at step {event.step}: {event.why}", highlight=False)

    def close(self) -> None:
        """Take the bar off the terminal; also when training ends by an error, or the terminal is gone."""
        with suppress(OSError, ValueError):
            self._progress.stop()


def _count_batches(event: EpochStarted | Logged) -> int:
    """The batches of the whole run so far."""
    return (event.epoch - 1) * event.batches + event.position


@observers.register("progress")
def show_progress(run: WatchedRun) -> Observer:
    """Progress on stderr: a bar on a terminal, a line for each epoch elsewhere. The option `--quiet` silences it."""
    return ignore if run.quiet else MutedWhenClosed(choose_console(run.goal, sys.stderr))


def choose_console(goal: Goal, out: TextIO) -> Observer:
    """The observer that fits where the messages go."""
    return ProgressBar(goal, out) if out.isatty() else PlainLines(goal, out)


def ignore(event: Event) -> None:
    """Print nothing."""


class MutedWhenClosed:
    """An observer that is silent for good once its stream is closed: a lost terminal or pipe must not end training."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __call__(self, event: Event) -> None:
        try:
            self._observer(event)
        except (OSError, ValueError):  # ValueError: the file object itself was closed
            self._observer = ignore

    def close(self) -> None:
        if isinstance(self._observer, ProgressBar):
            self._observer.close()


class Messenger:
    """Writes messages to stderr, as text or as JSON lines. A closed stderr never stops training."""

    def __init__(self, quiet: bool = False, json_lines: bool = False) -> None:
        self.quiet = quiet
        self.json_lines = json_lines

    def inform(self, line: str) -> None:
        """Write a note; with `quiet` and without `json_lines` it is left out."""
        if self.json_lines or not self.quiet:
            self._write("note", line, line)

    def warn(self, line: str) -> None:
        self._write("warning", line, "warning: " + line.replace("\n", "\n  "))

    def describe(self, kind: str, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Write `lines`, or with `json_lines` one object with the values; with `quiet` alone neither."""
        if self.json_lines:
            self._print(json.dumps({"event": kind, **values}))
        elif not self.quiet:
            self._print("\n".join(lines))

    def _write(self, kind: str, text: str, line: str) -> None:
        self._print(json.dumps({"event": kind, "text": text}) if self.json_lines else line)

    def _print(self, text: str) -> None:
        try:
            # A bar on the terminal has put a stream of its own there.
            print(show_controls(text) if sys.stderr.isatty() else text, file=sys.stderr, flush=True)  # noqa: T201
        except OSError:
            self.quiet = True


class Guarded:
    """An observer that is dropped, with a warning, once it raises an error of its own.

    OSError is not caught: where the disk is full, training has to stop as well.
    """

    def __init__(self, name: str, observer: Observer, warn: Callable[[str], None]) -> None:
        self._name, self._observer, self._warn = name, observer, warn
        self._failed = False

    def __call__(self, event: Event) -> None:
        if self._failed:
            return
        try:
            self._observer(event)
        except (OSError, DltrainError):
            raise
        except Exception as error:
            self._failed = True
            line = find_plugin_line(error)
            where = "" if line is None else f" ({line.file}:{line.number}: {line.text})"
            self._warn(f"observer '{self._name}' failed and is dropped: {type(error).__name__}: {error}{where}")

    def close(self) -> None:
        close = getattr(self._observer, "close", None)
        if close is not None:
            with suppress(Exception):
                close()
