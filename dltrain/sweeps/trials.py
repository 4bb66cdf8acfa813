"""The trials of a sweep, as Optuna keeps them: in a journal that processes and machines may share.

A trial's number and values outlive the process that ran it: a trial whose process is gone continues in its own run
directory. The process that runs a trial holds its lock, `claims/trial-0007/lock`.

What the journal calls values are costs: the score itself if less is better, else its negative. A score's direction is
known only once a trial has been scored, but a study needs its direction from the start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from dltrain.config.search import Search
from dltrain.core.checkpoint import Checkpoints
from dltrain.errors import RunBusy
from dltrain.goal import LOSS, Goal, Ranked
from dltrain.runs.lock import Lock
from dltrain.sweeps.pruners import make_pruner
from dltrain.sweeps.samplers import VALUES, KeyedSampler, assign_values, count_trials

JOURNAL, CLAIMS = "trials.journal", "claims"
OUTCOMES = (2, 4, 5)
"""Exit codes caused by the values themselves (settings that do not fit together, divergence, no memory): a second try
of the trial would fail too."""
PATIENCE_SECONDS = 60.0
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


@contextmanager
def hold_lock(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, which other sweeps hold only briefly. Raises RunBusy after a minute."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            lock = Lock(directory)
            break
        except RunBusy:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def open_study(directory: Path, search: Search, seed: int) -> Study:
    """The study in the directory's journal, which is created if there is none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(directory / JOURNAL))),
        sampler=KeyedSampler(search.sampler, seed),
        pruner=make_pruner(search, is_counted),
        load_if_exists=True,
    )


def trial_name(number: int) -> str:
    return f"trial-{number:04d}"


