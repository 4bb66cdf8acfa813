"""Sweeps: the same trials again, whoever was killed on the way; what is pruned, failed or best is so indeed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner, Result

from dltrain.cli import sweep
from dltrain.cli.main import application
from dltrain.config.experiment import load_experiment
from dltrain.config.search import Dimension, Search
from dltrain.core.checkpoint import WEIGHTS, Checkpoints
from dltrain.errors import Diverged, RunBusy, Stopped
from dltrain.goal import Goal, Ranked
from dltrain.runs.listing import read_run
from dltrain.runs.lock import Lock
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps import child, trials
from dltrain.sweeps.child import ChildFailed, FinishedProcess
from dltrain.sweeps.samplers import KeyedSampler, suggest_values
from dltrain.sweeps.trials import Follower, TrialQueue, find_goal, hold_lock, open_study, read_scores
from support.members import run_here
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]
RATE = Dimension("optimizer.learning_rate", (), 1e-4, 0.1, log=True)
WIDTH = Dimension("model.hidden", ("[4]", "[8]"))


def searching(*dimensions: Dimension, trials: int = 4, **options: Any) -> Search:
    return Search(
        **{"trials": trials, "sampler": "tpe", "pruner": "median", "warmup_epochs": 0, **options}, dimensions=dimensions
    )


@pytest.fixture
def config(settings: dict[str, Any], write_settings: Write) -> Path:
    """Four trials; a learning rate of 1e30 diverges in the first steps."""
    settings["model"] = {"name": "mlp", "hidden": [8]}
    settings["optimizer"] = {"name": "sgd", "learning_rate": 0.1}
    space = {"optimizer.learning_rate": [0.001, 0.1, 1e30], "model.hidden": [[4], [8]]}
    return write_settings({**settings, "search": {"trials": 4, "space": space}})


def swept(config: Path, parent: Path, *words: object, interrupts: Interrupts | None = None) -> Result:
    given = ["sweep", str(config), "-o", str(parent), *map(str, words)]
    return CliRunner().invoke(application(), given, obj=interrupts or Interrupts())


def told(parent: Path) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = json.loads((parent / "summary.json").read_text())["trials"]
    return [{**trial, "directory": None} for trial in trials]


@pytest.mark.slow
def test_the_same_trials_again_and_the_best_config_runs_as_it_stands(
    config: Path, tmp_path: Path, here: list[list[str]]
) -> None:
    parent = tmp_path / "sweep"
    result = swept(config, parent)
    assert result.exit_code == 0, result.output
    assert len(here) == 4
    found = told(parent)
    states = [trial["state"] for trial in found]
    assert set(states) == {"finished", "failed"}
    for trial in found:
        diverges = float(trial["values"]["optimizer.learning_rate"]) == 1e30
        assert trial["state"] == ("failed" if diverges else "finished")
        if diverges:
            assert (trial["exit_code"], trial["outcome"]) == (Diverged.exit_code, True)
            assert f"{trial['name']} failed: exit code 4: epoch 1, step" in result.stdout
    finished = [trial for trial in found if trial["state"] == "finished"]
    best = max(finished, key=lambda trial: (trial["score"], -trial["number"]))
    assert (
        f"best: {best['name']}, validation accuracy {best['score']:.6g}, the best of {len(finished)}" in result.stdout
    )
    assert (parent / "plots" / "trials.png").stat().st_size > 1000

    text = (parent / "best.yaml").read_text()
    assert text.startswith(f"# {best['name']} of 4: validation accuracy {best['score']:.6g} in epoch {best['epoch']}\n")
    assert CliRunner().invoke(application(), ["config", "check", str(parent / "best.yaml")]).exit_code == 0
    run_once(parent / "best.yaml", tmp_path / "again", Interrupts())
    assert weights(tmp_path / "again") == weights(parent / best["name"])

    swept(config, tmp_path / "other", "--quiet")
    assert told(tmp_path / "other") == found
    assert len(here) == 8
    assert swept(config, parent, "--json").exit_code == 0  # nothing is left to do
    assert len(here) == 8


def weights(directory: Path) -> str:
    best = Checkpoints(directory / "checkpoints").best()
    assert best is not None
    digest: str = best.manifest["files"][WEIGHTS]["sha256"]
    return digest


class StopAfter(Interrupts):
    """Has a reason to stop from the n-th time on that it is asked."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.left = asked

    def pending(self) -> Stopped | None:
        self.left -= 1
        return Stopped("stopped by the test", 143) if self.left < 0 else None


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_with_the_trial_that_was_stopped(
    config: Path, tmp_path: Path, here: list[list[str]]
) -> None:
    whole, parent = tmp_path / "whole", tmp_path / "broken"
    swept(config, whole, "--quiet")
    result = swept(config, parent, interrupts=StopAfter(9))
    assert "stopped by the test" in str(result.exception)
    assert "of 4 trials are done\nnext: rerun the same command to resume" in str(result.exception)
    assert result.exception.exit_code == 143  # type: ignore[union-attr]
    assert [trial["state"] for trial in told(parent)].count("running") == 1
    before = {path.name for path in parent.glob("trial-*")}
    assert swept(config, parent, "--quiet").exit_code == 0
    assert told(parent) == told(whole)
    assert {path.name for path in parent.glob("trial-*")} == before | {f"trial-{number:04d}" for number in range(4)}


