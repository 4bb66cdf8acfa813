"""Trackers: each step once however often a run is killed, training that does not notice them, and what they report."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dltrain.cli.main import application
from dltrain.errors import Stopped
from dltrain.events import EpochStarted, Event, Finished, Logged, WatchedRun
from dltrain.goal import Goal
from dltrain.observers.tracking import BackgroundTracking, Row, RowReader, StartAgain, TrainingEnd, make_row, read_rows
from dltrain.runtime.interrupts import Interrupts
from support.runs import StopAt
from support.trackers import CONFIG, KILLS, list_points, read_weights, train, train_once


def test_a_row_has_the_numbers_of_its_line_and_no_others() -> None:
    assert make_row({"event": "run", "seed": 1}) is None
    line = {"event": "step", "step": 3, "epoch": 1, "loss": 0.5, "learning_rate": None, "gradient_norm": 2}
    assert make_row(line) == Row("step", 3, 1, {"training/loss": 0.5, "training/gradient_norm": 2.0})
    line = {"event": "epoch", "step": 3, "epoch": 1, "dataset": "a", "training_loss": 1.0, "validation_loss": 2.0}
    values = {"epoch/training_loss": 1.0, "validation/loss": 2.0}
    assert make_row({**line, "improved": True}) == Row("epoch", 3, 1, values)


def test_a_line_that_is_still_being_written_is_read_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = json.dumps({"event": "step", "step": 1, "epoch": 1, "loss": 0.5}).encode() + b"\n"
    path.write_bytes(line + line[:-9])
    reader = RowReader(path)
    assert len(reader.read()) == 1
    assert reader.read() == []
    path.write_bytes(2 * line)
    assert len(reader.read()) == 1


def test_csv_has_each_row_once_after_kills(tmp_path: Path) -> None:
    train(tmp_path / "killed", [{"name": "csv", "file": "log.csv"}], *(StopAt(each, kill=True) for each in KILLS))
    train(tmp_path / "whole", ["csv"])
    written = (tmp_path / "whole" / "metrics.csv").read_text()
    assert (tmp_path / "killed" / "log.csv").read_text() == written
    rows = list(csv.DictReader(written.splitlines()))
    found = []
    for row in rows:
        event, step, epoch = row.pop("event"), int(row.pop("step")), float(row.pop("epoch"))
        found += [("epoch", step, epoch)] if event == "epoch" else []
        found += [(name, step, float(value)) for name, value in row.items() if value]
    assert sorted(found) == list_points(tmp_path / "whole")


def test_tensorboard_shows_each_step_once_after_kills(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    assert train(run, ["tensorboard", "report"], *(StopAt(each, kill=True) for each in KILLS)) == []
    read = event_accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    found = [(tag, each.step, each.value) for tag in read.Tags()["scalars"] for each in read.Scalars(tag)]
    expected = list_points(run)
    assert [each[:2] for each in sorted(found)] == [each[:2] for each in expected]
    assert [each[2] for each in sorted(found)] == pytest.approx([each[2] for each in expected], rel=1e-6)  # float32
    assert read.Tags()["images"] == ["plots/training"]
    state = [text.tensor_proto.string_val[0].decode() for text in read.Tensors("state/text_summary")]
    assert state[-1] == "finished: all 3 epochs done"
    assert "bundled_table" in read.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


def test_tensorboard_keeps_the_times_of_kept_steps_and_gets_the_history_of_a_run_that_it_joins(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"

    def read() -> dict[int, float]:
        accumulator = event_accumulator.EventAccumulator(str(run / "tensorboard"))
        accumulator.Reload()
        return {each.step: each.wall_time for each in accumulator.Scalars("training/loss")}

    for observer in ("csv", "tensorboard"):
        with pytest.raises(Stopped):
            train_once(run, [observer], StopAt(5))
    first = read()
    assert min(first) == 1
    train(run, ["tensorboard"])
    second = read()
    assert {step: second[step] for step in first} == first
    assert len(second) > len(first)


def test_trackers_change_no_byte_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(tmp_path / "watched", ["csv", "tensorboard"])
    train(tmp_path / "alone", [])
    assert read_weights(tmp_path / "watched") == read_weights(tmp_path / "alone")
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("watched", "alone")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_reported_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dltrain.runs.fitting.find_spec", lambda package: None)
    Path("a.yaml").write_text(yaml.safe_dump({**CONFIG, "observers": ["times", name]}))
    with Interrupts() as interrupts:
        result = CliRunner().invoke(application(["fit"]), ["fit", "a.yaml", "-o", "run"], obj=interrupts)
    assert result.exception is not None
    assert f"observers.2: '{name}' needs the package {name}, which is not installed" in str(result.exception)
    assert f"pip install 'dltrain[{name}]'" in str(result.exception)
    assert not Path("run").exists()


class Scripted:
    """A tracker in memory; `fail` is asked before each call with the number of calls so far."""

    interval = 0.0

    def __init__(self, fail: Callable[[int], None] = lambda number: None) -> None:
        self.fail, self.calls = fail, 0
        self.rows: list[Row] = []
        self.ending: TrainingEnd | None = None

    def _call(self) -> None:
        self.calls += 1
        self.fail(self.calls)

    def open(self) -> None:
        self._call()
        self.rows = []

    def write(self, rows: list[Row]) -> None:
        self._call()
        self.rows += rows

    def close(self, ending: TrainingEnd) -> None:
        self._call()
        self.ending = ending


class Watched:
    """A run directory whose metrics.jsonl grows as a training's does, and the warnings of its observers."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "metrics.jsonl"
        self.path.write_bytes(b'{"event": "run"}\n')
        self.warnings: list[str] = []
        self.run = WatchedRun(directory, {}, "data", Goal("loss", "min"), warn=self.warnings.append)

    def step(self, observer: Callable[[Event], None], step: int) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps({"event": "step", "step": step, "epoch": 1, "loss": 1 / step}).encode() + b"\n")
        observer(Logged(step, 1, position=step, batches=99, examples=1, loss=1 / step, learning_rate=0.1))


