"""The runs of a cross-validation, each with a fold held out and evaluated on it; what `dltrain cv` calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dltrain.config.experiment import Experiment, load_experiment
from dltrain.config.faults import listed
from dltrain.config.plugins import with_plugins
from dltrain.core.checkpoint import WEIGHTS, Checkpoints
from dltrain.errors import UsageError
from dltrain.sweeps.members import Manner, Member, call, outcome

FOLD = "data.fold"
KIND = "dltrain cv"


def check_folds(config: Path, experiment: Experiment) -> None:
    """Raises UsageError, naming the datasets that can, where this one cannot be divided into folds."""
    entries = with_plugins(experiment.plugins).of("dataset")
    able = [entry.name for entry in entries if any(option.name == "fold" for option in entry.options)]
    if experiment.data.name not in able:
        raise UsageError(
            f"{config}: dataset '{experiment.data.name}' cannot be divided into folds: it has no option 'fold'\n"
            f"allowed: {listed(able)}"
        )


def member(config: Path, overrides: Sequence[str], index: int, folds: int) -> Member:
    flag = f"{FOLD}={{index: {index}, of: {folds}}}"
    return Member(f"fold-{index}", {"fold": index}, load_experiment(config, [*overrides, flag]).experiment)


def held_out(parent: Path, one: Member, manner: Manner) -> dict[str, Any]:
    """What a trained run scores on its fold, evaluated unless this checkpoint has been."""
    directory = parent / one.name
    evaluation = evaluated(directory)
    if evaluation is None:
        evaluation = json.loads(call(["eval", str(directory), "--split", "test", "--json"], one, manner))
    trained = outcome(directory)
    kept = {name: evaluation[name] for name in ("dataset", "metrics", "classes", "confusion") if name in evaluation}
    return {"epoch": trained["epoch"], "epochs": trained["epochs"], "validation": trained["metrics"], **kept}


def evaluated(directory: Path) -> dict[str, Any] | None:
    """The plain evaluation of a run's best weights on its test split, from evaluations.jsonl; None without one."""
    path = directory / "evaluations.jsonl"
    best = Checkpoints(directory / "checkpoints").best()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in reversed(lines):
        try:
            evaluation: dict[str, Any] = json.loads(line)
        except ValueError:  # killed while it was written
            continue
        plain = evaluation["split"] == "test" and not {"adaptation", "decoder"} & evaluation.keys()
        if best and plain and evaluation["weights_sha256"] == best.manifest["files"][WEIGHTS]["sha256"]:
            return evaluation
    return None


def pooled(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[int]]] | None:
    """The labels and the sum of the folds' confusion matrices: every example once. None where they have none."""
    finished = [result for result in results if result["state"] == "finished"]
    if not finished or not all("confusion" in result for result in finished):
        return None
    labels = list(finished[0]["classes"])
    if any(list(result["classes"]) != labels for result in finished):
        return None
    rows = zip(*(result["confusion"] for result in finished), strict=True)
    return labels, [[sum(cells) for cells in zip(*row, strict=True)] for row in rows]
