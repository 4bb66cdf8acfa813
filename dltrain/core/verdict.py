"""What to say about a finished run's score: its baselines beside it, and whether training was long enough.

Imports no torch: a finished run is reported at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from dltrain.core.record import Record
from dltrain.goal import COVERAGE, Goal, Ranked, rename_metrics
from dltrain.registry import REGISTRIES

BASELINES, BASELINE_WEIGHTS = "baselines.json", "baselines.safetensors"
SAME = 1e-6
"""Relative difference up to which two scores count as the same."""
STILL_FALLING, EPOCHS_COMPARED = 0.01, 3
"""Share of the loss by which it falls in an epoch of an unfinished run, on average over the last ones."""
AS_GOOD_AS_NOTHING = 1e-3
"""Share of the first epoch's loss below which it does not matter whether the loss still falls."""
RESTING = 0.01
"""Share of the highest learning rate below which a schedule has ended."""
COVERAGE_OFF, DEVIATIONS = 0.05, 3
"""How far the coverage of an interval must be from its nominal one to be reported: as a share of the examples, and in
standard deviations of the binomial distribution."""
MORE_EPOCHS = 4
"""What the number of epochs is multiplied by in the advice to continue."""

Scores = Mapping[str, float | None]


def seal_baseline(facts: Mapping[str, Any]) -> str:
    """The SHA-256 of what is known of a baseline, without itself."""
    unsealed = {name: value for name, value in facts.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(unsealed, sort_keys=True).encode()).hexdigest()


def read_baselines(directory: Path) -> dict[str, dict[str, Any]]:
    """Of each baseline by name: `fitted`, how it was, and `validation`, its metrics; empty for a run without any.

    A damaged file has none: no number of it is shown. Runs of earlier versions have no `sha256` to compare.
    """
    try:
        found = json.loads((directory / BASELINES).read_text(encoding="utf-8"))
        damaged = any(facts.get("sha256", seal) != seal for facts in found.values() for seal in [seal_baseline(facts)])
    except (OSError, ValueError, AttributeError):
        return {}
    return {} if damaged else found


def read_baseline_scores(directory: Path) -> dict[str, Scores]:
    """The validation metrics of each baseline of a run, by name; empty without a validation split."""
    scores = {name: rename_metrics(each.get("validation") or {}) for name, each in read_baselines(directory).items()}
    return {name: metrics for name, metrics in scores.items() if metrics}


def list_remarks(directory: Path, record: Record, goal: Goal, data: Mapping[str, Any] | None) -> list[str]:
    """Sentences about the outcome of a finished run in `directory`.

    They are about baselines that it does not beat, intervals that cover too little or too much, and too few epochs.
    `data` is what the run has read, None where that is not known.
    """
    best = record.history.best(goal)
    metrics = {} if best is None else record.history.metrics(best)
    remarks = (
        compare_with_baselines(metrics, read_baseline_scores(directory), goal, solved=record.solved is not None),
        check_coverage(metrics, _count_validation(data), record.assets),
        describe_unfinished(directory, record, goal),
    )
    return [remark for remark in remarks if remark is not None]


def compare_with_baselines(metrics: Scores, baselines: Mapping[str, Scores], goal: Goal, *, solved: bool) -> str | None:
    """One sentence where a model with these `metrics` does not beat the best of its baselines; None where it does.

    A model that was `solved` is the linear baseline itself, so it need not beat an equal score, nor need a perfect one.
    """
    own = metrics.get(goal.metric)
    scores = {name: values.get(goal.metric) for name, values in baselines.items()}
    best = goal.best(list(map(Ranked, scores.values())))
    if own is None or best is None:
        return None
    name, score = list(scores.items())[best]
    assert score is not None
    same = abs(own - score) <= SAME * max(abs(own), abs(score))
    perfect = goal.direction == "max" and own == 1
    if perfect or (same and solved) or (not same and goal.best([Ranked(score), Ranked(own)]) == 1):
        return None
    own_score, other = f"its {goal.metric} is {own:.6g}", f"the baseline's is {score:.6g}"
    return f"the model does not beat the baseline '{name}': {own_score}, and {other}"


def check_coverage(metrics: Scores, examples: int | None, assets: Mapping[str, Any]) -> str | None:
    """One sentence where prediction intervals cover far more or fewer examples than they claim, beyond chance.

    Windows of a series that predict several steps overlap, so they count as fewer: `examples` / horizon.
    """
    independent = (examples or 0) // int(assets.get("horizon", 1))
    if not independent:
        return None
    off = []
    for name, coverage in metrics.items():
        if not name.startswith(COVERAGE) or coverage is None:
            continue
        nominal = float(name.removeprefix(COVERAGE).replace("_", ".")) / 100
        distance = abs(coverage - nominal)
        chance = DEVIATIONS * sqrt(nominal * (1 - nominal) / independent) + 0.5 / independent
        if distance >= COVERAGE_OFF and distance > chance:
            off.append(f"the {100 * nominal:.4g} % interval covers {100 * coverage:.3g} % of the true values")
    if not off:
        return None
    return f"prediction intervals are miscalibrated: {', '.join(off)}, which is more than chance explains"


def _count_validation(data: Mapping[str, Any] | None) -> int | None:
    counts = [split["examples"] for split in (data or {}).get("splits", ()) if split["name"] == "validation"]
    return counts[0] if counts else None


def describe_unfinished(directory: Path, record: Record, goal: Goal) -> str | None:
    """One sentence where the last epoch of a run is the best one and the loss still falls, with how to continue.

    None for a run that patience stopped, that was solved, whose learning rate has come down to almost nothing, and
    without validation scores of two epochs.
    """
    history, epochs = record.history, int(record.config["trainer"]["epochs"])
    if record.solved is not None or len(history) < max(2, epochs) or history.best(goal) != len(history) - 1:
        return None
    rates = [float(entry["learning_rate"]) for entry in history]
    if rates[-1] < RESTING * max(rates) or (goal.direction == "max" and history.scores(goal.metric)[-1] == 1):
        return None
    metric = "loss" if "loss" in history[-1] else goal.metric
    losses, compared = history.scores(metric), min(EPOCHS_COMPARED, len(history) - 1)
    first, before, last = losses[0], losses[-1 - compared], losses[-1]
    if first is None or before is None or last is None or min(first, before, last) <= 0:
        return None
    fall = 1 - (last / before) ** (1 / compared)
    if fall < STILL_FALLING or last < AS_GOOD_AS_NOTHING * first:
        return None
    again = "" if not spans_run(record) else " --fresh"
    return (
        f"training is unfinished: the best of {len(history)} epochs is the last one, and the validation {metric} still "
        f"falls by {100 * fall:.1f} % an epoch; continue: "
        f"dltrain fit {directory} --set trainer.epochs={MORE_EPOCHS * epochs}{again}"
    )


def spans_run(record: Record) -> bool:
    """Whether the schedule was planned for the run's number of epochs, so that more of them need another run."""
    import dltrain.core.schedules  # noqa: F401  (registers them)

    name = record.config["schedule"]["name"]
    return any(each.name == name and getattr(each.thing, "spans_run", False) for each in REGISTRIES["schedule"])
