"""Several runs under one parent directory, one after another, each in a process of its own.

runs/NAME-seeds/
  seed-0/, seed-1/, ...   ordinary run directories
  configs/seed-0.yaml     the complete config of each, as `dltrain fit` takes it
  summary.json            the command of this parent, and the results of its members
  lock                    held by the process that trains them
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltrain.config.experiment import Experiment
from dltrain.core.checkpoint import Checkpoints
from dltrain.core.verdict import read_baseline_scores
from dltrain.errors import DataError, NoCheckpoint, RunBusy, Stopped, UsageError
from dltrain.files import EarlierContent, find_free_directory, make_directory, write_atomically
from dltrain.observers.console import Messenger
from dltrain.options import AUTO
from dltrain.runs.changed_data import ComparedRuns
from dltrain.runs.directory import CONFIG, open_run
from dltrain.runs.listing import SUMMARY
from dltrain.runs.lock import LOCK, Lock
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps import child
from dltrain.sweeps.child import ChildFailed
from dltrain.temporary import remove_abandoned

CONFIGS = "configs"
RESUME = "rerun the same command to resume"


@dataclass(frozen=True)
class Member:
    """One of the runs: the name of its directory, the facts that distinguish it, and its experiment."""

    name: str
    facts: Mapping[str, Any]
    experiment: Experiment


@dataclass(frozen=True)
class RunOptions:
    """Command-line options of a run or of the parent of several, which passes them on to its members."""

    interrupts: Interrupts
    messenger: Messenger
    inexact: bool = False
    output: Path | None = None
    fresh: bool = False
    locking: bool = True

    def arguments(self) -> list[str]:
        """These options as the arguments of a member's command."""
        flags = {"--inexact": self.inexact, "--quiet": self.messenger.quiet, "--json-logs": self.messenger.json_lines}
        flags["--no-lock"] = not self.locking
        return [flag for flag, given in flags.items() if given]

    def warn(self, experiment: Experiment) -> None:
        """Print the warnings about the config; the members' own configs give none."""
        for warning in experiment.warnings:
            self.messenger.warn(warning)

    def pass_on(self, name: str, line: str) -> None:
        """Write a line of a member's stderr to this process's own, with the member's name. A closed stderr is fine."""
        if self.messenger.json_lines and line.startswith("{"):
            line = json.dumps({"member": name, **json.loads(line)})
        elif not self.messenger.json_lines:
            error = child.read_error(line)
            line = f"{name}: {line if error is None else f'error: {error}'}"
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)  # noqa: T201


def prepare_parent(directory: Path, kind: str, fresh: bool) -> Path:
    """Make the parent directory, with `fresh` a new one. Raises UsageError if it holds something else."""
    if fresh:
        directory = find_free_directory(directory)
    advice = "name another one with -o"
    if (directory / CONFIG).exists():
        raise UsageError(f"{directory}: is a run itself, and several runs need a parent", advice=advice)
    try:
        make_directory(directory)
    except OSError as error:
        raise UsageError(f"{directory}: cannot be made: {error.strerror}", advice=advice) from None
    # Listed before the summary is read: another process that prepares it writes the summary first.
    names = [path.name for path in directory.iterdir() if path.suffix != ".tmp"]
    others = sorted(name for name in names if name not in (LOCK, CONFIGS))
    try:
        present: str | None = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        present = None
    if present is None and others:
        more = " and more" if len(others) > 1 else ""
        raise UsageError(
            f"{directory}: holds {others[0]}{more}, but no {SUMMARY} of dltrain's",
            advice="name an empty or a new directory with -o",
        )
    if present not in (None, kind):
        raise UsageError(f"{directory}: holds the runs of `{present}`, not of `{kind}`", advice=advice)
    if present is None:
        write_summary(directory, {"kind": kind})
    return directory


def write_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    write_atomically(directory / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())


def is_finished(directory: Path, experiment: Experiment, *, locking: bool = True) -> bool:
    """Whether a member's run is finished. Raises UsageError if it was started with other settings."""
    if not (directory / CONFIG).exists():
        return False
    try:
        run = open_run(directory, experiment, locking=locking)
    except (RunBusy, NoCheckpoint):  # its own process reports it
        return False
    run.release()
    return run.begins == "finished" and (directory / "report.html").exists()


