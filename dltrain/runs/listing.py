"""What is known of runs without loading them: the facts of one run directory, and the runs below a folder.

Imports no torch and reads no tensor: hundreds of runs are listed in well under a second. A run that cannot be read is
listed too, as damaged, with the reason.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from dltrain.core.checkpoint import MANIFEST
from dltrain.errors import DataError, NoCheckpoint
from dltrain.goal import Direction, Goal, Ranked
from dltrain.runs.directory import CONFIG, ENVIRONMENT
from dltrain.runs.lock import is_locked
from dltrain.runs.run_facts import read_facts, read_json

SUMMARY = "summary.json"
"""The file that makes a directory a parent of runs."""
KINDS: dict[str, RunKind] = {"dltrain fit --seeds": "seeds", "dltrain cv": "cv", "dltrain sweep": "sweep"}
"""What a parent's summary says it is, and its kind here."""
SIGNS = {"checkpoints", "metrics.jsonl", ENVIRONMENT}
"""What a run directory contains one of, beside its config."""

RunKind = Literal["run", "seeds", "cv", "sweep"]
RunState = Literal["running", "finished", "stopped", "failed", "pruned", "unfinished", "damaged"]
"""`stopped`: by a signal or --max-time, and resumable. `unfinished`: its process was killed, or was one of an
earlier version. `pruned`: a sweep stopped the trial early. `failed` and `damaged` have a reason."""


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """One run, or a parent of several with its `members`. What is not known is None or empty.

    `best` is the validation score of `metric` in epoch `best_epoch` (counted from 1), whose metrics are `validation`.
    `test` is the same metric in the last plain evaluation of that epoch's weights on the test split, whose metrics are
    `test_metrics`. Of a parent they are means over the finished members, with sample standard deviations (n - 1); but a
    sweep's are those of its best finished trial, named in `chosen`. `seconds` were spent on epochs, those of a parent's
    members together. `started` and `ended` are times in ISO 8601. `history` has a mapping for each epoch: epoch, step,
    training_loss, learning_rate and the validation metrics. `data_sha256` and `test_sha256` map the files that training
    and the evaluation read to their hashes.
    """

    name: str
    path: Path
    kind: RunKind = "run"
    parent: str | None = None
    state: RunState = "unfinished"
    reason: str | None = None
    task: str | None = None
    data: str | None = None
    model: str | None = None
    seed: int | None = None
    device: str | None = None
    metric: str | None = None
    direction: Direction | None = None
    epochs: int = 0
    epochs_planned: int | None = None
    best_epoch: int | None = None
    best: float | None = None
    best_deviation: float | None = None
    test: float | None = None
    test_deviation: float | None = None
    validation: Mapping[str, float | None] = field(default_factory=dict)
    test_metrics: Mapping[str, float | None] = field(default_factory=dict)
    parameters: int | None = None
    seconds: float | None = None
    started: str | None = None
    ended: str | None = None
    chosen: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data_sha256: Mapping[str, str] = field(default_factory=dict, repr=False)
    test_sha256: Mapping[str, str] = field(default_factory=dict, repr=False)
    history: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    members: Sequence[ListedRun] = field(default=(), repr=False)

    def to_plain(self, *leave_out: str) -> dict[str, Any]:
        """Every field but those of `leave_out` as plain JSON."""
        names = [each.name for each in fields(self) if each.name not in leave_out]
        plain = {name: getattr(self, name) for name in names}
        plain["path"] = str(self.path)
        if "members" in plain:
            plain["members"] = [member.to_plain(*leave_out) for member in self.members]
        return plain


def list_runs(folder: Path) -> list[ListedRun]:
    """The runs and parents of runs in and below `folder`, by name; members are in their parents.

    Hidden folders and links are not searched, and neither are run directories. Raises DataError if there is no such
    folder.
    """
    if not folder.is_dir():
        fault = "is a file, and runs are listed from a folder" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {fault}", advice="name the folder that contains the runs: `dltrain runs DIR`")
    return sorted(_find_runs(folder, ""), key=lambda run: split_numbers(run.name))


