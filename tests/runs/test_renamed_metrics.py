"""Metrics of rows with weights are called row_weighted_*; runs and configs that say weighted_* work as before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dltrain.core.checkpoint import Checkpoints
from dltrain.core.record import History, Record
from dltrain.goal import Goal, get_current_name
from dltrain.runs import building
from dltrain.tasks import regression
from support.commands import call, good

CONFIG = """\
task: {name: regression, goal: weighted_rmse}
data: {name: table, training: rows.csv, target: y, weight: w}
model: {name: dense, hidden: [4]}
optimizer: {name: adam, learning_rate: 0.02}
trainer: {epochs: 3, device: cpu, threads: 1}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i * 37 % 19},{i * 11 % 23},{i * 37 % 19 - 2 * (i * 11 % 23)},{1 + i % 3}" for i in range(80)]
    Path("rows.csv").write_text("\n".join(["a,b,y,w", *rows]) + "\n")
    Path("a.yaml").write_text(CONFIG)


def last_record(run: str) -> Record:
    last = Checkpoints(Path(run, "checkpoints")).last()
    assert last is not None
    return last.record


def test_the_former_name_of_a_metric_is_its_new_one() -> None:
    assert get_current_name("weighted_rmse", ["rmse", "row_weighted_rmse"]) == "row_weighted_rmse"
    assert get_current_name("weighted_f1", ["weighted_f1"]) == "weighted_f1", "the mean over the classes"
    assert get_current_name("weighted_mae", ["weighted_mae"]) == "weighted_mae", "a plug-in's own"
    old = History({"epoch": n, **{f"weighted_{name}": 3.0 - n for name in regression.ERRORS}} for n in (1, 2))
    assert old.best(Goal("row_weighted_rmse", "min")) == 1
    assert list(old[0])[:2] == ["epoch", "row_weighted_rmse"]
    assert list(History([{"epoch": 1, "weighted_mae": 1.0}])[0]) == ["epoch", "weighted_mae"]


def test_configs_with_the_former_name_train(monkeypatch: pytest.MonkeyPatch) -> None:
    good("fit", "a.yaml", "-o", "old", "-q")
    good("fit", "a.yaml", "-o", "new", "-q", "--set", "task.goal=row_weighted_rmse")
    assert last_record("old").history == last_record("new").history
    found = json.loads(good("eval", "old", "--json", "--require", "weighted_rmse<=1e9").stdout)
    assert found["goal"] == "row_weighted_rmse"
    assert {f"row_weighted_{name}" for name in regression.ERRORS} < set(found["metrics"])
    assert not any(name.startswith("weighted_") for name in found["metrics"])
    wrong = call("fit", "a.yaml", "-o", "c", "--set", "task.goal=weighted_mape")
    assert "row_weighted_mae" in str(wrong.exception)
    assert " weighted_" not in str(wrong.exception)


def test_runs_of_earlier_versions_are_read_and_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    good("fit", "a.yaml", "-o", "whole", "-q", "--set", "trainer.epochs=5")
    with monkeypatch.context() as before:
        before.setattr(regression, "WEIGHTED_PREFIX", "weighted_")
        before.setattr(building, "get_current_name", lambda name, reported: name)
        good("fit", "a.yaml", "-o", "run", "-q")
        good("eval", "run")
    epochs = [json.loads(line) for line in Path("run", "metrics.jsonl").read_text().splitlines()]
    assert "validation_weighted_rmse" in epochs[1]
    assert "weighted_rmse" in Path("run", "evaluations.jsonl").read_text().replace("row_weighted", "")
    (listed,) = json.loads(good("runs", "run", "--json").stdout)["runs"]
    assert listed["metric"] == "row_weighted_rmse"
    assert listed["best"] is not None
    assert listed["test"] is not None
    assert "row_weighted_rmse" in good("eval", "run").output
    good("fit", "run", "-q", "--set", "trainer.epochs=5")
    assert last_record("run").history == last_record("whole").history
