"""ASHA: rungs computed by hand, and the same decisions again after a process was killed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dltrain.config.search import Dimension, Search
from dltrain.sweeps.pruners import EPOCHS_PLANNED, find_cost, is_promoted, list_rungs
from dltrain.sweeps.trials import open_study

RATE = Dimension("optimizer.learning_rate", (), 1e-4, 0.1, log=True)
PLANNED = 10
RUNGS = (1, 3, 9)
BY_HAND = [  # the best costs at epochs 1, 3 and 9 of each trial, and the epoch after which it is stopped, or 10
    ((0.50, 0.35, 0.20), 10),  # alone at each rung
    ((0.60, 0.50, 0.40), 1),  # of two at rung 1 one continues
    ((0.40, 0.30, 0.25), 9),  # the best of three at rung 1, of two at rung 3; the second of two at rung 9
    ((0.45, 0.20, 0.10), 1),  # of four still one continues
    ((0.42, 0.20, 0.10), 1),
    ((0.45, 0.20, 0.10), 1),  # of six two continue: 0.40 and 0.42
    ((0.41, 0.32, 0.10), 3),  # the second of seven; the second of three at rung 3
    ((0.40, 0.30, 0.19), 10),  # as good as the best at rungs 1 and 3, and the best of three at rung 9
]


def searching(**options: Any) -> Search:
    facts = {"trials": 99, "sampler": "random", "pruner": "asha", "warmup_epochs": 0, **options}
    return Search(**facts, dimensions=(RATE,))


def curve(costs: Sequence[float]) -> list[float]:
    """Costs of 10 epochs whose best ones at the rungs are those given; between them they are worse."""
    return [costs[0], 0.9, costs[1], *[0.9] * 5, costs[2], 0.05]


def follow(parent: Path, curves: Sequence[Sequence[float]], search: Search, killed: Sequence[int] = ()) -> list[int]:
    """The last epoch of each trial, one after another; after each epoch in `killed` the process is another one."""
    parent.mkdir(exist_ok=True)
    study, ends = open_study(parent, search, 0), []
    for costs in curves:
        trial = study.ask()
        trial.set_user_attr(EPOCHS_PLANNED, len(costs))
        end, stopped = len(costs), False
        for epoch, cost in enumerate(costs, 1):
            trial.report(cost, epoch)
            stopped = trial.should_prune()
            if epoch in killed:  # what was decided is lost, and decided again from the journal
                study = open_study(parent, search, 0)
                trial = type(trial)(study, trial._trial_id)
                assert trial.should_prune() == stopped
            if stopped:
                end = epoch
                break
        study.tell(trial, None if stopped else min(costs), state=TrialState.PRUNED if stopped else None)
        ends.append(end)
    return ends


@pytest.mark.parametrize("killed", [(), (1, 3, 9), tuple(range(1, 11))])
def test_rungs_by_hand(killed: Sequence[int], tmp_path: Path) -> None:
    curves = [curve(costs) for costs, _ in BY_HAND]
    assert follow(tmp_path, curves, searching(), killed) == [end for _, end in BY_HAND]


@pytest.mark.parametrize(("first", "reduction"), [(0, 2), (2, 2), (1, 4), (3, 3)])
def test_random_curves_as_the_definition_says(first: int, reduction: int, tmp_path: Path) -> None:
    draw = random.Random(7)
    curves = [[draw.choice([0.1, 0.2, 0.3, draw.random()]) for _ in range(12)] for _ in range(40)]
    expected: list[int] = []
    for number, costs in enumerate(curves):
        end = 12
        for rung in [epoch for epoch in range(1, 12) if is_power(epoch, max(1, first), reduction)]:
            there = [min(curves[other][:rung]) for other in range(number) if expected[other] >= rung]
            ordered = sorted([*there, min(costs[:rung])])
            if min(costs[:rung]) > ordered[max(1, len(ordered) // reduction) - 1]:
                end = rung
                break
        expected.append(end)
    found = follow(tmp_path, curves, searching(warmup_epochs=first, reduction=reduction))
    assert found == expected
    assert len(set(found)) > 2


def is_power(epoch: int, first: int, reduction: int) -> bool:
    while epoch > first and epoch % reduction == 0:
        epoch //= reduction
    return epoch == first


def test_the_parts_of_the_rule() -> None:
    assert list(list_rungs(1, 3, 30)) == [1, 3, 9, 27]
    assert list(list_rungs(2, 2, 1)) == []
    assert find_cost({1: 0.5, 2: 0.3, 3: 0.4, 4: 0.1}, 3) == 0.3
    assert find_cost({2: 0.7, 3: 0.4}, 1) == 0.7  # no score before epoch 2
    assert [is_promoted(cost, [0.1, 0.2, 0.3, 0.4, 0.5], 3) for cost in (0.05, 0.15, 0.2, 0.25)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_trial_is_not_stopped_after_its_last_epoch(tmp_path: Path) -> None:
    assert follow(tmp_path, [[0.1, 0.1, 0.1], [0.1, 0.1, 0.2]], searching()) == [3, 3]  # epoch 3 is no rung of three


def test_failures_that_are_tried_again_are_no_rivals(tmp_path: Path) -> None:
    search = searching()
    study = open_study(tmp_path, search, 0)
    for code, cost in ((3, 0.01), (4, 0.5)):
        trial = study.ask()
        trial.report(cost, 1)
        trial.set_user_attr("exit_code", code)
        study.tell(trial, state=TrialState.FAIL)
    good, bad = study.ask(), study.ask()
    good.report(0.4, 1)
    assert not good.should_prune()
    bad.report(0.6, 1)
    assert bad.should_prune()