def test_a_tracker_that_fails_for_a_while_has_every_row_once_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dltrain.observers.tracking.FIRST_PAUSE", 0.01)

    def fail(number: int) -> None:
        if number in (1, 3, 4):
            raise ConnectionError("the server is away\nfor a while")
        if number == 7:
            raise StartAgain

    watched, tracker = Watched(tmp_path), Scripted(fail)
    observer = BackgroundTracking("scripted", tracker, watched.run, patience=5)
    for step in range(1, 9):
        watched.step(observer, step)
        time.sleep(0.01)
    observer(Finished(8, 1, "done"))
    observer.close()
    assert [row.step for row in tracker.rows] == list(range(1, 9))
    assert tracker.ending == TrainingEnd("finished", "done")
    assert all("the server is away; training continues" in line for line in watched.warnings)
    assert len(watched.warnings) == 1


def test_a_dead_tracker_is_reported_once_and_what_it_lacks_at_the_end(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        raise ConnectionRefusedError("refused")

    watched = Watched(tmp_path)
    observer = BackgroundTracking("dead", Scripted(fail), watched.run, patience=5)
    time.sleep(0.05)
    for step in range(1, 6):
        watched.step(observer, step)
    start = time.monotonic()
    observer.close()
    assert time.monotonic() - start < 2
    assert watched.warnings == [
        "observer 'dead': ConnectionRefusedError: refused; training continues, and it is tried again",
        f"observer 'dead': 5 of 5 rows were not sent (ConnectionRefusedError: refused); {watched.path} has them all",
    ]


def test_a_tracker_that_never_answers_delays_nothing_but_the_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    observer = BackgroundTracking("deaf", Scripted(lambda number: time.sleep(600)), watched.run, patience=0.3)
    start = time.monotonic()
    observer(EpochStarted(1, 1, 0, 99))
    for step in range(1, 200):
        watched.step(observer, step)
    assert time.monotonic() - start < 1
    observer.close()
    assert 0.3 <= time.monotonic() - start < 2
    missing = f"observer 'deaf': 199 of 199 rows were not sent (no answer within 0.3 s); {watched.path} has them all"
    assert watched.warnings == [missing]
    assert len(list(read_rows(watched.path))) == 199
