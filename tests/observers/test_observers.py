"""The `observers` section: what a plug-in adds, what a failing one does, and runs from before there was one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dltrain.cli.main import application
from dltrain.config.experiment import load_experiment
from dltrain.config.values import Choice
from dltrain.errors import ConfigError
from dltrain.runs.directory import open_run
from dltrain.runtime.interrupts import Interrupts

CONFIG: dict[str, Any] = {
    "task": "tabular_classification",
    "data": {"name": "bundled_table", "table": "iris"},
    "model": "dense",
    "trainer": {"epochs": 2, "device": "cpu"},
}
EVENTS = '''
from dltrain.events import Event, WatchedRun
from dltrain.registry import observers

@observers.register("events")
class EventFile:
    """Every event, in a text file.

    Options:
        file: its name in the run directory.
    """

    def __init__(self, run: WatchedRun, *, file: str = "events.txt") -> None:
        self._file = (run.directory / file).open("a")
        print("run", run.config["model"]["name"], run.dataset, run.goal.metric, run.quiet, file=self._file)

    def __call__(self, event: Event) -> None:
        print(type(event).__name__, event.step if hasattr(event, "step") else "", file=self._file)

    def close(self) -> None:
        print("closed", file=self._file)
        self._file.close()

@observers.register("broken")
def broken(run: WatchedRun):
    """Fails."""
    return lambda event: 1 / 0
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("events.py").write_text(EVENTS)


def write(**sections: Any) -> str:
    Path("a.yaml").write_text(yaml.safe_dump({**CONFIG, **sections}))
    return "a.yaml"


def fit(*arguments: str) -> Any:
    with Interrupts() as interrupts:
        result: Any = CliRunner().invoke(application(["fit"]), ["fit", *arguments], obj=interrupts)
    if result.exception is not None:
        raise result.exception
    return result


def refused(**sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path(write(**sections)))
    return str(caught.value)


def test_a_plugin_observer_gets_the_run_and_its_events() -> None:
    fit(write(observers=["times", {"name": "events", "file": "seen.txt"}], plugins=["events.py"]), "-o", "run")
    lines = Path("run/seen.txt").read_text().splitlines()
    assert lines[0] == "run dense iris (scikit-learn) loss False"
    steps = [line for line in lines if line.startswith("Evaluated")]
    assert len(steps) == 2
    assert int(steps[1].split()[1]) == 2 * int(steps[0].split()[1])
    assert [line.split()[0] for line in lines[1:]].count("EpochStarted") == 2
    assert lines[-2].startswith("Finished ")
    assert lines[-1] == "closed"
    assert not Path("run/report.html").exists()
    assert len(Path("run/times.jsonl").read_text().splitlines()) == 2
    kept = yaml.safe_load(Path("run/config.yaml").read_text())
    assert kept["observers"] == ["times", {"name": "events", "file": "seen.txt"}]


def test_without_the_section_all_of_today() -> None:
    result = fit(write(), "-o", "run")
    assert "epoch 1/2" in result.stderr
    assert "curves" in result.stdout
    assert all(Path("run", name).exists() for name in ("report.html", "times.jsonl", "plots/training.png"))
    defaults = (Choice("progress", {}), Choice("times", {}), Choice("report", {}))
    assert load_experiment(Path("a.yaml")).experiment.observers == defaults
    Path("run/report.html").unlink()  # as when the process was killed before it was written
    assert fit("a.yaml", "-o", "run").stderr.startswith("finished: ")
    assert Path("run/report.html").exists()


def test_a_failing_observer_is_dropped_with_a_warning() -> None:
    result = fit(write(observers=["broken", "times"], plugins=["events.py"]), "-o", "run")
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: observer")]
    where = "(events.py:27: return lambda event: 1 / 0)"
    assert warnings == [
        f"warning: observer 'broken' failed and is dropped: ZeroDivisionError: division by zero {where}"
    ]
    assert len(Path("run/times.jsonl").read_text().splitlines()) == 2


def test_no_observers_train_to_the_same_weights_and_metrics() -> None:
    fit(write(), "-o", "watched")
    result = fit(write(observers=[]), "-o", "alone")
    assert "epoch" not in result.stderr
    assert Path("watched/metrics.jsonl").read_bytes() == Path("alone/metrics.jsonl").read_bytes()
    assert not Path("alone/times.jsonl").exists()


def test_json_lines_do_not_depend_on_observers() -> None:
    result = fit(write(observers=[]), "-o", "run", "--json-logs")
    events = [json.loads(line)["event"] for line in result.stderr.splitlines()]
    assert (events[-1], events.count("Evaluated")) == ("Finished", 2)


def test_a_run_from_before_the_section_resumes_and_observers_may_change() -> None:
    fit(write(), "-o", "run")
    path = Path("run/config.yaml")
    tree = yaml.safe_load(path.read_text())
    assert tree.pop("observers") == ["progress", "times", "report"]
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    longer = {**CONFIG["trainer"], "epochs": 3}
    config = write(observers=[{"name": "events"}], trainer=longer)
    with pytest.raises(ConfigError, match="observer 'events' is not known"):
        fit(config, "-o", "run")
    result = fit(write(observers=["times"], trainer=longer), "-o", "run")
    assert "resuming run at step" in result.stderr
    assert yaml.safe_load(path.read_text())["observers"] == ["times"]
    run = open_run(Path("run"), load_experiment(Path(write(trainer=longer))).experiment)
    assert run.begins == "finished"
    run.release()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("progress", "observers must be a list of names, or of mappings with a name and options, found 'progress'"),
        ([3], "observer '3' is not known"),
        ([["times"]], "observers[0] must be a name, or a mapping with a name and options, found a list"),
        (["times", {"file": "a"}], "observers[1].name is missing"),
        (["tims"], "observer 'tims' is not known"),
        (
            [{"name": "times", "epochs": 3}],
            "'epochs' is not an option of observer 'times'; 'epochs' belongs to 'trainer'",
        ),
        ([{"name": "events", "file": [1]}], "observers[0].file must be text, found a list of 1"),
    ],
)
def test_faults(value: Any, expected: str) -> None:
    report = refused(observers=value, plugins=["events.py"])
    assert f"error: {expected}\n" in report
    assert ("did you mean 'times'?" in report) == (value == ["tims"])
