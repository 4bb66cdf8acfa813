"""`dltrain runs` and `dltrain compare`: what differs is shown, and scores of other data are not ranked."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dltrain.cli.main import to_dltrain_error
from dltrain.cli.runs import describe_cells, format_runs
from dltrain.core.checkpoint import Checkpoints
from dltrain.observers.comparison_picture import average_histories
from dltrain.runs.comparison import hash_split
from dltrain.runs.listing import ListedRun, list_runs, read_run
from dltrain.runtime.interrupts import Interrupts
from support.commands import call, good
from support.runs import StopAt, run_once

ROWS = "\n".join(f"{number % 7},{number % 3},{number * 37 % 11}" for number in range(60))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained runs of a table: a and b differ in their learning rate, c in its model, d in its seed, e in its data."""
    folder = tmp_path_factory.mktemp("compared")
    for name, text in (("rows", ROWS), ("others", ROWS.replace("3,", "4,"))):
        (folder / f"{name}.csv").write_text(f"x,z,y\n{text}\n")
    for name, changes in {
        "a": {},
        "b": {"optimizer": {"name": "adam", "learning_rate": 0.1}},
        "c": {"model": "linear"},
        "d": {"seed": 1},
        "e": {"data": {"name": "table", "training": "others.csv", "target": "y", "batch_size": 16}},
    }.items():
        train(folder, name, changes)
    return folder / "runs"


def train(folder: Path, name: str, changes: Mapping[str, Any]) -> None:
    settings = {
        "task": "regression",
        "data": {"name": "table", "training": "rows.csv", "target": "y", "batch_size": 16},
        "model": {"name": "dense", "hidden": [4]},
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1},
        **changes,
    }
    (folder / f"{name}.yaml").write_text(json.dumps(settings))
    run_once(folder / f"{name}.yaml", folder / "runs" / name, Interrupts())


def compared(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good("compare", *arguments, "--json").stdout)
    return found


def test_only_the_settings_that_differ_are_shown(table: Path) -> None:
    found = compared(table / "a", table / "b")
    assert found["settings"] == {"optimizer.learning_rate": {"a": 0.001, "b": 0.1}}
    assert (found["metric"], found["direction"], found["notes"][:-1]) == ("rmse", "min", [])
    for row in found["runs"]:
        history = Checkpoints(table / row["run"] / "checkpoints").last().record.history  # type: ignore[union-attr]
        assert row["validation"] == min(epoch["rmse"] for epoch in history)
        assert row["history"] == [list(history)]
        assert row["parameters"] == 2 * 4 + 4 + 4 + 1
    best = min(found["runs"], key=lambda row: row["validation"])["run"]
    assert found["best"] == best
    result = good("compare", table / "a", table / "b", table / "a")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[:2] == [["run", "a", "b"], ["optimizer.learning_rate", "0.001", "0.1"]]
    assert f"best: {best}, validation rmse" in result.stdout
    advice = f"choose by validation, then measure the chosen one, say `dltrain eval {table / best}`"
    assert result.stderr == f"note: no test scores; {advice}\n"


def test_an_option_that_another_model_lacks_is_shown_where_it_is_set(table: Path) -> None:
    found = compared(table / "a", table / "c")["settings"]
    assert found["model.name"] == {"a": "dense", "c": "linear"}
    assert found["model.hidden"] == {"a": [4], "c": None}
    assert "model.batch_norm" not in found  # at its default


def test_scores_of_other_examples_are_not_comparable(table: Path) -> None:
    same = compared(table / "a", table / "b")["comparable"]
    assert same == {"validation": True, "test": None}
    assert hash_split(table / "a", "validation") == hash_split(table / "b", "validation") is not None
    seeds = compared(table / "a", table / "d")
    assert (seeds["comparable"]["validation"], seeds["best"]) == (False, None)
    assert "the same files, but other validation examples, because of another seed" in seeds["notes"][0]
    files = compared(table / "a", table / "e")
    assert files["notes"][0] == "the validation scores are not comparable: the runs read different data: a | e"
    assert files["settings"] == {"data.training": {"a": "rows.csv", "e": "others.csv"}}
    assert "best:" not in good("compare", table / "a", table / "e").stdout


def test_test_scores_come_from_evaluations(table: Path) -> None:
    measured = {}
    for name in ("a", "d"):
        measured[name] = json.loads(good("eval", table / name, "--json").stdout)["metrics"]
    found = compared(table / "a", table / "d", table / "b")
    assert [row["test"] for row in found["runs"]] == [measured["a"]["rmse"], measured["d"]["rmse"], None]
    assert found["comparable"]["test"] is False
    assert any(note.startswith("no test score of b; measure one") for note in found["notes"])
    by_loss = compared(table / "a", table / "d", "--metric", "mae")
    assert [row["test"] for row in by_loss["runs"]] == [measured["a"]["mae"], measured["d"]["mae"]]
    listed = {run.name: run.test for run in list_runs(table)}
    assert listed["a"] == measured["a"]["rmse"]


