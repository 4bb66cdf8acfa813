"""What a person sees, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
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
        "epoch 1/2  loss 0.4000  validation accuracy 0.9000  validation loss 0.3000  0.0 s  best",
        "epoch 2/2  loss 0.1000  validation accuracy 0.8000  validation loss 0.3000  0.0 s",
        "finished at step 40: all 2 epochs done",
    ]


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
    monkeypatch.setenv("COLUMNS", "120")
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