def read_run(path: Path, name: str | None = None) -> ListedRun:
    """One run directory, or a parent of runs. Raises NoCheckpoint, naming runs nearby, if it is neither."""
    run = _read_directory(path, name or path.resolve().name, _list_entries(path).keys())
    if run is None:
        near = list_runs(path if path.is_dir() else path.parent) if path.parent.is_dir() else []
        there = "".join(f"\n  {one.path}" for one in near[:10]) + ("\n  ..." if len(near) > 10 else "")
        raise NoCheckpoint(
            f"{path}: no run directory\nruns nearby:{there or ' none'}",
            advice="name a run directory; `dltrain runs DIR` lists those below a folder",
        )
    return run


def flatten_runs(runs: Iterable[ListedRun]) -> Iterator[ListedRun]:
    """Each run, and after each parent its members."""
    for run in runs:
        yield run
        yield from flatten_runs(run.members)


def split_numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts seed-2 before seed-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _list_entries(folder: Path) -> dict[str, bool]:
    """The names in a folder, and whether each is a folder itself, no link; empty if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:  # not a folder, or one that may not be read
        return {}


def _find_runs(folder: Path, name: str) -> Iterator[ListedRun]:
    entries = _list_entries(folder)
    run = _read_directory(folder, name or folder.resolve().name, entries.keys())
    if run is not None:
        yield run
        return
    for each, is_folder in entries.items():
        if is_folder and not each.startswith("."):
            yield from _find_runs(folder / each, f"{name}/{each}" if name else each)


def _read_directory(path: Path, name: str, names: Set[str], parent: str | None = None) -> ListedRun | None:
    """The run or the parent that a directory with these `names` in it is; None for any other directory."""
    if CONFIG in names and names & SIGNS:
        return _read_single(path, name, parent)
    if SUMMARY in names and (summary := read_json(path / SUMMARY, {})):
        kind = KINDS.get(str(summary.get("kind"))) if isinstance(summary, dict) else None
        if kind is not None:
            return _read_parent(path, name, kind, summary)
    if "checkpoints" in names and any((path / "checkpoints").glob(f"step-*/{MANIFEST}")):
        return ListedRun(name=name, path=path, parent=parent, state="damaged", reason=f"{CONFIG}: missing")
    if "lock" in names and "claims" not in names and is_locked(path):  # a run that still prepares its data
        return ListedRun(name=name, path=path, parent=parent, state="running")
    return None


def _read_single(path: Path, name: str, parent: str | None) -> ListedRun:
    run = ListedRun(name=name, path=path, parent=parent)
    try:
        return replace(run, **read_facts(path))
    except NoCheckpoint as error:  # another version's format, or a file that may not be read
        return replace(run, state="damaged", reason=error.message)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return replace(run, state="damaged", reason=f"{type(error).__name__}: {error}")


def _read_parent(path: Path, name: str, kind: RunKind, summary: Mapping[str, Any]) -> ListedRun:
    """A parent with its members: those that have a directory, and those that failed before they had one."""
    listed = {one["name"]: one for one in summary.get("trials", summary.get("members", []))}
    members = []
    for each in sorted({*_list_entries(path), *listed}, key=split_numbers):
        member = _read_directory(path / each, f"{name}/{each}", _list_entries(path / each).keys(), name)
        known = listed.get(each, {})
        if member is None and known.get("state") == "failed":
            member = ListedRun(name=f"{name}/{each}", path=path / each, parent=name)
        if member is not None:
            members.append(_add_outcome(member, known))
    asked = summary.get("trials_asked_for", summary.get("members_asked_for"))
    return _combine(ListedRun(name=name, path=path, kind=kind, members=tuple(members)), asked)


def _add_outcome(member: ListedRun, known: Mapping[str, Any]) -> ListedRun:
    """A member with what its parent's summary knows: that it was pruned, or why it failed."""
    if known.get("state") == "pruned" and member.state != "damaged":
        return replace(member, state="pruned", reason=None)
    if known.get("state") == "failed" and member.state not in ("damaged", "running", "finished"):
        return replace(member, state="failed", reason=str(known.get("message")).partition("\n")[0])
    return member