@pytest.mark.slow
def test_a_grid_with_asha_is_the_same_after_it_was_stopped(config: Path, tmp_path: Path, here: list[list[str]]) -> None:
    space = "{optimizer.learning_rate: null, model.hidden: [[4], [8]], optimizer.momentum: [0.5, 0.0, 0.9]}"
    settings = ["search.sampler=grid", "search.pruner=asha", "search.reduction=2", "search.trials=null"]
    settings += [f"search.space={space}", "trainer.epochs=3", "optimizer.learning_rate=0.001", "task.goal=loss"]
    flags = [word for each in settings for word in ("--set", each)]
    whole, parent = tmp_path / "whole", tmp_path / "broken"
    result = swept(config, whole, *flags)
    assert result.exit_code == 0, result.output
    assert "trials: all 6 combinations of values, each once" in result.stderr
    found = told(whole)
    combinations = [(one["values"]["model.hidden"], one["values"]["optimizer.momentum"]) for one in found]
    assert combinations == [(width, momentum) for width in ("[4]", "[8]") for momentum in ("0.5", "0.0", "0.9")]
    assert {one["state"] for one in found} == {"finished", "pruned"}
    for asked in (5, 12):
        stopped = swept(config, parent, *flags, interrupts=StopAfter(asked))
        assert "stopped by the test" in str(stopped.exception)
    assert swept(config, parent, *flags, "--quiet").exit_code == 0
    assert told(parent) == found
    states = {member.path.name: member.state for member in read_run(parent).members}
    assert states == {one["name"]: one["state"] for one in found}


@pytest.mark.slow
def test_more_trials_extend_a_sweep_and_other_settings_do_not(
    config: Path, tmp_path: Path, here: list[list[str]]
) -> None:
    parent = tmp_path / "sweep"
    swept(config, parent, "--set", "search.trials=1")
    swept(config, parent, "--set", "search.trials=2")
    assert [trial["number"] for trial in told(parent)] == [0, 1]
    for flag, difference in (
        ("trainer.epochs=9", "trainer.epochs: 2 -> 9"),
        ("search.pruner=none", "search.pruner: 'median' -> 'none'"),
        ("search.space={model.hidden: [[4]]}", "search.space.model.hidden.values: ['[4]', '[8]'] -> ['[4]']"),
    ):
        result = swept(config, parent, "--set", flag)
        assert f"sweep: this sweep was started with other settings\n  {difference}" in str(result.exception)
        assert "allowed to change: search.trials" in str(result.exception)
    (parent / trials.JOURNAL).unlink()
    result = swept(config, parent)
    assert "holds trial-0000, but no trials.journal with its values" in str(result.exception)


def test_a_directory_of_other_values_is_left_alone(config: Path, tmp_path: Path, here: list[list[str]]) -> None:
    parent = tmp_path / "sweep"
    parent.mkdir()
    (parent / "summary.json").write_text('{"kind": "dltrain sweep"}')
    loaded = load_experiment(config)
    assert loaded.search is not None
    open_study(parent, loaded.search, 0)  # a journal, since without one the directory below would be explained by that
    run_once(config, parent / "trial-0000", Interrupts())
    result = swept(config, parent)
    assert "trial-0000: this run was started with other settings\n" in str(result.exception)
    assert "the sweep's journal has other values for trial-0000 than its run directory" in str(result.exception)
    assert not here


