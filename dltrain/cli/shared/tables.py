"""Tables of text for people, and the results of several runs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from dltrain.escaping import keep_on_line

WIDTH = 100
"""Columns of the terminal that a table of several runs may take."""

STATISTICS = {"mean": "mean", "standard_deviation": "std", "minimum": "min", "maximum": "max"}


def format_table(rows: Sequence[Sequence[object]], left: Collection[int] = ()) -> str:
    """Rows, the first of which is the head, as aligned lines: flush right but for the columns `left`.

    A row that is shorter than the first ends with text of any length.
    """
    cells = [[keep_on_line(cell) for cell in row] for row in rows]
    full = [row for row in cells if len(row) == len(cells[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for row in cells:
        pairs = list(enumerate(zip(row, widths, strict=False)))
        aligned = [cell.ljust(width) if index in left else cell.rjust(width) for index, (cell, width) in pairs]
        if len(row) < len(widths):
            aligned[-1] = row[-1]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def format_confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix with the labels beside its rows and above its columns."""
    return format_table([["", *labels], *([label, *row] for label, row in zip(labels, counts, strict=True))])


def print_summary(
    parent: Path, summary: Mapping[str, Any], lines: Iterable[str], *, as_json: bool, quiet: bool
) -> None:
    """Print a summary as one JSON object or as `lines`, and raise ChildFailed if members failed."""
    from dltrain.runs.listing import SUMMARY
    from dltrain.sweeps.members import raise_failed

    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        typer.echo("\n".join([*lines, f"\nsummary: {parent / SUMMARY}"]))
    raise_failed(parent, summary["members"])


def format_members(summary: Mapping[str, Any], first: str) -> str:
    """A row for each member, `first` before its metrics, below them mean and spread; then the means of the baselines.

    Where the metrics do not fit into WIDTH columns, the others follow in further tables.
    """
    parts: list[list[str]] = [[]]
    for metric in summary["statistics"]:
        if sum(2 + max(6, len(name)) for name in [first, "epoch", *parts[-1], metric]) > WIDTH:
            parts.append([])
        parts[-1].append(metric)
    tables = [_format_part(summary, first, part) for part in parts]
    for part in parts if summary.get("baselines") else []:
        rows = [
            [name, *(format_score(means.get(metric)) for metric in part)]
            for name, means in summary["baselines"].items()
        ]
        tables.append(format_table([["baseline, mean", *part], *rows]))
    notes = "".join(f"\nnote: {note}" for note in _describe_undefined(summary))
    return "\n\n".join(tables) + (f"\n{notes}" if notes else "")


def _describe_undefined(summary: Mapping[str, Any]) -> Iterator[str]:
    """Which metrics are not defined for some of the finished members, so that their means are over the others."""
    finished = sum(result["state"] == "finished" for result in summary["members"])
    for metric, spread in summary["statistics"].items():
        if 0 < (count := spread["count"]) < finished:
            yield f"{metric} is undefined in {finished - count} of {finished} runs; its mean is over the other {count}"


def format_facts(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What the tasks of finished runs say of their metrics, where all say the same, as lines."""
    facts = [result.get("facts", {}) for result in results if result["state"] == "finished"]
    for name, value in (facts[0] if facts else {}).items():
        if all(other.get(name) == value for other in facts):
            yield f"{name.replace('_', ' ')}: {value}"


def _format_part(summary: Mapping[str, Any], first: str, metrics: Sequence[str]) -> str:
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


def format_mean(value: float | None, deviation: float | None = None) -> str:
    """A score, or the mean of several with their standard deviation."""
    return format_score(value) + ("" if deviation is None else f" ± {deviation:.4f}")


def shorten_text(text: str, longest: int) -> str:
    """A text with its middle left out where it has more than `longest` characters."""
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - half]}…{text[len(text) - half :]}"