def test_a_parent_is_compared_by_mean_and_deviation(table: Path, tmp_path: Path) -> None:
    parent = tmp_path / "runs" / "many-seeds"
    parent.mkdir(parents=True)
    for name in ("a", "d"):
        (parent / f"seed-{name}").symlink_to(table / name)
    (parent / "summary.json").write_text('{"kind": "dltrain fit --seeds"}')
    scores = [read_run(table / name).best for name in ("a", "d")]
    found = compared(parent, table / "b")
    row = found["runs"][0]
    assert row["run"] == "many-seeds" or row["run"].endswith("/many-seeds")
    assert row["validation"] == pytest.approx(statistics.fmean(score for score in scores if score is not None))
    assert row["validation_deviation"] == pytest.approx(statistics.stdev(s for s in scores if s is not None))
    assert next(iter(found["settings"]["seed"].values())) == "0, 1"
    alone = compared(parent)
    assert {each["run"] for each in alone["runs"]} == {"a", "d"}  # its members
    assert len(compared(table)["runs"]) == 5  # those of a folder


def test_csv_has_a_row_for_each_run(table: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(good("compare", table / "a", table / "b", "--csv").stdout)))
    assert [row["optimizer.learning_rate"] for row in rows] == ["0.001", "0.1"]
    assert float(rows[0]["validation"]) == read_run(table / "a").best
    rows = list(csv.DictReader(io.StringIO(good("runs", table, "--csv").stdout)))
    assert [row["name"] for row in rows] == ["a", "b", "c", "d", "e"]
    assert float(rows[2]["best"]) == read_run(table / "c").best


def test_runs_are_sorted_filtered_and_printed(table: Path, tmp_path: Path) -> None:
    found = json.loads(good("runs", table, "--sort", "best", "--json").stdout)["runs"]
    scores = [run["best"] for run in found]
    assert scores == sorted(scores, reverse=True)  # of an error the smallest is the best, and comes last
    assert [run["name"] for run in found][::-1] == [
        run["name"] for run in json.loads(good("runs", table, "--sort", "best", "--reverse", "--json").stdout)["runs"]
    ]
    lines = good("runs", table, "--sort", "name").stdout.splitlines()
    assert lines[0].split() == ["run", "state", "task", "data", "metric", "best", "test", "epochs", "started", "time"]
    assert lines[1].split()[:5] == ["a", "finished", "regression", "rows.csv", "rmse"]
    nothing = good("runs", table, "--state", "failed")
    assert (nothing.stdout, nothing.stderr) == ("", f"no runs in this state below {table}\n")
    (tmp_path / "empty").mkdir()
    assert good("runs", tmp_path / "empty").stderr == f"no runs below {tmp_path / 'empty'}\n"
    for wrong in (["runs", str(table), "--json", "--csv"], ["compare", str(table / "none")], ["runs", "nowhere"]):
        result = call(*wrong)
        assert isinstance(result.exception, Exception)
        assert to_dltrain_error(result.exception).exit_code in (2, 3, 7)


def test_a_narrow_terminal_gets_the_columns_that_count() -> None:
    run = ListedRun(name="a", path=Path("a"), state="failed", reason="no memory", task="t" * 40, data="d" * 40)
    table, reason = format_runs([run], 80)
    assert reason == "a: failed: no memory"
    assert max(map(len, table.splitlines())) <= 80
    assert "task" not in table
    assert "best" in table
    assert len(describe_cells(run)["data"]) == 28


def test_an_unfinished_run_is_compared_with_a_note(table: Path, tmp_path: Path) -> None:
    config = table.parent / "a.yaml"
    with pytest.raises(Exception, match="stopped by the test"):
        run_once(config, tmp_path / "half", StopAt(5))
    found = compared(tmp_path / "half", table / "a")
    assert any(note.endswith("half is stopped: stopped by the test") for note in found["notes"])
    assert found["settings"] == {}


def test_all_curves_are_in_one_picture(table: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one.png", tmp_path / "two.png"
    assert f"picture: {first}" in good("compare", table, "-o", first).stdout
    good("compare", table, "-o", second)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 10_000


def test_means_of_curves_are_over_the_epochs_that_all_have() -> None:
    long = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 4.0}, {"epoch": 3, "loss": 1.0}]
    short = [{"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": None}]
    assert average_histories([long, short], "loss") == [(1, 3.0, pytest.approx(2**0.5))]
    assert average_histories([long], "loss") == [(1, 2.0, 0.0), (2, 4.0, 0.0), (3, 1.0, 0.0)]
    assert average_histories([], "loss") == []
