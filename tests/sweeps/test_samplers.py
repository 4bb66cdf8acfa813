"""Values of trials: a grid in its order, nothing twice, and the same ones whoever was killed on the way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study
from optuna.trial import Trial, TrialState

from dltrain.config.search import Dimension, Search
from dltrain.sweeps import samplers
from dltrain.sweeps.samplers import VALUES, count_trials, suggest_values
from dltrain.sweeps.trials import TrialQueue, open_study

RATE = Dimension("optimizer.learning_rate", (), 1e-4, 0.1, log=True)
WIDTH = Dimension("model.hidden", ("[4]", "[8]", "[16]"))
DROPOUT = Dimension("model.dropout", (), 0.1, 0.4, step=0.1)
GRID = [
    {"model.hidden": width, "model.dropout": dropout}
    for width, dropout in product(["[4]", "[8]", "[16]"], ["0.1", "0.2", "0.3", "0.4"])
]
Open = Callable[[], tuple[Study, TrialQueue]]


def searching(*dimensions: Dimension, **options: Any) -> Search:
    facts = {"trials": None, "sampler": "tpe", "pruner": "none", "warmup_epochs": 0, **options}
    return Search(**facts, dimensions=dimensions)


def opener(parent: Path, search: Search) -> Open:
    """Opens the study as another process does."""
    parent.mkdir(exist_ok=True)

    def open_again() -> tuple[Study, TrialQueue]:
        study = open_study(parent, search, 0)
        return study, TrialQueue(parent, study, search)

    return open_again


def run(study: Study, queue: TrialQueue, most: int = 1000) -> list[dict[str, str]]:
    """The values of the trials that this process runs."""
    values = []
    for _ in range(most):
        with queue.next() as trial:
            if trial is None:
                break
            values.append(trial.user_attrs[VALUES])
            study.tell(trial, float(trial.number % 5))
    return values


def test_a_grid_is_tried_in_its_order_and_ends(tmp_path: Path) -> None:
    search = searching(WIDTH, DROPOUT, sampler="grid")
    assert count_trials(search) == 12
    assert run(*opener(tmp_path, search)()) == GRID
    assert run(*opener(tmp_path, search)()) == []


def test_fewer_trials_take_the_first_ones_and_more_take_the_others(tmp_path: Path) -> None:
    assert run(*opener(tmp_path, searching(WIDTH, DROPOUT, sampler="grid", trials=5))()) == GRID[:5]
    assert run(*opener(tmp_path, searching(WIDTH, DROPOUT, sampler="grid", trials=50))()) == GRID[5:]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_sampled_trials_try_each_combination_once(sampler: str, tmp_path: Path) -> None:
    search = searching(WIDTH, DROPOUT, sampler=sampler, trials=99)
    values = run(*opener(tmp_path, search)())
    assert len(values) == 12 == count_trials(search)
    found = {(each["model.hidden"], round(float(each["model.dropout"]), 9)) for each in values}
    assert found == {(each["model.hidden"], float(each["model.dropout"])) for each in GRID}


def test_what_is_left_is_chosen_where_sampling_finds_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "TRIES", 1)
    values = run(*opener(tmp_path, searching(WIDTH, DROPOUT, sampler="random", trials=12))())
    assert len({str(samplers.identify(each, (WIDTH, DROPOUT))) for each in values}) == 12


def test_a_first_sample_is_the_one_of_the_previous_version(tmp_path: Path) -> None:
    search = searching(RATE, WIDTH, trials=14)
    values = run(*opener(tmp_path / "a", search)())
    (tmp_path / "b").mkdir()
    study, before = open_study(tmp_path / "b", search, 0), []
    for _ in range(14):
        trial = study.ask()
        before.append(suggest_values(trial, search.dimensions))
        study.tell(trial, float(trial.number % 5))
    assert values == before


class Killed(BaseException):
    """Ends a process from inside, as SIGKILL does."""


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
@pytest.mark.parametrize("moment", ["before", "attribute", "parameter", "after"])
def test_a_killed_sweep_chooses_the_same_values(
    sampler: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searching(WIDTH, DROPOUT, sampler=sampler, trials=9)
    whole = run(*opener(tmp_path / "whole", search)())
    again = opener(tmp_path / "parts", search)
    study, queue = again()
    first = run(study, queue, 4)

    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        if moment == "before":
            patched.setattr(samplers, "_choose_values", kill)
        elif moment == "attribute":
            patched.setattr(samplers, "suggest_values", kill)
        elif moment == "parameter":
            patched.setattr(Trial, "suggest_float", kill)  # the second of two
        with pytest.raises(Killed), queue.next():
            raise Killed
    assert first + run(*again()) == whole


def test_processes_share_a_grid_and_nothing_is_tried_twice(tmp_path: Path) -> None:
    again = opener(tmp_path, searching(WIDTH, DROPOUT, sampler="grid"))
    (one, first), (_, second) = again(), again()
    with first.next() as a, second.next() as b:
        assert a is not None
        assert b is not None
        assert [a.user_attrs[VALUES], b.user_attrs[VALUES]] == GRID[:2]
        one.tell(a, 1.0)
        one.tell(b, 1.0)
    assert run(one, first) == GRID[2:]


def test_a_trial_that_failed_by_itself_is_not_repeated_and_one_that_was_stopped_is(tmp_path: Path) -> None:
    search = searching(WIDTH, sampler="grid")
    study, queue = opener(tmp_path, search)()
    for code in (4, 3):  # diverged; the data was not there
        with queue.next() as trial:
            assert trial is not None
            trial.set_user_attr("exit_code", code)
            study.tell(trial, state=TrialState.FAIL)
    values = [each["model.hidden"] for each in run(*opener(tmp_path, search)())]
    assert values == ["[8]", "[16]"]


def test_a_number_of_trials_is_the_default_only_where_there_are_enough_combinations() -> None:
    assert count_trials(searching(RATE)) == 20
    assert count_trials(searching(RATE, trials=7)) == 7
    assert count_trials(searching(WIDTH)) == 3
    assert count_trials(searching(WIDTH, DROPOUT, sampler="grid", trials=4)) == 4
