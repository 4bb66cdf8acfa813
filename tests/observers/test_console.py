"""What a person sees, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest

from dltrain.events import EpochStarted, Evaluated, Event, Finished, Logged, WatchedRun
from dltrain.goal import Goal
from dltrain.observers.console import (
    JsonLines,
    MutedWhenClosed,
    PlainLines,
    ProgressBar,
    choose_console,
    format_duration,
    format_metric,
    ignore,
    show_progress,
)

GOAL = Goal("accuracy", "max")
EVENTS: list[Event] = [
    EpochStarted(1, 2, 0, 20),
    Logged(10, 1, 10, 20, 640, 0.5, 1e-3),
    Evaluated(20, 1, 2, 0.4, 1e-3, {"accuracy": 0.9, "loss": 0.3}, improved=True),
    EpochStarted(2, 2, 0, 20),
    Logged(30, 2, 10, 20, 640, 0.2, 1e-3),
    Evaluated(40, 2, 2, 0.1, 1e-3, {"accuracy": 0.8, "loss": 0.3}, improved=False),
    Finished(40, 2, "all 2 epochs done"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_elsewhere_one_plain_line_an_epoch() -> None:
    out = io.StringIO()
    observer = choose_console(GOAL, out)
    assert isinstance(observer, PlainLines)
    for event in EVENTS:
        observer(event)
    assert out.getvalue().splitlines() == [
        "epoch 1/2  loss 0.4000  validation accuracy 0.9000, loss 0.3000  0.0 s  best",
        "epoch 2/2  loss 0.1000  validation accuracy 0.8000, loss 0.3000  0.0 s",
        "finished at step 40: all 2 epochs done",
    ]


@pytest.mark.parametrize("metric", ["loss", "rmse", "accuracy", "balanced_accuracy", "character_error_rate"])
@pytest.mark.parametrize("seconds", [0.1, 12.3, 3599, 7300])
def test_an_epoch_s_line_fits_into_80_columns(metric: str, seconds: float, clock: list[float]) -> None:
    for score, epochs in ((0.5, 9), (123456.789, 100), (1e-7, 1000)):
        out = io.StringIO()
        lines = PlainLines(Goal(metric, "min"), out)
        lines(EpochStarted(1, epochs, 0, 20))
        clock[0] += seconds
        lines(Evaluated(20, 1, epochs, 0.4, 1e-3, {metric: score, "loss": score}, improved=True))
        line = out.getvalue().rstrip("\n")
        assert len(line) <= 80
        assert f"{metric} {score:.4g}"[:-1] in line
        assert line.endswith(f"{format_duration(seconds)}  best")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.12345, "0.1235"), (3.2e-05, "3.2e-05"), (12345.678, "12345.6780"), (None, "undefined")],
)
def test_a_number_is_never_shown_as_nothing(value: float | None, text: str) -> None:
    assert format_metric(value) == text


def test_long_epochs_give_a_line_every_half_minute(clock: list[float]) -> None:
    out = io.StringIO()
    observer = PlainLines(GOAL, out)
    observer(EVENTS[0])
    for step in range(1, 8):
        clock[0] += 10
        observer(Logged(step, 1, step, 20, 100, 0.5, 1e-3))
    assert out.getvalue().splitlines() == [
        "epoch 1  batch 3/20  loss 0.5000  10 examples/s",
        "epoch 1  batch 6/20  loss 0.5000  10 examples/s",
    ]


def test_a_terminal_gets_a_bar_with_loss_score_and_speed(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    observer = choose_console(GOAL, out)
    assert isinstance(observer, ProgressBar)
    for event in EVENTS:
        clock[0] += 1
        observer(event)
    shown = out.getvalue()
    assert "epoch 1/2" in shown
    assert "loss 0.5000" in shown
    assert "accuracy 0.9000" in shown
    assert "examples/s" in shown
    assert "75%" in shown
    assert re.search(r"examples/s \S+0:00:01\S+ left", shown)
    assert "finished at step 40: all 2 epochs done" in shown
    observer.close()


def test_json_lines_hold_every_event() -> None:
    out = io.StringIO()
    observer = JsonLines(out)
    for event in EVENTS:
        observer(event)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["event"] for entry in told] == [type(event).__name__ for event in EVENTS]
    assert told[2]["report"] == {"accuracy": 0.9, "loss": 0.3}


def test_a_closed_stream_silences_the_observer_and_nothing_else() -> None:
    out = io.StringIO()
    observer = MutedWhenClosed(PlainLines(GOAL, out))
    out.close()
    for event in EVENTS:
        observer(event)


def test_quiet_says_nothing() -> None:
    assert show_progress(WatchedRun(Path(), {}, "iris", GOAL, quiet=True)) is ignore
    ignore(EVENTS[0])


@pytest.mark.parametrize(("seconds", "told"), [(4.23, "4.2 s"), (185, "3 min 05 s"), (3720, "1 h 02 min")])
def test_durations_as_a_person_writes_them(seconds: float, told: str) -> None:
    assert format_duration(seconds) == told
