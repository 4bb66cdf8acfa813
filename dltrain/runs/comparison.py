"""Several runs beside each other: the settings that differ, their scores, and whether those can be compared.

Imports no torch. A parent of runs counts as the mean of its finished members, a sweep as its best trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dltrain.config.annotations import REQUIRED, Option, find_group, find_location, list_options
from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.document import format_value
from dltrain.config.paths import ROOT
from dltrain.config.sections import CHOICES, GROUPS
from dltrain.errors import UsageError
from dltrain.goal import Goal, Ranked, find_direction
from dltrain.runs.directory import iterate_leaves
from dltrain.runs.listing import SUMMARY, ListedRun, choose_best, list_runs, read_run

KNOWN = "splits.safetensors"
"""The file in a run directory with the hashes of the examples of its splits."""
NO_SETTINGS = ("observers", "plugins")
"""Sections that cannot change a score, or only name files."""
ABSENT = None

Split = Literal["validation", "test"]


class Spread(NamedTuple):
    """The mean of values and their sample standard deviation; None where there are too few."""

    mean: float | None = None
    deviation: float | None = None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread:
        """The spread of values; empty if one of them is not known."""
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return cls()
        return cls(statistics.fmean(known), statistics.stdev(known)) if len(known) > 1 else cls(known[0])


@dataclass(frozen=True)
class ComparedRun:
    """A run as it is compared: `label` in tables, and the runs that its numbers are means over."""

    label: str
    run: ListedRun

    @cached_property
    def counted(self) -> Sequence[ListedRun]:
        """The finished members of a parent, of a sweep the best one, and any other run itself."""
        if self.run.kind == "run":
            return (self.run,)
        finished = [member for member in self.run.members if member.state == "finished"]
        if self.run.kind == "sweep":
            best = choose_best(finished)
            return () if best is None else (best,)
        return finished

    def score(self, split: Split, metric: str) -> Spread:
        """The metric at the best epoch, or of that epoch's weights on the test split."""
        if split == "validation":
            return Spread.of([run.validation.get(metric) for run in self.counted])
        return Spread.of([run.test_metrics.get(metric) for run in self.counted])

    def spread(self, fact: Callable[[ListedRun], float | None]) -> Spread:
        return Spread.of([fact(run) for run in self.counted])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Each setting by its path; of members with other values all of these, as one text."""
        each = [list_settings(run) for run in self.counted]
        paths = dict.fromkeys(path for settings in each for path in settings)
        return {path: _join_values([settings.get(path) for settings in each]) for path in paths}

    def examples(self, split: Split) -> tuple[str, ...] | None:
        """What identifies the examples of the split, in all runs counted; None where it is not known."""
        digests = [hash_split(run.path, split) for run in self.counted]
        known = tuple(sorted(digest for digest in digests if digest is not None))
        return known if known and len(known) == len(digests) else None

    def files(self, split: Split) -> frozenset[str]:
        """The hashes of the files that the split was read from, as far as they are known."""
        runs = self.counted
        return frozenset(
            value for run in runs for value in (run.test_sha256 if split == "test" else run.data_sha256).values()
        )


class Comparison:
    """Runs side by side, by `metric`: the one that decides in all of them, or the one that was asked for."""

    def __init__(self, runs: Sequence[ComparedRun], metric: str | None = None) -> None:
        """Raises UsageError for a metric that no run has measured."""
        self.runs = runs
        measured = dict.fromkeys(name for each in runs for run in each.counted for name in run.validation)
        if metric is not None and metric not in measured:
            there = f"; measured: {', '.join(measured)}" if measured else ", as nothing was measured"
            raise UsageError(f"--metric: none of these runs has measured '{metric}'{there}")
        deciding = dict.fromkeys(run.metric for each in runs for run in each.counted if run.metric)
        self.deciding = [name for name in deciding if name is not None]
        shared = [name for name in measured if all(name in run.validation for each in runs for run in each.counted)]
        chosen = self.deciding[0] if len(self.deciding) == 1 else "loss" if "loss" in shared else None
        self.metric = metric or chosen
        declared = {run.metric: run.direction for each in runs for run in each.counted if run.metric and run.direction}
        self.direction = find_direction(self.metric, declared) if self.metric else None

    @cached_property
    def settings(self) -> dict[str, list[Any]]:
        """The settings that differ, by path, with a value for each run; None where a run has no such setting."""
        each = [run.settings for run in self.runs]
        paths = dict.fromkeys(path for settings in each for path in settings)
        same_files = len({run.files("validation") for run in self.runs if run.counted}) == 1
        found = {}
        for path in paths:
            values = [settings.get(path, ABSENT) for settings in each]
            if all(path in settings or not settings for settings in each):
                differs = len({json.dumps(settings[path]) for settings in each if settings}) > 1
            else:  # an option of a model, say, that other runs do not train: its default is no news
                having = [(run, settings) for run, settings in zip(self.runs, each, strict=True) if path in settings]
                differs = any(not _is_default(run, path, settings[path]) for run, settings in having)
            if differs and not (same_files and any(_is_data_path(run, path) for run in self.runs)):
                found[path] = values
        return found

    def score(self, run: ComparedRun, split: Split) -> Spread:
        return Spread() if self.metric is None else run.score(split, self.metric)

    def rank(self) -> list[int]:
        """Indices of the runs with a validation score, the best first; empty if the scores are not comparable."""
        if self.metric is None or self.direction is None or self.is_comparable("validation") is False:
            return []
        losses = [run.score("validation", "loss").mean for run in self.runs]
        scores = [self.score(run, "validation").mean for run in self.runs]
        ranked = [Ranked(score, loss) for score, loss in zip(scores, losses, strict=True)]
        return Goal(self.metric, self.direction).rank(ranked)

    def is_comparable(self, split: Split) -> bool | None:
        """Whether all scores are of the same examples; None where that is not known, or there are less than two."""
        scored = [run for run in self.runs if self.score(run, split).mean is not None]
        if len(scored) < 2:
            return None
        examples = {run.examples(split) for run in scored}
        if None not in examples:
            return len(examples) == 1
        files = {run.files(split) for run in scored}
        if len(files) > 1:
            return False
        return None if len(examples) > 1 or frozenset() in files else True

    def notes(self) -> Iterator[str]:
        """Sentences on what must be known to compare the scores."""
        tasks = list(dict.fromkeys(run.task for each in self.runs for run in each.counted if run.task))
        if len(tasks) > 1:
            yield f"these runs have different tasks: {', '.join(tasks)}"
        if len(self.deciding) > 1:
            shown = f"{self.metric} is shown" if self.metric else "they have no metric in common"
            yield f"the best epoch is chosen by different metrics: {', '.join(self.deciding)}; {shown}"
        for split in ("validation", "test"):
            if self.is_comparable(split) is False:
                yield f"the {split} scores are not comparable: {self._explain_difference(split)}"
        for each in self.runs:
            yield from self._describe(each)
        yield from self._advise_test()

    def _advise_test(self) -> Iterator[str]:
        """What to evaluate: of runs to choose from only the chosen one, or the test score is the best of many."""
        scored = [run for run in self.runs if self.score(run, "test").mean is not None]
        missing = [run for run in self.runs if run.counted and run not in scored and run.run.state != "pruned"]
        if not missing:
            return
        first = missing[0] if scored else next((self.runs[index] for index in self.rank()), missing[0])
        one = next(run for run in first.counted if self.metric not in run.test_metrics)
        if scored:
            more = " and so on" if len(missing) > 1 or len(first.counted) > 1 else ""
            yield f"no test score of {_join_labels(missing)}; measure one with `dltrain eval {one.path}`{more}"
        else:
            yield f"no test scores; choose by validation, then measure the chosen one, say `dltrain eval {one.path}`"

    def _explain_difference(self, split: Split) -> str:
        scored = [run for run in self.runs if self.score(run, split).mean is not None]
        groups: dict[object, list[ComparedRun]] = {}
        for run in scored:
            groups.setdefault(run.files(split), []).append(run)
        if len(groups) > 1:
            names = [_join_labels(group) for group in groups.values()]
            more = f" | and {len(names) - 4} more" if len(names) > 4 else ""
            return f"the runs read different data: {' | '.join(names[:4])}{more}"
        return f"the same files, but other {split} examples, because of another seed, share or fold"

    def _describe(self, each: ComparedRun) -> Iterator[str]:
        """What a parent's numbers stand for, or why a run's are not final."""
        run, label = each.run, each.label
        if run.kind == "run":
            if run.state not in ("finished", "pruned"):
                yield f"{label} is {run.state}" + (f": {run.reason}" if run.reason else "")
        elif run.kind == "sweep" and each.counted:
            finished = [member for member in run.members if member.state == "finished"]
            spread = Spread.of([member.best for member in finished])
            scores = "" if spread.deviation is None else f", validation {spread.mean:.4f} ± {spread.deviation:.4f}"
            name = each.counted[0].path.name
            yield f"{label} counts as its best trial, {name}, of {len(finished)} finished ones{scores}"
        else:
            kind = {"seeds": "seeds", "cv": "folds"}.get(run.kind, "runs")
            yield f"{label} counts as the mean ± standard deviation of {len(each.counted)} {kind}"


def collect_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """The runs that paths name: run directories, parents of runs, or folders that contain some, each run once.

    Alone, a parent stands for its members. Runs of a folder or a parent come best first. Raises NoCheckpoint for a
    path without a run.
    """
    runs: list[ListedRun] = []
    for path in paths:
        below = (
            [] if not path.is_dir() or (path / "config.yaml").exists() or (path / SUMMARY).exists() else list_runs(path)
        )
        runs += order_runs(below) if below else [read_run(path)]
    if len(runs) == 1 and runs[0].members:
        runs = order_runs(runs[0].members)
    known: dict[Path, ListedRun] = {}
    for run in runs:
        known.setdefault(run.path.resolve(), run)
    labels = label_paths(list(known))
    return [ComparedRun(label, run) for label, run in zip(labels, known.values(), strict=True)]


def order_runs(runs: Sequence[ListedRun]) -> list[ListedRun]:
    """The best first, if one metric decides in all of them; those without a score last."""
    goals = {(run.metric, run.direction) for run in runs if run.best is not None}
    metric, direction = goals.pop() if len(goals) == 1 else (None, None)
    if metric is None or direction is None:
        return list(runs)
    ranks = Goal(metric, direction).rank([Ranked(run.best, run.validation.get("loss")) for run in runs])
    return [runs[index] for index in [*ranks, *sorted(set(range(len(runs))) - set(ranks))]]


def label_paths(paths: Sequence[Path]) -> list[str]:
    """The ends of resolved paths below the last folder that all of them have in common."""
    if len(paths) < 2:
        return [path.name for path in paths]
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def list_settings(run: ListedRun) -> dict[str, Any]:
    """Every setting of a run by its dotted path, with defaults for options that its version did not have.

    The folder of the data is left out: its files' hashes are compared.
    """
    found: dict[str, Any] = {}
    for section, values in run.config.items():
        if section in NO_SETTINGS:
            continue
        if not isinstance(values, Mapping):
            found[section] = values
            continue
        options = _list_section_options(run, section)
        defaults = {each.name: each.default for each in options if _is_plain(each.default)}
        found |= dict(iterate_leaves({**defaults, **values}, section))
    return {path: value for path, value in found.items() if path != f"data.{ROOT}"}


def _list_section_options(run: ListedRun, section: str) -> Sequence[Option]:
    if section in GROUPS:
        return list_options(GROUPS[section])
    name = run.config[section].get("name") if isinstance(run.config.get(section), Mapping) else None
    entry = load_package_catalogue().find(CHOICES[section].kind, name) if section in CHOICES and name else None
    return () if entry is None else entry.options


def find_option(run: ListedRun, path: str) -> Option | None:
    """The option at a dotted path of a run's config; None where nothing is known of it, as of a plug-in's."""
    section, *names = path.split(".")
    options, found = _list_section_options(run, section), None
    for name in names:
        found = next((option for option in options if option.name == name), None)
        group = None if found is None else find_group(found.annotation)
        options = () if group is None else list_options(group)
    return found


def _is_plain(default: object) -> bool:
    """Whether a default is a value of its own: none that is required, or computed from others."""
    return default is not REQUIRED and isinstance(default, (str, int, float, bool, list, tuple, type(None)))


def _is_default(run: ComparedRun, path: str, value: Any) -> bool:
    """Whether an option has the value that it has when it is not set."""
    option = find_option(run.counted[0], path)
    return option is not None and json.dumps(option.default, default=str) == json.dumps(value, default=str)


def _is_data_path(run: ComparedRun, path: str) -> bool:
    """Whether a setting says where data is read from."""
    option = find_option(run.counted[0], path) if run.counted and path.startswith("data.") else None
    return option is not None and find_location(option.annotation) is not None


def _join_values(values: Sequence[Any]) -> Any:
    distinct = {json.dumps(value, default=str): value for value in values}
    if len(distinct) == 1:
        return values[0]
    return ", ".join(format_value(value) for value in distinct.values())


def _join_labels(runs: Sequence[ComparedRun]) -> str:
    names = [run.label for run in runs]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def hash_split(run: Path, split: Split) -> str | None:
    """The SHA-256 of the sorted hashes of a split's examples, from splits.safetensors; None where they are not kept."""
    try:
        with (run / KNOWN).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            tensor = json.loads(file.read(size)).get(split)
            if tensor is None:
                return None
            start, end = tensor["data_offsets"]
            file.seek(8 + size + start)
            return hashlib.sha256(file.read(end - start)).hexdigest()
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None
