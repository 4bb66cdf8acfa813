"""What commands do about data that changed since a run was trained on them: refuse them, or use them and say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from dltrain.dataset import Dataset
    from dltrain.runs.loading import Trained


def check_run_data(run: Path, trained: Trained, dataset: Dataset, *, allowed: bool) -> dict[str, Any]:
    """What a command's results say about changed data, {} for the run's own; its streams have been made.

    Raises UsageError for changed data, unless `allowed`.
    """
    from dltrain.runs.changed_data import check_same_data, describe_changed_data

    changed = check_same_data(run, trained.record, dataset.fingerprint, allowed=allowed, offer="--changed-data")
    found = describe_changed_data(changed)
    if found:
        typer.echo(f"warning: {format_changed_data(found['changed_data'])}", err=True)
    return found


def format_changed_data(facts: Mapping[str, Any]) -> str:
    """One line about an evaluation on changed data."""
    return f"changed data, not those of the run's training: {', '.join(facts['files'])}"
