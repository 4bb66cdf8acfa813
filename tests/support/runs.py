"""Runs trained in this process, stopped or killed on purpose, and the bytes they leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from dltrain.config.experiment import load_experiment
from dltrain.errors import Stopped
from dltrain.events import Event
from dltrain.observers.console import Messenger
from dltrain.runs.building import Training
from dltrain.runs.directory import open_run
from dltrain.runs.training import train_run
from dltrain.runtime.interrupts import Interrupts


class Recorded(Messenger):
    """Keeps the messages in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _print(self, text: str) -> None:
        self.lines.append(text)


class Killed(BaseException):
    """Ends a training from inside, without a word, as SIGKILL does."""


class StopAt(Interrupts):
    """Stops, or is killed, when it is asked for the n-th time: after n updates or batches of evaluation."""

    def __init__(self, asked: int, kill: bool = False) -> None:
        super().__init__()
        self.left = asked
        self.kill = kill

    def pending(self) -> Stopped | None:
        self.left -= 1
        if self.left == 0:
            if self.kill:
                raise Killed
            return Stopped("stopped by the test", 130)
        return None


class SaveAlways(Interrupts):
    """Asks for a checkpoint whenever it is asked."""

    def take_save_request(self) -> bool:
        return True


def run_once(
    config: Path,
    directory: Path,
    interrupts: Interrupts,
    events: list[Event] | None = None,
    messenger: Messenger | None = None,
) -> Training:
    experiment = load_experiment(config).experiment
    run = open_run(directory, experiment)
    seen: list[Event] = [] if events is None else events
    try:
        return train_run(experiment, run, interrupts, lambda _: [seen.append], messenger or Messenger(quiet=True))
    finally:
        run.release()


def run_to_end(config: Path, directory: Path, stops: list[Interrupts]) -> Training:
    for stop in stops:
        with pytest.raises((Stopped, Killed)):
            run_once(config, directory, stop)
    return run_once(config, directory, Interrupts())


def outcome(directory: Path) -> dict[str, bytes]:
    """Every byte that must not depend on interruptions: the final checkpoint and what was measured."""
    final = sorted((directory / "checkpoints").glob("step-*[0-9]"))[-1]
    files = [*sorted(final.iterdir()), directory / "metrics.jsonl", directory / "config.yaml"]
    return {path.name: path.read_bytes() for path in files}
