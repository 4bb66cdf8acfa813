"""Runs of one config that differ in one setting: the seed for `fit --seeds`, the fold that is held out for `cv`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dltrain.config.experiment import Experiment, load_experiment
from dltrain.config.faults import join_names
from dltrain.config.plugins import load_catalogue
from dltrain.core.checkpoint import WEIGHTS, Checkpoints
from dltrain.errors import UsageError
from dltrain.runs.changed_data import CHANGED
from dltrain.runs.finding import find_config
from dltrain.sweeps.members import Member, RunOptions, read_outcome, refuse_override, run_member, run_members

FOLD = "data.fold"
MOST_SEEDS = 1000
LARGEST_SEED_DIGITS = 19


def parse_seeds(text: str) -> list[int]:
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
        raise UsageError(f"--seeds: seed {twice} is given twice in '{text}'", advice="name it once")
    return numbers


def train_seeds(config: Path, overrides: Sequence[str], seeds: str, options: RunOptions) -> tuple[Path, dict[str, Any]]:
    """Train once with each of the seeds, `0-4` say; the parent directory and its summary."""
    numbers = parse_seeds(seeds)
    refuse_override(overrides, "seed", "--seeds")
    file, name = find_config(config)
    members = [
        Member(f"seed-{number}", {"seed": number}, load_experiment(file, [*overrides, f"seed={number}"]).experiment)
        for number in numbers
    ]
    options.warn(members[0].experiment)
    directory = Path("runs") / f"{name}-seeds"
    return run_members(directory, "dltrain fit --seeds", members, options, measure=lambda run, _: read_outcome(run))


def train_folds(config: Path, overrides: Sequence[str], folds: int, options: RunOptions) -> tuple[Path, dict[str, Any]]:
    """Train once for each fold and evaluate on it; the parent directory and its summary."""
    refuse_override(overrides, FOLD, "cv")
    file, name = find_config(config)
    check_folds(file, load_experiment(file, overrides).experiment)
    members = []
    for index in range(folds):
        flag = f"{FOLD}={{index: {index}, of: {folds}}}"
        experiment = load_experiment(file, [*overrides, flag]).experiment
        members.append(Member(f"fold-{index}", {"fold": index}, experiment))
    options.warn(members[0].experiment)
    measure = partial(evaluate_fold, options=options)
    return run_members(Path("runs") / f"{name}-cv", "dltrain cv", members, options, measure=measure)


def check_folds(config: Path, experiment: Experiment) -> None:
    """Raises UsageError, with the datasets that have folds, if this one has none."""
    entries = load_catalogue(experiment.plugins).of("dataset")
    able = [entry.name for entry in entries if any(option.name == "fold" for option in entry.options)]
    if experiment.data.name not in able:
        raise UsageError(
            f"{config}: dataset '{experiment.data.name}' cannot be divided into folds: it has no option 'fold'\n"
            f"allowed: {join_names(able)}"
        )


def evaluate_fold(directory: Path, member: Member, options: RunOptions) -> dict[str, Any]:
    """The scores of a trained run on its fold; this checkpoint is evaluated once only."""
    evaluation = find_evaluation(directory)
    if evaluation is None:
        evaluation = json.loads(run_member(["eval", str(directory), "--split", "test"], member, options))
    trained = read_outcome(directory)
    names = ("dataset", "facts", "metrics", "baselines", "classes", "confusion")
    kept = {name: evaluation[name] for name in names if name in evaluation}
    return {"epoch": trained["epoch"], "epochs": trained["epochs"], "validation": trained["metrics"], **kept}


def find_evaluation(directory: Path) -> dict[str, Any] | None:
    """The plain evaluation of a run's best weights on its test split, from evaluations.jsonl; None without one."""
    path = directory / "evaluations.jsonl"
    best = Checkpoints(directory / "checkpoints").best()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in reversed(lines):
        try:
            evaluation: dict[str, Any] = json.loads(line)
        except ValueError:  # killed while it was written
            continue
        plain = evaluation["split"] == "test" and not {"adaptation", "decoder", CHANGED} & evaluation.keys()
        if best and plain and evaluation["weights_sha256"] == best.manifest["files"][WEIGHTS]["sha256"]:
            return evaluation
    return None


def pool_confusion(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[int]]] | None:
    """The labels and the sum of the folds' confusion matrices: every example once. None if they have none."""
    finished = [result for result in results if result["state"] == "finished"]
    if not finished or not all("confusion" in result for result in finished):
        return None
    labels = list(finished[0]["classes"])
    if any(list(result["classes"]) != labels for result in finished):
        return None
    rows = zip(*(result["confusion"] for result in finished), strict=True)
    return labels, [[sum(cells) for cells in zip(*row, strict=True)] for row in rows]