@pytest.mark.slow
def test_failures_of_the_surroundings_are_tried_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three in a row end the sweep; the next one begins as many trials as are missing."""
    parent, given = tmp_path / "sweep", []

    def lost(words: Any, *_: Any) -> FinishedProcess:
        given.append(words)
        return FinishedProcess(3, "", ChildFailed("data: not there", 3, advice="bring it back"))

    flags = ("--set", "search.space={optimizer.learning_rate: [0.001, 0.1], model.hidden: [[4], [8]]}")
    monkeypatch.setattr(child, "run_dltrain", lost)
    result = swept(config, parent, *flags)
    assert len(given) == 3
    assert result.exception.exit_code == 3  # type: ignore[union-attr]
    assert "3 of 3 runs failed" in str(result.exception)
    assert "trial-0002: exit code 3: data: not there\n  next: bring it back" in str(result.exception)
    monkeypatch.setattr(child, "run_dltrain", run_here)
    result = swept(config, parent, *flags)
    assert [trial["state"] for trial in told(parent)] == ["failed"] * 3 + ["finished"] * 4
    assert result.exception.exit_code == 3  # type: ignore[union-attr]


def test_without_validation_there_is_nothing_to_compare(config: Path, tmp_path: Path, here: list[list[str]]) -> None:
    result = swept(config, tmp_path / "sweep", "--set", "data.validation=0", "--set", "search.trials=1")
    assert "trial-0000: exit code 2: no validation score; give data.validation a share above 0" in str(result.exception)


def test_values_that_do_not_fit_together_fail_one_trial(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path, here: list[list[str]]
) -> None:
    space = {"trainer.ema": [0.5], "trainer.nt_asgd": [1]}
    config = write_settings({**settings, "search": {"trials": 1, "space": space}})
    result = swept(config, tmp_path / "sweep")
    assert "ema and nt_asgd both say how weights are averaged" in str(result.exception)
    assert not here


def test_a_config_without_a_search_and_a_machine_without_optuna(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_settings(settings)
    result = swept(config, tmp_path / "sweep")
    assert f"{config}: has no section 'search', which says what a sweep varies" in str(result.exception)
    monkeypatch.setattr(sweep, "find_spec", lambda _: None)
    result = swept(config, tmp_path / "sweep")
    assert "needs Optuna, which is not installed\nnext: pip install 'dltrain[sweep]'" in str(result.exception)


@pytest.mark.slow
def test_two_processes_share_the_trials(config: Path, tmp_path: Path) -> None:
    parent = tmp_path / "sweep"
    words = [sys.executable, "-m", "dltrain", "sweep", str(config), "-o", str(parent), "--json"]
    words += [
        "--set",
        "search.trials=2",
        "--set",
        "search.space={optimizer.learning_rate: [0.01], model.hidden: [[4], [8]]}",
    ]
    processes = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=110) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    epochs = [err.count("accuracy") for _, err in ends]
    assert sum(epochs) == 4, "two trials of two epochs, none of them twice, whoever comes first"
    assert all(count % 2 == 0 for count in epochs)
    final = max(
        (json.loads(out)["trials"] for out, _ in ends),
        key=lambda each: [one["state"] for one in each] == ["finished"] * 2,
    )
    assert [trial["state"] for trial in final] == ["finished", "finished"]
    assert json.loads((parent / "summary.json").read_text())["best"]


# Of the parts: what is drawn, who runs it, when it is stopped.


def values_of(parent: Path, search: Search, number: int, seed: int = 0) -> list[dict[str, str]]:
    parent.mkdir(exist_ok=True)
    asked = open_study(parent, search, seed)
    values = []
    for _ in range(number):
        trial = asked.ask()
        values.append(suggest_values(trial, search.dimensions))
        asked.tell(trial, float(trial.number % 3))
    return values


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_drawn_depends_on_seed_trial_and_the_trials_before(sampler: str, tmp_path: Path) -> None:
    search = searching(RATE, WIDTH, Dimension("trainer.epochs", (), 1, 99), sampler=sampler)
    whole = values_of(tmp_path / "whole", search, 14)
    parts = [*values_of(tmp_path / "parts", search, 5), *values_of(tmp_path / "parts", search, 9)]
    assert parts == whole
    assert values_of(tmp_path / "other", search, 14, seed=1) != whole
    assert len({value["optimizer.learning_rate"] for value in whole}) == 14
    assert all(1e-4 <= float(value["optimizer.learning_rate"]) <= 0.1 for value in whole)


def test_ranges_keep_to_their_steps_and_conditions(tmp_path: Path) -> None:
    dimensions = (
        Dimension("optimizer.name", ("sgd", "adam")),
        Dimension("optimizer.momentum", (), 0.0, 0.95, step=0.3, names=frozenset(["sgd"])),
        Dimension("data.batch_size", (), 16, 70, step=16),
        Dimension("trainer.epochs", (), 1, 64, log=True),
    )
    drawn_values = values_of(tmp_path / "sweep", searching(*dimensions, sampler="random"), 40)
    for values in drawn_values:
        assert ("optimizer.momentum" in values) == (values["optimizer.name"] == "sgd")
    momenta = {float(values["optimizer.momentum"]) for values in drawn_values if "optimizer.momentum" in values}
    assert {round(each, 9) for each in momenta} == {0.0, 0.3, 0.6, 0.9}
    assert {values["data.batch_size"] for values in drawn_values} == {"16", "32", "48", "64"}
    assert {type(json.loads(values["trainer.epochs"])) for values in drawn_values} == {int}


def test_an_abandoned_trial_is_taken_up_by_one_process_alone(tmp_path: Path) -> None:
    search = searching(RATE, trials=2)
    first, second = open_study(tmp_path, search, 0), open_study(tmp_path, search, 0)
    lost = first.ask()
    value = suggest_values(lost, search.dimensions)
    claims = TrialQueue(tmp_path, first, search), TrialQueue(tmp_path, second, search)
    with claims[0].next() as taken, claims[1].next() as new:
        assert taken is not None
        assert new is not None
        assert (taken.number, new.number) == (0, 1)
        assert suggest_values(taken, search.dimensions) == value
        with claims[0].next() as nothing:
            assert nothing is None
    (tmp_path / "trial-0001").mkdir()
    held = Lock(tmp_path / "trial-0001")  # its sweep is gone, its own process is not
    with claims[0].next() as one, claims[1].next() as other:
        assert one is not None
        assert (one.number, other) == (0, None)
    held.release()
    with claims[0].next(), claims[1].next() as other:
        assert other is not None
        assert other.number == 1


def test_failed_trials_are_replaced_only_if_another_try_could_succeed(tmp_path: Path) -> None:
    search = searching(RATE, trials=2)
    asked = open_study(tmp_path, search, 0)
    for exit_code in (3, 4):
        trial = asked.ask()
        trial.set_user_attr("exit_code", exit_code)
        asked.tell(trial, state=TrialState.FAIL)
    claims = TrialQueue(tmp_path, asked, search)
    with claims.next() as trial:
        assert trial is not None
        assert trial.number == 2
        asked.tell(trial, state=TrialState.FAIL)
    with claims.next() as trial:
        assert trial is None, "as many as were missing have been begun"


def test_the_parents_lock_is_waited_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(tmp_path)
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(RunBusy), hold_lock(tmp_path):
        pass
    lock.release()
    with hold_lock(tmp_path), pytest.raises(RunBusy):
        Lock(tmp_path)
    Lock(tmp_path).release()


def epoch(number: int, accuracy: float | None) -> str:
    return json.dumps({"event": "epoch", "epoch": number, "validation_accuracy": accuracy}) + "\n"


def test_scores_are_those_of_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "run"}\n{"event": "step"}\n' + epoch(1, 0.5) + epoch(2, None) + epoch(3, 0.75)[:-5])
    assert list(read_scores(path, "accuracy")) == [(1, Ranked(0.5)), (2, Ranked(None))]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_trial_below_the_median_is_stopped_at_the_same_epoch(
    at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Optuna's own rule, however many epochs are read at a time; and again after its process has gone."""
    monkeypatch.setattr(trials, "find_goal", lambda _: Goal("accuracy", "max"))
    asked = open_study(tmp_path, searching(RATE), 0)
    for _ in range(5):
        trial = asked.ask()
        for number, accuracy in ((1, 0.5), (2, 0.7), (3, 0.8)):
            trial.report(-accuracy, number)
        asked.tell(trial, -0.8)
    trial, lines_heard = asked.ask(), []
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    follow = Follower(trial, {}, path.parent, lines_heard.append)
    assert not follow()
    text = [epoch(1, 0.55), epoch(2, None), epoch(3, 0.6), epoch(4, 0.99)]
    pruned = []
    for part in [text] if at_once else [[line] for line in text]:
        with path.open("a") as file:
            file.writelines(part)
        pruned.append(follow())
    assert pruned == ([True] if at_once else [False, False, True, True])
    assert follow.costs == {1: -0.55, 3: -0.6}
    assert lines_heard[-1] == "trial-0005: epoch 3: validation accuracy 0.6000, stopped"
    assert Follower(trial, follow.costs, path.parent, lines_heard.append).pruned


def test_what_scores_a_run_stands_in_its_checkpoints(config: Path, tmp_path: Path) -> None:
    assert find_goal(tmp_path / "run") is None
    run_once(config, tmp_path / "run", Interrupts())
    assert find_goal(tmp_path / "run") == Goal("accuracy", "max")
    for path in (tmp_path / "run" / "checkpoints").glob("*/manifest.json"):
        path.unlink()
    assert find_goal(tmp_path / "run") is None


def test_the_sampler_draws_nothing_together() -> None:
    sampler = KeyedSampler("tpe", 0)
    trial: Any = None
    asked = optuna.create_study(sampler=sampler)
    assert sampler.infer_relative_search_space(asked, trial) == sampler.sample_relative(asked, trial, {}) == {}


def test_numbers_in_tables_are_short() -> None:
    assert [sweep.shorten_number(text) for text in ("0.1", "0.00123456789", "[128, 64, 32]")] == [
        "0.1",
        "0.00123457",
        "[128, 64, 32]",
    ]