def train_member(
    parent: Path, member: Member, options: RunOptions, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Run `dltrain fit` for a member, unless it is finished. Raises ChildFailed, and Stopped when asked to stop."""
    directory = parent / member.name
    if is_finished(directory, member.experiment, locking=options.locking):
        return
    config = parent / CONFIGS / f"{member.name}.yaml"
    config.parent.mkdir(exist_ok=True)
    write_atomically(config, member.experiment.yaml(config.parent).encode())
    run_member(["fit", str(config), "-o", str(directory), *options.arguments()], member, options, should_stop)


def run_member(
    arguments: Sequence[str], member: Member, options: RunOptions, should_stop: Callable[[], bool] = lambda: False
) -> str:
    """Run `dltrain ARGUMENTS --json` for a member; its stdout. Raises ChildFailed, and Stopped when asked to stop."""
    if reason := options.interrupts.pending():
        raise reason
    process = child.run_dltrain(
        arguments, options.interrupts, lambda line: options.pass_on(member.name, line), should_stop
    )
    if process.failure:
        raise options.interrupts.pending() or process.failure
    return process.output


def read_outcome(directory: Path) -> dict[str, Any]:
    """The results of a finished run: its goal, best epoch, and validation metrics."""
    last = Checkpoints(directory / "checkpoints").last()
    assert last is not None, "a finished run has a checkpoint"
    history, goal = last.record.history, last.goal
    best = history.best(goal)
    chosen = -1 if best is None else best
    return {
        "dataset": last.record.dataset,
        "metric": goal.metric,
        "direction": goal.direction,
        "epoch": history[chosen]["epoch"],
        "epochs": history.epochs,
        "score": None if best is None else history[best][goal.metric],
        "metrics": history.metrics(chosen),
        **({"baselines": baselines} if (baselines := read_baseline_scores(directory)) else {}),
        **({"facts": last.record.facts} if last.record.facts else {}),
    }


def run_members(
    directory: Path,
    kind: str,
    members: Sequence[Member],
    options: RunOptions,
    measure: Callable[[Path, Member], dict[str, Any]],
) -> tuple[Path, dict[str, Any]]:
    """Train and `measure` the members one after another; the parent directory and its summary.

    A failed member is recorded, and the others continue. Raises Stopped when asked to stop, RunBusy if another process
    trains them, UsageError if they have different data, and ChildFailed if the first one's config or data is refused
    before training: the others share it. A parent that was made for nothing is removed again.
    """
    refuse_automatic_batches(members[0].experiment)
    place = options.output or directory
    before = EarlierContent.look(find_free_directory(place) if options.fresh else place)
    parent = prepare_parent(place, kind, options.fresh)
    lock = take_lock(parent, before, options)
    try:
        for member in members:  # other settings are refused before anything is started
            is_finished(parent / member.name, member.experiment, locking=options.locking)
        compared = ComparedRuns(parent)
        for member in members:
            compared.add(member.name)
        compared.check_unchanged(options.messenger)
        results: list[dict[str, Any]] = []
        for number, member in enumerate(members, 1):
            already = (
                " (finished before)"
                if is_finished(parent / member.name, member.experiment, locking=options.locking)
                else ""
            )
            options.messenger.inform(f"{member.name}: run {number} of {len(members)}{already}")
            result: dict[str, Any] = {"name": member.name, **member.facts, "directory": str(parent / member.name)}
            try:
                train_member(parent, member, options)
                compared.add(member.name)
                result |= {"state": "finished", **measure(parent / member.name, member)}
            except ChildFailed as failed:
                result |= {"state": "failed", "exit_code": failed.exit_code, "message": str(failed)}
                refused = failed.exit_code in (UsageError.exit_code, DataError.exit_code)
                started = Checkpoints(parent / member.name / "checkpoints").last()
                if number == 1 and len(members) > 1 and refused and not started:
                    first = f"{parent}: {member.name}, the first of {len(members)} runs, cannot start"
                    message = f"{first}; the others were not tried\n{failed.message}"
                    raise ChildFailed(message, failed.exit_code, advice=failed.advice) from None
            except Stopped as stopped:
                done = f"{parent}: {len(results)} of {len(members)} runs are done"
                raise Stopped(f"{stopped.message}\n{done}", stopped.exit_code, advice=RESUME) from None
            results.append(result)
            write_summary(parent, summarize_members(kind, results, len(members)))
        return parent, summarize_members(kind, results, len(members))
    finally:
        if not any((parent / member.name).exists() for member in members):
            before.restore()
        lock.release()


def take_lock(parent: Path, before: EarlierContent, options: RunOptions) -> Lock:
    """The parent's lock. Where there is none, what was made for it is removed again, and the error raised."""
    try:
        lock = Lock(parent, locking=options.locking)
    except UsageError:
        before.restore()
        raise
    remove_abandoned(parent)
    return lock


def summarize_members(kind: str, results: Sequence[Mapping[str, Any]], asked: int) -> dict[str, Any]:
    """The results of the members so far, of those `asked` for, and the spread of each metric over the finished ones."""
    finished = [result for result in results if result["state"] == "finished"]
    names = dict.fromkeys(name for result in finished for name in result["metrics"])
    return {
        "kind": kind,
        "members_asked_for": asked,
        "members": list(results),
        "statistics": {name: describe_spread([result["metrics"].get(name) for result in finished]) for name in names},
        **({"baselines": baselines} if (baselines := average_baselines(finished, names)) else {}),
    }


def average_baselines(finished: Sequence[Mapping[str, Any]], metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The mean over the finished members of each metric of each baseline that all of them have, by name.

    A metric that is not defined for some members has a mean only if it is not for the same ones, so that the mean of
    the models' scores can be compared with it.
    """
    scores = [result.get("baselines", {}) for result in finished]
    shared = [name for name in (scores[0] if scores else {}) if all(name in each for each in scores)]
    models = [result["metrics"] for result in finished]
    return {name: _average_alike([each[name] for each in scores], models, metrics) for name in shared}


def _average_alike(
    scores: Sequence[Mapping[str, float | None]], models: Sequence[Mapping[str, float | None]], metrics: Iterable[str]
) -> dict[str, float | None]:
    means = {}
    for metric in metrics:
        values = [each.get(metric) for each in scores]
        alike = [value is None for value in values] == [each.get(metric) is None for each in models]
        means[metric] = describe_spread(values)["mean"] if alike else None
    return means


def describe_spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Count, mean, sample standard deviation (n - 1), smallest and largest of the values that are not None."""
    known = [value for value in values if value is not None]
    return {
        "count": len(known),
        "mean": statistics.fmean(known) if known else None,
        "standard_deviation": statistics.stdev(known) if len(known) > 1 else None,
        "minimum": min(known, default=None),
        "maximum": max(known, default=None),
    }


def raise_failed(parent: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Raises ChildFailed with the name, exit code and message of each that failed; its exit code is theirs, or 1."""
    failed = [result for result in results if result["state"] == "failed"]
    if failed:
        message = f"{parent}: {len(failed)} of {len(results)} runs failed, the others count"
        for result in failed:
            reason = f"{result['name']}: exit code {result['exit_code']}: {result['message']}"
            message += "\n" + reason.replace("\n", "\n  ")
        codes = {result["exit_code"] for result in failed}
        advice = "correct what they report, and run the same command again; it does only what is missing"
        raise ChildFailed(message, codes.pop() if len(codes) == 1 else 1, advice=advice)


def refuse_automatic_batches(experiment: Experiment) -> None:
    """Raises UsageError for runs that are compared with each other, of which each might find another number."""
    if experiment.data.options.get("batch_size") == AUTO:
        raise UsageError(
            "data.batch_size: auto is for a single run: runs that are compared need the same batch size",
            advice="train once with `dltrain fit`, and set the number that it prints",
        )


def refuse_override(overrides: Sequence[str], path: str, command: str) -> None:
    """Raises UsageError if `--set` sets the option `path`, which each member has its own value of."""
    for override in overrides:
        key = override.partition("=")[0]
        if key == path or key.startswith(f"{path}."):
            message = f"--set {override}: {command} gives each run its own {path}"
            raise UsageError(message, advice="leave out one of the two")
