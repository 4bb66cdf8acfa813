"""Paths in a config are relative to the file that they are written in, and a run keeps where its data is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dltrain.config.experiment import load_experiment
from dltrain.errors import DataError, UsageError
from support.commands import call, good
from support.runs import outcome

ROWS = "".join(f"{i % 7},{(i * 5) % 11},{'ab'[i % 2]}\n" for i in range(60))
CONFIG = """\
task: tabular_classification
data: {name: table, training: rows.csv, target: label}
model: {name: dense, hidden: [4]}
trainer: {epochs: 2, device: cpu, threads: 1}
observers: []
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and its data, and an empty folder beside it, which is the working directory."""
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "rows.csv").write_text("x,y,label\n" + ROWS)
    (folder / "a.yaml").write_text(CONFIG)
    monkeypatch.chdir(elsewhere)
    return folder


def accuracy(run: Path, *flags: object) -> float:
    return float(json.loads(good("eval", run, "--json", *flags).stdout)["metrics"]["accuracy"])


def test_data_is_found_from_the_config_and_a_run_is_evaluated_from_anywhere(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = good("fit", "../project/a.yaml", "-o", "run")
    assert "data.root" not in result.stderr
    assert "working directory" not in result.stderr
    good("fit", project / "a.yaml", "-o", project / "runs/deep/run")
    assert accuracy(Path("run")) == accuracy(project / "runs/deep/run")
    monkeypatch.chdir("/")
    accuracy(project / "runs/deep/run")
    assert "nothing to do" in good("fit", project / "runs/deep/run").stderr


def test_the_result_does_not_depend_on_where_things_are(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good("fit", project / "a.yaml", "-o", "run")
    good("fit", project / "a.yaml", "-o", "some/where/run")
    monkeypatch.chdir(project)
    good("fit", "a.yaml", "-o", "run")
    runs = [
        outcome(run) for run in (project / "run", project / "../elsewhere/run", project / "../elsewhere/some/where/run")
    ]
    for name in runs[0].keys() - {"config.yaml"}:
        assert runs[0][name] == runs[1][name] == runs[2][name], name


def test_values_of_a_parent_and_of_flags(project: Path) -> None:
    """Without a root, each file is in the folder of the file, or of the command, that names it."""
    Path("rows.csv").write_text("x,y,label\n1,2,a\n3,4,b\n")
    Path("child.yaml").write_text("extends: ../project/a.yaml\ndata: {test: rows.csv}\n")
    located = load_experiment(Path("child.yaml")).experiment.locate().data.options
    assert located["root"] == str(project)
    assert (project / located["test"]).resolve() == Path("rows.csv").resolve()
    flagged = load_experiment(project / "a.yaml", ["data.test=rows.csv"]).experiment.locate().data.options
    assert (project / flagged["test"]).resolve() == Path("rows.csv").resolve()
    rooted = load_experiment(project / "a.yaml", ["data.root=."]).experiment.locate().data.options
    assert rooted["root"] == "."


def test_values_from_the_environment_are_relative_to_the_working_directory(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace("rows.csv", "'${env:TABLE:rows.csv}'")
    (project / "a.yaml").write_text(text)
    assert load_experiment(project / "a.yaml").experiment.places["data.root"] == str(project)
    monkeypatch.setenv("TABLE", "rows.csv")
    assert load_experiment(project / "a.yaml").experiment.places["data.root"] == str(Path.cwd())


def test_a_config_of_an_earlier_version_is_warned_about(project: Path) -> None:
    shutil.move(project / "rows.csv", "rows.csv")
    result = good("fit", project / "a.yaml", "-o", "run")
    assert (
        f"warning: data.root: rows.csv is relative to the folder of the config, but is only in the working directory: "
        f"{Path.cwd()} is used; write data.root: ../elsewhere\n"
    ) in result.stderr
    accuracy(Path("run"))
    shutil.copy("rows.csv", project / "rows.csv")
    result = good("config", "check", project / "a.yaml")
    assert f"{project} is used, and not {Path.cwd()}; write data.root: ./ to confirm" in result.stderr
    (project / "a.yaml").write_text(CONFIG.replace("training:", "root: ./., training:"))
    assert "warning" not in good("config", "check", project / "a.yaml").stderr


def moved_together(project: Path) -> Path:
    return Path(shutil.move(project, project.parent / "moved")) / "runs/a"


def moved_alone(project: Path) -> Path:
    return Path(shutil.move(project / "runs/a", "deep"))


@pytest.mark.parametrize("move", [moved_together, moved_alone])
def test_a_run_that_was_moved_finds_its_data(project: Path, move: Callable[[Path], Path]) -> None:
    good("fit", project / "a.yaml", "-o", project / "runs/a")
    before = accuracy(project / "runs/a")
    run = move(project)
    assert accuracy(run) == before
    good("fit", run, "--set", "trainer.epochs=3")
    accuracy(run)


def test_a_run_continues_with_the_same_data_in_another_folder(project: Path) -> None:
    good("fit", project / "a.yaml", "-o", "run")
    Path("data").mkdir()
    shutil.move(project / "rows.csv", "data/rows.csv")
    more = ("--set", "trainer.epochs=3", "-o", "run")
    assert isinstance(call("fit", project / "a.yaml", *more).exception, DataError)
    good("fit", project / "a.yaml", "--set", "data.root=data", *more)
    accuracy(Path("run"))
    with Path("data/rows.csv").open("a") as file:
        file.write("1,1,a\n")
    changed = call("fit", project / "a.yaml", "--set", "data.root=data", "--set", "trainer.epochs=4", "-o", "run")
    assert isinstance(changed.exception, UsageError)
    assert "the data has changed: rows.csv" in str(changed.exception)


def failing(result: Result) -> str:
    assert isinstance(result.exception, DataError)
    return str(result.exception)


def test_a_missing_file_is_reported_with_its_folder_and_a_remedy(project: Path) -> None:
    good("fit", project / "a.yaml", "-o", "run")
    (project / "rows.csv").unlink()
    for message in (failing(call("eval", "run")), failing(call("fit", project / "a.yaml", "-o", "new/run"))):
        assert str(project) in message
        assert "--root DIR" in message
        assert "--set data.root=DIR" in message
    assert not Path("new").exists()


def test_plugins_use_the_same_types(project: Path) -> None:
    (project / "reader.py").write_text(
        "from dltrain.options import FilePath, FolderPath\n"
        "from dltrain.registry import datasets\n\n"
        '@datasets.register("mine", data="table")\n'
        "class Mine:\n"
        '    """Mine.\n\n    Options:\n        file: a file.\n        notes: a folder.\n    """\n\n'
        "    def __init__(self, name, seed, assets, *, file: FilePath, notes: FolderPath | None = None):\n"
        "        self.file = file\n"
    )
    data = "data: {name: mine, file: rows.csv, notes: notes}\nplugins: [reader.py]\n"
    (project / "b.yaml").write_text(CONFIG.replace(CONFIG.splitlines()[1] + "\n", data))
    located = load_experiment(project / "b.yaml").experiment.locate().data.options
    assert located == {"file": str(project / "rows.csv"), "notes": str(project / "notes")}


def test_initial_weights_are_relative_to_the_config(project: Path) -> None:
    good("fit", project / "a.yaml", "-o", project / "runs/first")
    (project / "b.yaml").write_text(CONFIG + "weights: {init_from: runs/first}\n")
    good("fit", project / "b.yaml", "-o", "run", "--inexact")
    assert "nothing to do" in good("fit", project / "b.yaml", "-o", "run").stderr


def test_members_and_shown_configs_find_the_data(project: Path) -> None:
    good("fit", project / "a.yaml", "--seeds", "0,1", "-o", "several")
    good("cv", project / "a.yaml", "--folds", "2", "-o", "folds")
    accuracy(Path("several/seed-1"))
    shown = good("config", "show", project / "a.yaml").stdout
    Path("shown.yaml").write_text(shown)
    assert load_experiment(Path("shown.yaml")).experiment.places["data.root"] == str(project)
