"""One page for all runs below a folder: a table that can be sorted, and the curves of the selected runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dltrain.files import write_atomically
from dltrain.observers.console import format_duration
from dltrain.report.contents import REPORT
from dltrain.report.markup import NOTHING, Markup, escape, format_count, format_score, make_section
from dltrain.report.page import build_page, read_part
from dltrain.runs.comparison import order_runs
from dltrain.runs.listing import ListedRun, flatten_runs, list_runs

SELECTED = 5
"""Runs whose curves are shown at first: the best ones."""
EPOCHS = 200
"""Epochs of a curve at most: every k-th, and the last one."""
COLUMNS = ("", "run", "state", "task", "data", "model", "metric", "best", "epoch", "test", "epochs", "parameters",
           "time", "started")  # fmt: skip


def write_folder_report(folder: Path) -> tuple[Path, int]:
    """Write report.html into a folder, and how many runs it lists. Raises DataError if there is no such folder."""
    found = order_runs(list_runs(folder))
    runs = list(flatten_runs(found))
    curves = [collect_curves(run) for run in runs]
    chosen = {index for index, curve in enumerate(curves) if curve["x"]}
    selected = set(sorted(chosen)[:SELECTED])
    rows = "".join(build_row(folder, run, index, index in selected) for index, run in enumerate(runs))
    head = "".join(f"<th{'' if name in TEXTS else ' class=n'} scope=col>{name}</th>" for name in COLUMNS)
    table = (
        "<div class=bar><label>Filter <input type=search id=filter placeholder='name, model, data …'></label>"
        "<span class=small>Click a column to sort by it; select runs to see their curves.</span></div>"
        f"<div class=scroll><table class=runs><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    title = folder.resolve().name
    states = ", ".join(
        f"{sum(run.state == state for run in runs)} {state}" for state in dict.fromkeys(run.state for run in runs)
    )
    header = f"<h1>Runs in {escape(title)}</h1><p class=sub>{len(runs)} runs: {states or 'none'}</p>"
    plain = json.dumps(curves, separators=(",", ":")).replace("<", "\\u003c")
    sections = [
        make_section("runs", "Runs", Markup(table)),
        make_section(
            "curves",
            "Curves of the selected runs",
            Markup(
                "<div class=bar><label>Metric <select id=metric></select></label></div><div class=grid id=charts></div>"
                "<noscript><p>The curves need JavaScript.</p></noscript>"
                f'<script type="application/json" id=histories>{plain}</script>'
            ),
        ),
    ]
    refresh = 15 if any(run.state == "running" for run in runs) else None
    page = build_page(f"{title}: {len(runs)} runs", header, sections, refresh=refresh, scripts=[read_part("folder.js")])
    write_atomically(folder / REPORT, page.encode())
    return folder / REPORT, len(runs)


TEXTS = ("", "run", "state", "task", "data", "model", "metric", "started")


def build_row(folder: Path, run: ListedRun, index: int, selected: bool) -> str:
    """A row of the table; each cell has the value that it is sorted by."""
    checked = " checked" if selected else ""
    box = f'<input type=checkbox value={index} aria-label="show the curves of {escape(run.name)}"{checked}>'
    cells = [f"<td>{box}</td>"] if run.history else ["<td></td>"]
    for name, (text, value) in zip(COLUMNS[1:], describe_cells(folder, run), strict=True):
        kind = "" if name in TEXTS else " class=n"
        cells.append(f'<td{kind} data-s="{escape("" if value is None else value)}">{escape(text)}</td>')
    return f"<tr>{''.join(cells)}</tr>\n"


def describe_cells(folder: Path, run: ListedRun) -> Iterator[tuple[object, Any]]:
    """The cells after the first: what is shown, and what is sorted by."""
    report, members = run.path / REPORT, f" ({len(run.members)} {run.kind})" if run.members else ""
    name = escape(run.name) + escape(members)
    if report.exists() and not run.members:
        name = f'<a href="{escape(quote(os.path.relpath(report, folder)))}">{name}</a>'
    yield Markup(name), run.name
    yield Markup(f"<span class='state {run.state}'>{run.state}</span>"), run.state
    for text in (run.task, run.data, run.model, run.metric):
        yield text or NOTHING, text
    for score in (run.best, run.best_epoch, run.test):
        yield (f"{score:g}" if score is run.best_epoch and score is not None else format_score(score)), score
    yield f"{run.epochs:g}", run.epochs
    yield format_count(run.parameters), run.parameters
    yield NOTHING if run.seconds is None else format_duration(run.seconds), run.seconds
    yield (run.started or NOTHING)[:16].replace("T", " "), run.started


def collect_curves(run: ListedRun) -> dict[str, Any]:
    """Name, epochs, and each metric's values over them; of a parent nothing, since its members have their own."""
    history: Sequence[Any] = () if run.members else run.history
    every = -(-len(history) // EPOCHS) or 1
    kept = [entry for index, entry in enumerate(history, 1) if index % every == 0 or index == len(history)]
    names = dict.fromkeys(name for entry in kept for name in entry if name not in ("epoch", "step"))
    metrics = {name: [_round(entry.get(name)) for entry in kept] for name in names}
    return {"name": run.name, "x": [entry["epoch"] for entry in kept], "metric": run.metric, "y": metrics}


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
