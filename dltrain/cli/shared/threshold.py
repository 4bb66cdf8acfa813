"""The probability from which a binary classifier predicts the positive class, chosen after training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.core.record import Record
from dltrain.errors import UsageError

Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="PROBABILITY",
        help="Probability from which the positive class is predicted (binary). [default: the task's]",
    ),
]


def override_threshold(run: Path, record: Record, threshold: float | None) -> dict[str, Any]:
    """The task's settings to override in a checkpoint's config; none without a threshold.

    Raises UsageError where the task has none, and for what is no probability.
    """
    if threshold is None:
        return {}
    if not 0 < threshold < 1:
        raise UsageError(f"--threshold: found {threshold:g}; allowed is a probability, above 0 and below 1")
    task = record.config["task"]
    if "threshold" not in task:
        raise UsageError(
            f"{run}: --threshold is for binary classifiers; the task '{task['name']}' has none", advice="leave it out"
        )
    return {"task": {"threshold": threshold}}
