"""What a run directory holds about its baselines: `baselines.json`, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dltrain.goal import Goal

BASELINES, BASELINE_WEIGHTS = "baselines.json", "baselines.safetensors"
SAME = 1e-6
"""Relative difference up to which two scores count as the same."""


def read_baselines(directory: Path) -> dict[str, Any]:
    """Of each baseline by name: `fitted`, how it was, and `validation`, its metrics; empty for a run without any."""
    try:
        return dict(json.loads((directory / BASELINES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def compare_with_baselines(
    metrics: Mapping[str, float | None],
    baselines: Mapping[str, Mapping[str, float | None]],
    goal: Goal,
    *,
    solved: bool,
) -> str | None:
    """One sentence where a run with these `metrics` does not beat the best one of its baselines; None where it does.

    A run that was `solved` is the linear baseline itself, so it need not beat an equal score.
    """
    own = metrics.get(goal.metric)
    scores = {name: values.get(goal.metric) for name, values in baselines.items()}
    best = goal.best(list(scores.values()))
    if own is None or best is None:
        return None
    name, score = list(scores.items())[best]
    assert score is not None
    same = abs(own - score) <= SAME * max(abs(own), abs(score))
    if (same and solved) or (not same and goal.better(own, score)):
        return None
    verb = "equals" if same else "is worse than"
    return f"the model does not beat its baselines: its {goal.metric} {own:.4f} {verb} that of '{name}', {score:.4f}"
