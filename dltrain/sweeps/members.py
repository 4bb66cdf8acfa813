"""Several runs under one parent directory, one after another, each in a process of its own.

runs/NAME-seeds/
  seed-0/, seed-1/, ...   ordinary run directories
  configs/seed-0.yaml     the complete config of each, as `dltrain fit` takes it
  summary.json            what kind of parent this is, and what its members reached
  lock                    held by the process that trains them
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from dltrain.config.experiment import Experiment, load_experiment
from dltrain.core.checkpoint import Checkpoints
from dltrain.errors import DataError, NoCheckpoint, RunBusy, Stopped, UsageError
from dltrain.files import write_atomically
from dltrain.observers.messages import Messenger
from dltrain.runs.directory import CONFIG, Lock, find_free_directory, open_run
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps import child
from dltrain.sweeps.child import ChildFailed, ChildrenFailed

SUMMARY, CONFIGS, LOCK = "summary.json", "configs", "lock"
REFUSALS = (UsageError.exit_code, DataError.exit_code)
MOST_SEEDS = 1000
LARGEST_SEED_DIGITS = 19


@dataclass(frozen=True)
class Member:
    """One of the runs: the name of its directory, what sets it apart, and its experiment."""

    name: str
    facts: Mapping[str, Any]
    experiment: Experiment


@dataclass(frozen=True)
class Manner:
    """How members are run: what the command was told besides its config."""

    interrupts: Interrupts
    voice: Messenger
    inexact: bool = False

    def words(self) -> list[str]:
        flags = {"--inexact": self.inexact, "--quiet": self.voice.quiet, "--json-logs": self.voice.json_lines}
        return [flag for flag, wanted in flags.items() if wanted]

    def hear(self, name: str, line: str) -> None:
        """Pass on what a member says. Whether anybody listens makes no difference to it."""
        if self.voice.json_lines and line.startswith("{"):
            line = json.dumps({"member": name, **json.loads(line)})
        elif not self.voice.json_lines:
            line = f"{name}: {line}"
        try:
            typer.echo(line, err=True)
        except OSError:
            return


def named_file(config: Path) -> tuple[Path, str]:
    """The config file that is meant, a file or a run directory's, and what runs of it are called."""
    if (config / CONFIG).is_file():
        return config / CONFIG, config.resolve().name
    return config, config.stem


def prepare(directory: Path, kind: str, fresh: bool) -> Path:
    """Make the parent directory, with `fresh` a new one. Raises UsageError where it holds something else."""
    if fresh:
        directory = find_free_directory(directory)
    if (directory / CONFIG).exists():
        raise UsageError(
            f"{directory}: is a run itself, and several runs need a parent", advice="name another one with -o"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory}: cannot be made: {error.strerror}", advice="name another one with -o") from None
    # Listed before the summary is read: another process that prepares it writes the summary first.
    names = [path.name for path in directory.iterdir() if path.suffix != ".tmp"]
    strangers = sorted(name for name in names if name not in (LOCK, CONFIGS))
    there = kind_of(directory)
    if there is None and strangers:
        raise UsageError(
            f"{directory}: holds {strangers[0]}{' and more' * (len(strangers) > 1)}, but no {SUMMARY} of dltrain's",
            advice="name an empty or a new directory with -o",
        )
    if there not in (None, kind):
        raise UsageError(
            f"{directory}: holds the runs of `{there}`, not of `{kind}`", advice="name another one with -o"
        )
    if there is None:
        write_summary(directory, {"kind": kind})
    return directory


def kind_of(directory: Path) -> str | None:
    """Which command a parent directory belongs to; None where it says nothing."""
    try:
        kind: str = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind


def write_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    write_atomically(directory / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())


def is_finished(directory: Path, experiment: Experiment) -> bool:
    """Whether a member's run is over. Raises UsageError where it was begun with other settings."""
    if not (directory / CONFIG).exists():
        return False
    try:
        run = open_run(directory, experiment)
    except (RunBusy, NoCheckpoint):  # for its own process to tell
        return False
    run.lock.release()
    return run.begins == "finished" and (directory / "report.html").exists()


