"""A sweep: trials drawn, run, followed and compared; what `dltrain sweep` calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from dltrain.config.experiment import Loaded, load_experiment
from dltrain.config.search import Search
from dltrain.errors import ConfigError, UsageError
from dltrain.files import write_atomically
from dltrain.goal import Goal
from dltrain.observers.trials import trials_picture
from dltrain.runs.directory import find_differences, read_plugin_sources
from dltrain.sweeps.child import ChildFailed
from dltrain.sweeps.members import CONFIGS, Manner, Member, prepare, train, write_summary
from dltrain.sweeps.trials import JOURNAL, Claims, Follower, alone, drawn, goal_of, plain, study, trial_name

KIND = "dltrain sweep"
SETTINGS, BEST, PICTURE = "sweep.json", "best.yaml", "plots/trials.png"
HOPELESS = 3
"""Trials that fail in this process before any has succeeded, after which no other is begun."""


@dataclass(frozen=True)
class TrialManner(Manner):
    """Trials say little: the sweep itself tells their epochs, and a warning that all of them give is told once."""

    told: set[str] = field(default_factory=set)

    def words(self) -> list[str]:
        return ["--quiet", *(["--inexact"] if self.inexact else [])]

    def hear(self, name: str, line: str) -> None:
        if line.startswith("warning: ") and line not in self.told:
            self.told.add(line)
            self.voice.tell(line)


def check_search(config: Path, loaded: Loaded) -> Search:
    if loaded.search is None:
        raise UsageError(
            f"{config}: has no section 'search', which says what a sweep varies",
            advice="add one, such as\n"
            "  search: {trials: 20, space: {optimizer.learning_rate: {low: 1e-4, high: 0.1, log: true}}}",
        )
    return loaded.search


class Sweep:
    """A sweep's directory, its study, and one process's share of the trials."""

    def __init__(
        self,
        config: Path,
        overrides: Sequence[str],
        loaded: Loaded,
        directory: Path,
        fresh: bool,
        manner: TrialManner,
    ) -> None:
        """Raises UsageError where the directory holds something else, or a sweep with other settings."""
        self.config, self.overrides, self.manner = config, overrides, manner
        self.search = check_search(config, loaded)
        self.directory = prepare(directory, KIND, fresh)
        with alone(self.directory):
            self._check_settings(loaded)
            trials = sorted(self.directory.glob("trial-*"))
            if trials and not (self.directory / JOURNAL).exists():
                raise UsageError(
                    f"{self.directory}: holds {trials[0].name}, but no {JOURNAL} that says what was drawn for it",
                    advice="put the journal back, or begin another sweep with --fresh or -o DIRECTORY",
                )
            self.study = study(self.directory, self.search, loaded.experiment.seed)
        self.failures = 0
        self.claims = Claims(self.directory, self.study, self.search.trials)

    def _check_settings(self, loaded: Loaded) -> None:
        """Write down what is swept; raise UsageError where it is not what this sweep was begun with."""
        path, now = self.directory / SETTINGS, settings(loaded)
        if not path.exists():
            write_atomically(path, (json.dumps(now, indent=1) + "\n").encode())
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = find_differences(before, now)
        if changed:
            lines = "".join(f"\n  {name}: {old!r} -> {new!r}" for name, (old, new) in changed.items())
            raise UsageError(
                f"{self.directory}: this sweep was begun with other settings{lines}\n"
                "allowed: only search.trials may change",
                advice="undo the change, or begin another sweep with --fresh or -o DIRECTORY",
            )

    def run(self) -> None:
        """Run trials until there are as many as asked for. Raises Stopped when asked to stop."""
        while not self._hopeless():
            self._check_settings(
                load_experiment(self.config, self.overrides)
            )  # the file may have been edited meanwhile
            with self.claims.next() as trial:
                if trial is None:
                    return
                self._run(trial)

    def _hopeless(self) -> bool:
        return self.failures >= HOPELESS and best_of(self.results()) is None

    def _run(self, trial: Trial) -> None:
        name = trial_name(trial.number)
        directory = self.directory / name
        reported = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        values = drawn(trial, self.search.dimensions)
        trial.set_user_attr("values", values)
        told = "  ".join(f"{path}={value}" for path, value in values.items())
        self.manner.voice.tell(f"{name}: {told}")
        follow = Follower(trial, reported, directory, self.manner.voice.tell)
        try:
            if not follow.pruned:
                self._train(name, values, follow)
        except ChildFailed as failed:
            if not follow():
                self._fail(trial, failed.exit_code, str(failed))
                return
        trial.set_user_attr("goal", goal_of(directory))
        if follow():
            self.study.tell(trial, state=TrialState.PRUNED)
        elif follow.costs:
            self.study.tell(trial, min(follow.costs.values()))
        else:
            self._fail(trial, UsageError.exit_code, "no validation score; give data.validation a share above 0")

    def _train(self, name: str, values: Mapping[str, str], follow: Follower) -> None:
        """Raises ChildFailed, also for values that make no sound config together: that fails one trial alone."""
        flags = [f"{path}={value}" for path, value in values.items()]
        try:
            experiment = load_experiment(self.config, [*self.overrides, *flags]).experiment
        except ConfigError as error:
            raise ChildFailed(str(error), error.exit_code) from None
        try:
            train(self.directory, Member(name, {}, experiment), self.manner, follow)
        except UsageError as error:
            raise UsageError(
                f"{error}\nthe sweep's journal says other values for {name} than its run directory: they do not belong "
                "together",
                advice="put back the one that was changed, or begin another sweep with --fresh",
            ) from None

    def _fail(self, trial: Trial, exit_code: int, message: str) -> None:
        self.failures += 1
        trial.set_user_attr("exit_code", exit_code)
        trial.set_user_attr("message", message)
        self.study.tell(trial, state=TrialState.FAIL)
        first = message.partition("\n")[0]
        self.manner.voice.tell(f"warning: {trial_name(trial.number)} failed with exit code {exit_code}: {first}")

    def results(self) -> list[dict[str, Any]]:
        return [plain(trial, self.directory) for trial in self.study.get_trials(deepcopy=False)]

    def progress(self) -> str:
        ended = sum(
            result["state"] in ("finished", "pruned") or bool(result.get("outcome")) for result in self.results()
        )
        return f"{self.directory}: {ended} of {self.search.trials} trials are done"

    def conclude(self) -> dict[str, Any]:
        """The summary, which is written down with the best config and a picture."""
        trials = self.results()
        best = best_of(trials)
        summary = {
            "kind": KIND,
            "trials_asked_for": self.search.trials,
            "best": best and best["name"],
            "trials": trials,
        }
        write_summary(self.directory, summary)
        if best is not None:
            config = (self.directory / CONFIGS / f"{best['name']}.yaml").read_text(encoding="utf-8")
            remark = f"{best['name']} of {len(trials)}: validation {best['metric']} {best['score']:.6g}"
            write_atomically(self.directory / BEST, f"# {remark} in epoch {best['epoch']}\n{config}".encode())
            trials_picture(trials, self.search.dimensions, remark, self.directory / PICTURE)
        return summary


def settings(loaded: Loaded) -> dict[str, Any]:
    """All that a sweep's trials depend on, as plain values."""
    search = loaded.search
    assert search is not None
    how = {name: getattr(search, name) for name in ("sampler", "pruner", "warmup_epochs")}
    space = {each.path: {**asdict(each), "names": each.names and sorted(each.names)} for each in search.dimensions}
    sources = read_plugin_sources(loaded.experiment.plugins)
    plugins = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sources.items()}
    config = {**loaded.experiment.resolved(), "plugins": plugins}
    plain: dict[str, Any] = json.loads(json.dumps({**config, "search": {**how, "space": space}}))
    return plain


def best_of(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The finished trial with the best score, the first of equals."""
    finished = [result for result in trials if result["state"] == "finished"]
    if not finished:
        return None
    index = Goal(finished[0]["metric"], finished[0]["direction"]).best([result["score"] for result in finished])
    return None if index is None else finished[index]