def _combine(parent: ListedRun, asked: int | None) -> ListedRun:
    """A parent with what follows from its members; `asked` is how many there are to be, if that is known."""
    members = parent.members
    finished = [member for member in members if member.state == "finished"]
    facts: dict[str, Any] = {"state": _find_parent_state(members, asked, parent.kind, is_locked(parent.path))}
    if members:
        shared = ("task", "data", "model", "seed", "device", "metric", "direction", "epochs_planned", "parameters")
        facts |= {name: _find_shared([getattr(member, name) for member in finished or members]) for name in shared}
        times = [member.seconds for member in members if member.seconds is not None]
        facts["seconds"] = round(sum(times), 4) if times else None
        facts["started"] = min((member.started for member in members if member.started), default=None)
        facts["ended"] = max((member.ended for member in members if member.ended), default=None)
        facts["epochs"] = max(member.epochs for member in members)
        facts["config"] = members[0].config
        facts["data_sha256"] = members[0].data_sha256
    failed = sum(member.state in ("failed", "damaged") for member in members)
    if failed:
        facts["reason"] = f"{failed} of {len(members)} runs failed or are damaged"
    if parent.kind == "sweep":
        best = choose_best(finished)
        names = ("best_epoch", "best", "test", "validation", "test_metrics", "test_sha256", "parameters", "config")
        facts |= {} if best is None else {name: getattr(best, name) for name in names}
        facts["chosen"] = None if best is None else best.name
    elif finished:
        facts |= _average(finished)
    return replace(parent, **facts)


def _average(finished: Sequence[ListedRun]) -> dict[str, Any]:
    """Means and sample standard deviations over finished members, where each of them has a value."""
    facts: dict[str, Any] = {}
    for name in ("best", "test"):
        values = [getattr(member, name) for member in finished if getattr(member, name) is not None]
        if len(values) == len(finished):
            facts[name] = statistics.fmean(values)
            facts[f"{name}_deviation"] = statistics.stdev(values) if len(values) > 1 else None
    for name in ("validation", "test_metrics"):
        columns = [getattr(member, name) for member in finished]
        facts[name] = {
            metric: statistics.fmean([each[metric] for each in columns])
            for metric in columns[0]
            if all(each.get(metric) is not None for each in columns)
        }
    facts["test_sha256"] = finished[0].test_sha256
    return facts


def choose_best(runs: Sequence[ListedRun]) -> ListedRun | None:
    """The run with the best validation score, of equal ones that with the lower loss; None if their metrics differ."""
    scored = [run for run in runs if run.best is not None]
    goals = {(run.metric, run.direction) for run in scored}
    if len(goals) != 1:
        return None
    metric, direction = goals.pop()
    if metric is None or direction is None:
        return None
    index = Goal(metric, direction).best([Ranked(run.best, run.validation.get("loss")) for run in scored])
    return None if index is None else scored[index]


def _find_shared(values: Sequence[Any]) -> Any:
    """The value that all of `values` are; None where they differ."""
    return values[0] if all(value == values[0] for value in values) else None


def _find_parent_state(members: Sequence[ListedRun], asked: int | None, kind: RunKind, locked: bool) -> RunState:
    """The state of a parent; a sweep's trials may fail, as long as one of them has finished."""
    states = [member.state for member in members]
    if locked or "running" in states:
        return "running"
    if any(state in ("stopped", "unfinished") for state in states):
        return "stopped" if "unfinished" not in states else "unfinished"
    if "damaged" in states or not states or (asked is not None and len(states) < asked):
        return "unfinished"
    if "failed" in states and not (kind == "sweep" and "finished" in states):
        return "failed"
    return "finished"