def train(parent: Path, member: Member, manner: Manner, enough: Callable[[], bool] = lambda: False) -> None:
    """Run `dltrain fit` for a member, unless it is finished. Raises ChildFailed, and Stopped when asked to stop."""
    directory = parent / member.name
    if is_finished(directory, member.experiment):
        return
    config = parent / CONFIGS / f"{member.name}.yaml"
    config.parent.mkdir(exist_ok=True)
    write_atomically(config, member.experiment.yaml().encode())
    call(["fit", str(config), "-o", str(directory), *manner.words()], member, manner, enough)


def call(words: Sequence[str], member: Member, manner: Manner, enough: Callable[[], bool] = lambda: False) -> str:
    """What `dltrain WORDS` writes to stdout. Raises ChildFailed where it fails, and Stopped when asked to stop."""
    if reason := manner.interrupts.pending():
        raise reason
    ended = child.run(words, manner.interrupts, lambda line: manner.hear(member.name, line), enough)
    if ended.exit_code and (reason := manner.interrupts.pending()):
        raise reason
    if ended.exit_code:
        raise ChildFailed(ended.message, ended.exit_code)
    return ended.output


def outcome(directory: Path) -> dict[str, Any]:
    """What a finished run reached: the goal, the best epoch, and its validation metrics."""
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
        "epochs": len(history),
        "score": None if best is None else history[best][goal.metric],
        "metrics": history.metrics(chosen),
    }


def run_all(
    parent: Path, kind: str, members: Sequence[Member], manner: Manner, measure: Callable[[Member], dict[str, Any]]
) -> dict[str, Any]:
    """Train and `measure` each member in its turn; the summary, which is kept in the parent directory too.

    A member that fails is noted, and the others go on. Raises Stopped when asked to stop, and ChildFailed where the
    first one's config or data is refused before anything is trained: the others have the same.
    """
    for member in members:  # other settings are refused before anything is started
        is_finished(parent / member.name, member.experiment)
    results: list[dict[str, Any]] = []
    for number, member in enumerate(members, 1):
        already = " (finished before)" if is_finished(parent / member.name, member.experiment) else ""
        manner.voice.tell(f"{member.name}: run {number} of {len(members)}{already}")
        result: dict[str, Any] = {"name": member.name, **member.facts, "directory": str(parent / member.name)}
        try:
            train(parent, member, manner)
            result |= {"state": "finished", **measure(member)}
        except ChildFailed as failed:
            result |= {"state": "failed", "exit_code": failed.exit_code, "message": str(failed)}
            untrained = failed.exit_code in REFUSALS and not Checkpoints(parent / member.name / "checkpoints").last()
            if number == 1 and len(members) > 1 and untrained:
                write_summary(parent, summarised(kind, [result]))
                told = f"{member.name}, the first of {len(members)} runs, cannot begin, and the others were not tried"
                raise ChildFailed(f"{parent}: {told}\n{failed}", failed.exit_code) from None
        except Stopped as stopped:
            done = f"{parent}: {len(results)} of {len(members)} runs are done; the same command continues"
            raise Stopped(f"{stopped}\n{done}", stopped.exit_code) from None
        results.append(result)
        write_summary(parent, summarised(kind, results))
    return summarised(kind, results)


