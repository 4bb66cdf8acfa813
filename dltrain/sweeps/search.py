"""A sweep: trials sampled, run, followed and compared; what `dltrain sweep` calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from dltrain.config.combinations import count_combinations
from dltrain.config.experiment import Loaded, load_experiment
from dltrain.errors import ConfigError, Stopped, UsageError
from dltrain.files import write_atomically
from dltrain.goal import Goal, Ranked
from dltrain.observers.pictures import draw_trials
from dltrain.runs.changed_data import ComparedRuns
from dltrain.runs.directory import find_differences, read_plugin_sources, refuse_changes
from dltrain.runs.finding import find_config
from dltrain.sweeps import trials
from dltrain.sweeps.child import ChildFailed
from dltrain.sweeps.members import (
    CONFIGS,
    RESUME,
    Member,
    RunOptions,
    prepare_parent,
    refuse_automatic_batches,
    train_member,
    write_summary,
)
from dltrain.sweeps.pruners import EPOCHS_PLANNED
from dltrain.sweeps.samplers import DEFAULT_TRIALS, VALUES, count_trials
from dltrain.sweeps.trials import JOURNAL, trial_name

SWEEP_KIND = "dltrain sweep"
SETTINGS, BEST, PICTURE = "sweep.json", "best.yaml", "plots/trials.png"
HOPELESS = 3
"""Trials that fail in this process before any has succeeded, after which no other is started."""


@dataclass(frozen=True)
class TrialOptions(RunOptions):
    """Trials are quiet: the sweep reports their epochs, and shows a warning that all of them give only once."""

    shown: set[str] = field(default_factory=set)

    def arguments(self) -> list[str]:
        return ["--quiet", *(["--inexact"] if self.inexact else [])]

    def pass_on(self, name: str, line: str) -> None:
        if line.startswith("warning: ") and line not in self.shown:
            self.shown.add(line)
            self.messenger.warn(line.removeprefix("warning: "))


class Sweep:
    """A sweep's directory, its study, and one process's share of the trials."""

    def __init__(self, config: Path, overrides: Sequence[str], options: TrialOptions) -> None:
        """Raises UsageError for a config without `search`, a directory of something else, or other settings."""
        self.config, name = find_config(config)
        self.overrides, self.options = overrides, options
        loaded = load_experiment(self.config, overrides)
        if loaded.search is None:
            raise UsageError(
                f"{self.config}: has no section 'search', which says what a sweep varies",
                advice="add one, such as\n"
                "  search: {trials: 20, space: {optimizer.learning_rate: {low: 1e-4, high: 0.1, log: true}}}",
            )
        self.search = loaded.search
        refuse_automatic_batches(loaded.experiment)
        options.warn(loaded.experiment)
        self.directory = prepare_parent(options.output or Path("runs") / f"{name}-sweep", SWEEP_KIND, options.fresh)
        with trials.hold_lock(self.directory):
            self._check_settings(loaded)
            present = sorted(self.directory.glob("trial-*"))
            if present and not (self.directory / JOURNAL).exists():
                raise UsageError(
                    f"{self.directory}: holds {present[0].name}, but no {JOURNAL} with its values",
                    advice="restore the journal, or start another sweep with --fresh or -o DIRECTORY",
                )
            self.study = trials.open_study(self.directory, self.search, loaded.experiment.seed)
        self.failures = 0
        self.compared = ComparedRuns(self.directory)
        self.queue = trials.TrialQueue(self.directory, self.study, self.search)
        self.trials = count_trials(self.search)
        self._announce()

    def _announce(self) -> None:
        """Report how many combinations there are, where that decides how many trials there will be."""
        combinations, asked = count_combinations(self.search.dimensions), self.search.trials
        if combinations is not None and (self.search.sampler == "grid" or self.trials < (asked or DEFAULT_TRIALS)):
            part = f"the first {self.trials} of {combinations}" if self.trials < combinations else f"all {combinations}"
            self.options.messenger.inform(f"trials: {part} combinations of values, each once")

    def _check_settings(self, loaded: Loaded) -> None:
        """Record the settings. Raises UsageError if this sweep was started with other ones."""
        path, now = self.directory / SETTINGS, describe_settings(loaded)
        if not path.exists():
            write_atomically(path, (json.dumps(now, indent=1) + "\n").encode())
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = find_differences(before, now)
        kept = {name: values for name, values in changed.items() if name not in loaded.experiment.folders}
        refuse_changes(self.directory, "sweep", kept, "search.trials")

    def run(self) -> dict[str, Any]:
        """Run trials until there are enough; the summary. Raises Stopped when asked to, UsageError for changed data."""
        for one in self.results():
            self.compared.add(one["name"])
        self.compared.check_unchanged(self.options.messenger)
        try:
            while self.failures < HOPELESS or find_best_trial(self.results()):
                self._check_settings(load_experiment(self.config, self.overrides))  # it may have been edited meanwhile
                with self.queue.next() as trial:
                    if trial is None:
                        break
                    self._run_trial(trial)
                    self.compared.add(trial_name(trial.number))
                self._summarize()
        except Stopped as stopped:
            self.conclude()
            ended = [one for one in self.results() if one.get("outcome") or one["state"] in ("finished", "pruned")]
            done = f"{self.directory}: {len(ended)} of {self.trials} trials are done"
            raise Stopped(f"{stopped.message}\n{done}", stopped.exit_code, advice=RESUME) from None
        return self.conclude()

    def _run_trial(self, trial: Trial) -> None:
        name = trial_name(trial.number)
        directory = self.directory / name
        reported = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        values = trial.user_attrs[VALUES]
        flags = [f"{path}={value}" for path, value in values.items()]
        self.options.messenger.inform(f"{name}: {'  '.join(flags)}")
        follow = trials.Follower(trial, reported, directory, self.options.messenger.inform)
        try:
            if not follow.pruned:
                self._train(trial, flags, follow)
        except ChildFailed as failed:
            if not follow():
                self._fail(trial, failed.exit_code, str(failed))
                return
        trial.set_user_attr("goal", trials.find_goal(directory))
        stopped = follow()
        trial.set_user_attr("losses", follow.losses)
        if stopped:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif follow.costs:
            self.study.tell(trial, min(follow.costs.values()))
        else:
            self._fail(trial, UsageError.exit_code, "no validation score; give data.validation a share above 0")

    def _train(self, trial: Trial, flags: Sequence[str], follow: trials.Follower) -> None:
        """Raises ChildFailed, also for values that do not fit together: that fails one trial only."""
        name = trial_name(trial.number)
        try:
            experiment = load_experiment(self.config, self.overrides, flags).experiment
        except ConfigError as error:
            raise ChildFailed(error.message, error.exit_code) from None
        trial.set_user_attr(EPOCHS_PLANNED, experiment.trainer.epochs)
        try:
            train_member(self.directory, Member(name, {}, experiment), self.options, follow)
        except UsageError as error:
            raise UsageError(
                f"{error.message}\nthe sweep's journal has other values for {name} than its run directory: they do not "
                "belong together",
                advice="restore the one that was changed, or start another sweep with --fresh",
            ) from None

    def _fail(self, trial: Trial, exit_code: int, message: str) -> None:
        self.failures += 1
        trial.set_user_attr("exit_code", exit_code)
        trial.set_user_attr("message", message)
        self.study.tell(trial, state=TrialState.FAIL)
        first = message.partition("\n")[0]
        self.options.messenger.warn(f"{trial_name(trial.number)} failed with exit code {exit_code}: {first}")

    def results(self) -> list[dict[str, Any]]:
        return [trials.describe_trial(trial, self.directory) for trial in self.study.get_trials(deepcopy=False)]

    def _summarize(self) -> dict[str, Any]:
        """Write the summary so far, and return it."""
        results = self.results()
        best = find_best_trial(results)
        facts = {"kind": SWEEP_KIND, "trials_asked_for": self.trials, "best": best and best["name"]}
        summary = {**facts, "trials": results}
        write_summary(self.directory, summary)
        return summary

    def conclude(self) -> dict[str, Any]:
        """Write the summary, the best config and a picture; the summary."""
        summary = self._summarize()
        results = summary["trials"]
        best = find_best_trial(results)
        if best is not None:
            experiment = load_experiment(self.directory / CONFIGS / f"{best['name']}.yaml").experiment
            remark = f"{best['name']} of {len(results)}: validation {best['metric']} {best['score']:.6g}"
            write_atomically(
                self.directory / BEST,
                f"# {remark} in epoch {best['epoch']}\n{experiment.yaml(self.directory)}".encode(),
            )
            draw_trials(results, self.search.dimensions, remark, self.directory / PICTURE)
        return summary


def describe_settings(loaded: Loaded) -> dict[str, Any]:
    """Everything that a sweep's trials depend on, as plain values."""
    search = loaded.search
    assert search is not None
    how = {name: getattr(search, name) for name in ("sampler", "pruner", "warmup_epochs")}
    how |= {"reduction": search.reduction} if search.pruner == "asha" else {}
    space = {each.path: {**asdict(each), "names": each.names and sorted(each.names)} for each in search.dimensions}
    sources = read_plugin_sources(loaded.experiment.plugins)
    plugins = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sources.items()}
    config = {**loaded.experiment.resolved(), "plugins": plugins}
    del config["observers"]  # they cannot change a score
    plain: dict[str, Any] = json.loads(json.dumps({**config, "search": {**how, "space": space}}))
    return plain


def find_best_trial(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The finished trial with the best score; of equal scores the one with the lower loss."""
    finished = [result for result in trials if result["state"] == "finished"]
    if not finished:
        return None
    index = Goal(finished[0]["metric"], finished[0]["direction"]).best(
        [Ranked(result["score"], result["loss"]) for result in finished]
    )
    return None if index is None else finished[index]