def is_counted(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the sweep's, instead of one that another replaces."""
    return trial.state != TrialState.FAIL or trial.user_attrs.get("exit_code") in OUTCOMES


class TrialQueue:
    """Hands out trials to this process, one after another, until the sweep is complete."""

    def __init__(self, directory: Path, study: Study, search: Search) -> None:
        self._directory, self._study, self._search = directory, study, search
        self._trials = count_trials(search)
        self._to_start = self._trials - self._count_trials()  # so that trials which always fail come to an end

    def _count_trials(self) -> int:
        return sum(is_counted(trial) for trial in self._study.get_trials(deepcopy=False))

    @contextmanager
    def next(self) -> Iterator[Trial | None]:
        """A trial whose process is gone, else a new one, locked by this process; None if there is nothing to do.

        It has its values: they are chosen while no other process chooses any.
        """
        lock: Lock | None = None
        try:
            with hold_lock(self._directory):
                trial, lock = self._take_abandoned() or self._start_new() or (None, None)
                if trial is not None:
                    assign_values(self._study, trial, self._search, is_counted)
            yield trial
        finally:
            if lock is not None:
                lock.release()

    def _take_abandoned(self) -> tuple[Trial, Lock] | None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = self._try_lock(trial.number)
            if lock is not None and self._is_running(trial.number) and not self._is_training(trial.number):
                return Trial(self._study, trial._trial_id), lock
            if lock is not None:
                lock.release()
        return None

    def _is_running(self, number: int) -> bool:
        """Whether a trial has no outcome yet: its process may have ended it since the trials were listed."""
        return self._study.get_trials(deepcopy=False)[number].state == TrialState.RUNNING

    def _is_training(self, number: int) -> bool:
        """Whether a run has outlived the sweep that started it: one that was killed and is still saving."""
        directory = self._directory / trial_name(number)
        try:
            if directory.exists():
                Lock(directory).release()
        except RunBusy:
            return True
        return False

    def _start_new(self) -> tuple[Trial, Lock] | None:
        if self._to_start <= 0 or self._count_trials() >= self._trials:
            return None
        self._to_start -= 1
        trial = self._study.ask()
        lock = self._try_lock(trial.number)
        assert lock is not None, "a trial that did not exist has no owner"
        return trial, lock

    def _try_lock(self, number: int) -> Lock | None:
        directory = self._directory / CLAIMS / trial_name(number)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            return Lock(directory)
        except RunBusy:
            return None


def find_goal(directory: Path) -> Goal | None:
    """The goal of a run, from its checkpoints; None while there is none."""
    for checkpoint in Checkpoints(directory / "checkpoints"):
        try:
            return checkpoint.goal
        except (OSError, ValueError, KeyError):  # just deleted, to make room for a newer one
            continue
    return None


def to_cost(goal: Goal, score: float) -> float:
    """What Optuna minimises, from a score; its own inverse."""
    return score if goal.direction == "min" else -score


class Follower:
    """Follows a trial's metrics.jsonl: reports the score of each epoch, and decides when to stop the trial.

    Epochs are judged one after another, however many are read at once, so a late look cannot change the decision.
    """

    def __init__(
        self, trial: Trial, reported: Mapping[int, float], directory: Path, report: Callable[[str], None]
    ) -> None:
        self.costs = dict(reported)
        self.losses: dict[int, float | None] = {}
        self._goal: Goal | None = None
        self.pruned = bool(reported and trial.should_prune())
        self._trial, self._directory, self._report = trial, directory, report
        self._epoch = max(reported, default=0)
        self._size = 0

    def __call__(self) -> bool:
        """Whether the trial should be stopped."""
        path = self._directory / "metrics.jsonl"
        size = path.stat().st_size if path.exists() else 0
        if self.pruned or size == self._size:
            return self.pruned
        self._goal = self._goal or find_goal(self._directory)
        if self._goal is None:
            return False
        self._size = size
        for epoch, (score, loss) in read_scores(path, self._goal.metric):
            self.losses[epoch] = loss
            if epoch > self._epoch and not self.pruned:
                self._judge(epoch, score, self._goal)
        return self.pruned

    def _judge(self, epoch: int, score: float | None, goal: Goal) -> None:
        self._epoch = epoch
        if score is None:  # not a number: there is nothing to compare
            return
        self.costs[epoch] = to_cost(goal, score)
        self._trial.report(self.costs[epoch], epoch)
        self.pruned = bool(self._trial.should_prune())
        name = trial_name(self._trial.number)
        stopped = ", stopped" if self.pruned else ""
        self._report(f"{name}: epoch {epoch}: validation {goal.metric} {score:.4f}{stopped}")


def read_scores(path: Path, metric: str) -> Iterator[tuple[int, Ranked]]:
    """Each evaluation in a metrics.jsonl by number, its score and its loss; an unfinished line is left out."""
    events = map(json.loads, path.read_bytes().split(b"\n")[:-1])
    for number, event in enumerate((each for each in events if each["event"] == "epoch"), 1):
        yield number, Ranked(*(event.get(f"validation_{name}") for name in (metric, LOSS)))


def describe_trial(trial: FrozenTrial, parent: Path) -> dict[str, Any]:
    """A trial as plain values: its state, its values, and the score of its best epoch."""
    noted, costs, name = trial.user_attrs, trial.intermediate_values, trial_name(trial.number)
    result: dict[str, Any] = {
        "number": trial.number,
        "name": name,
        "directory": str(parent / name),
        "state": STATES[trial.state],
        "values": noted.get(VALUES, {}),
        "epochs": max(costs, default=0),
    }
    if trial.state == TrialState.FAIL:
        result |= {"exit_code": noted["exit_code"], "message": noted["message"], "outcome": is_counted(trial)}
    elif "goal" in noted and costs:
        goal = Goal(*noted["goal"])
        losses = noted.get("losses", {})
        epochs = sorted(costs)
        ranked = [Ranked(to_cost(goal, costs[epoch]), losses.get(str(epoch))) for epoch in epochs]
        best = epochs[goal.rank(ranked)[0]]
        result |= {
            "metric": goal.metric,
            "direction": goal.direction,
            "score": to_cost(goal, costs[best]),
            "loss": losses.get(str(best)),
            "epoch": best,
        }
    return result