def summarised(kind: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The members' results, and the spread of every metric over those that are finished."""
    finished = [result for result in results if result["state"] == "finished"]
    names = dict.fromkeys(name for result in finished for name in result["metrics"])
    return {
        "kind": kind,
        "members": list(results),
        "statistics": {name: spread([result["metrics"].get(name) for result in finished]) for name in names},
    }


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Count, mean, sample standard deviation (n - 1), smallest and largest of the values that there are."""
    known = [value for value in values if value is not None]
    return {
        "count": len(known),
        "mean": statistics.fmean(known) if known else None,
        "standard_deviation": statistics.stdev(known) if len(known) > 1 else None,
        "minimum": min(known, default=None),
        "maximum": max(known, default=None),
    }


STATISTICS = {"mean": "mean", "standard_deviation": "std", "minimum": "min", "maximum": "max"}


def tables(summary: Mapping[str, Any], first: str) -> str:
    """A row for each member, the fact `first` before its metrics, and below them mean and spread."""
    metrics = list(summary["statistics"])
    rows = [[first, "epoch", *metrics]]
    for result in summary["members"]:
        if result["state"] == "finished":
            rows.append(
                [str(result[first]), str(result["epoch"]), *(shown(result["metrics"].get(name)) for name in metrics)]
            )
        else:
            rows.append([str(result[first]), f"failed: exit code {result['exit_code']}"])
    for key, name in STATISTICS.items():
        rows.append([name, "", *(shown(summary["statistics"][metric][key]) for metric in metrics)])
    return table(rows)


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns set flush right; a row that is shorter than the first ends with text of any length."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in full) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        if len(row) < len(widths):
            cells[-1] = row[-1]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def raise_failed(parent: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Raises ChildrenFailed where a member failed, with the name, exit code and message of each."""
    failed = [result for result in results if result["state"] == "failed"]
    if failed:
        told = "\n".join(
            f"{result['name']}: exit code {result['exit_code']}: {result['message']}".replace("\n", "\n  ")
            for result in failed
        )
        raise ChildrenFailed(
            f"{parent}: {len(failed)} of {len(results)} runs failed, the others count\n{told}",
            [result["exit_code"] for result in failed],
            advice="correct what they report, and run the same command again; it does only what is missing",
        )


def seed_list(text: str) -> list[int]:
    """`0,1,2`, `0-4` or `0-2,7` as numbers. Raises UsageError for anything else, and for a seed given twice."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or max(len(match[1]), len(match[2] or "")) > LARGEST_SEED_DIGITS:
            raise UsageError(f"--seeds: found '{text}'; allowed are numbers and ranges of them, such as 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MOST_SEEDS:
            raise UsageError(f"--seeds: found '{part}'; allowed are ranges upwards, of at most {MOST_SEEDS} seeds")
        numbers += range(first, last + 1)
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UsageError(f"--seeds: seed {twice} is given twice in '{text}'")
    return numbers


def refuse_set(overrides: Sequence[str], path: str, command: str) -> None:
    """Raises UsageError where `--set` sets what each member has of its own."""
    for override in overrides:
        key = override.partition("=")[0]
        if key == path or key.startswith(f"{path}."):
            raise UsageError(
                f"--set {override}: {command} gives each run its own {path}", advice="leave out one of the two"
            )


def fit_seeds(
    config: Path,
    overrides: Sequence[str],
    seeds: str,
    output: Path | None,
    fresh: bool,
    manner: Manner,
    as_json: bool,
) -> None:
    """`dltrain fit --seeds`: the same training once for each seed, and how far the scores lie apart."""
    numbers = seed_list(seeds)
    refuse_set(overrides, "seed", "--seeds")
    file, name = named_file(config)
    members = [
        Member(f"seed-{number}", {"seed": number}, load_experiment(file, [*overrides, f"seed={number}"]).experiment)
        for number in numbers
    ]
    kind = "dltrain fit --seeds"
    parent = prepare(output or Path("runs") / f"{name}-seeds", kind, fresh)
    lock = Lock(parent)
    try:
        summary = run_all(parent, kind, members, manner, lambda member: outcome(parent / member.name))
    finally:
        lock.release()
    if as_json or manner.voice.json_lines:
        typer.echo(json.dumps(summary))
    elif not manner.voice.quiet:
        _print_seeds(parent, summary)
    raise_failed(parent, summary["members"])


def _print_seeds(parent: Path, summary: Mapping[str, Any]) -> None:
    finished = [result for result in summary["members"] if result["state"] == "finished"]
    if finished:
        typer.echo(
            f"validation split of {finished[0]['dataset']}, the best epoch of each run by {finished[0]['metric']}"
        )
    typer.echo(tables(summary, "seed"))
    typer.echo(f"\nsummary: {parent / SUMMARY}")
