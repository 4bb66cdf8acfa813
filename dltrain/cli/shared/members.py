"""The results of several runs, as `dltrain cv` and `dltrain fit --seeds` print them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from dltrain.cli.shared.tables import format_table

STATISTICS = {"mean": "mean", "standard_deviation": "std", "minimum": "min", "maximum": "max"}


def print_summary(
    parent: Path, summary: Mapping[str, Any], lines: Iterable[str], *, as_json: bool, quiet: bool
) -> None:
    """Print a summary as one JSON object or as `lines`, and raise ChildFailed if members failed."""
    from dltrain.sweeps.members import SUMMARY, raise_failed

    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        for line in lines:
            typer.echo(line)
        typer.echo(f"\nsummary: {parent / SUMMARY}")
    raise_failed(parent, summary["members"])


def format_members(summary: Mapping[str, Any], first: str) -> str:
    """A row for each member, the fact `first` before its metrics, and below them mean and spread."""
    metrics = list(summary["statistics"])
    rows = [[first, "epoch", *metrics]]
    for result in summary["members"]:
        if result["state"] == "finished":
            scores = (format_score(result["metrics"].get(name)) for name in metrics)
            rows.append([str(result[first]), str(result["epoch"]), *scores])
        else:
            rows.append([str(result[first]), f"failed: exit code {result['exit_code']}"])
    for key, name in STATISTICS.items():
        rows.append([name, "", *(format_score(summary["statistics"][metric][key]) for metric in metrics)])
    return format_table(rows)


def format_score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
