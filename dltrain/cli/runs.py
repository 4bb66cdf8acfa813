"""`dltrain runs`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dltrain.cli.shared.delimited import CsvSafe, format_csv, list_cells
from dltrain.cli.shared.options import Csv, Json, refuse_both
from dltrain.cli.shared.tables import format_mean, format_table, shorten_text

if TYPE_CHECKING:
    from dltrain.runs.listing import ListedRun

RunState = Literal["running", "finished", "stopped", "failed", "pruned", "unfinished", "damaged"]
SortKey = Literal["date", "name", "state", "task", "data", "model", "best", "test", "epochs", "parameters", "duration"]
COLUMNS = (
    "name", "path", "kind", "parent", "state", "reason", "task", "data", "model", "seed", "device", "metric",
    "direction", "epochs", "epochs_planned", "best_epoch", "best", "best_deviation", "test", "test_deviation",
    "parameters", "seconds", "started", "ended", "chosen",
)  # fmt: skip
"""The fields of a run in the CSV; the JSON has the metrics, the files' hashes and the members besides."""
LONGEST = 28
"""Characters of a name of data or a task in the table."""


def list_all_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to search.")] = Path("runs"),
    sort: Annotated[SortKey, typer.Option(help="What to sort by; the best scores come last.")] = "date",
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort the other way round.")] = False,
    state: Annotated[RunState | None, typer.Option(help="List only runs in this state.")] = None,
    members: Annotated[
        bool, typer.Option("--members", help="List the runs of --seeds, cv and sweep, below their parent.")
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    csv_safe: CsvSafe = False,
) -> None:
    """List the runs below a folder.

    Reads small files only, no weights. The runs of `fit --seeds`, `cv` and `sweep` count as one: mean and standard
    deviation over the seeds or folds, or the best trial. The best score is that of the validation split by the metric
    which decides. The test score belongs to the same weights, and is known after `dltrain eval`.

    States: running; finished; stopped (by a signal or --max-time); failed; pruned (by a sweep); unfinished (killed,
    for example by a power cut); damaged. `dltrain fit` resumes all that are not finished.

    Examples:

      dltrain runs

      dltrain runs runs --sort best --state finished

      dltrain runs runs/mnist_sweep-sweep --members --csv > trials.csv
    """
    refuse_both(as_json, as_csv)
    from dltrain.runs.listing import flatten_runs, list_runs

    found = sort_runs(list_runs(folder), sort, reverse=reverse)
    listed = list(flatten_runs(found)) if members or as_csv else found
    if state is not None:
        found, listed = ([run for run in runs if run.state == state] for runs in (found, listed))
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "runs": [run.to_plain("history", "config") for run in found]}))
    elif as_csv:
        cells = list_cells([run.to_plain() for run in listed], COLUMNS)
        typer.echo(format_csv(cells, safe=csv_safe), nl=False)
    elif listed:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        typer.echo("\n".join(format_runs(listed, width)))
    if not listed:
        typer.echo(f"no runs {'in this state ' if state else ''}below {folder}", err=True)


def sort_runs(runs: Sequence[ListedRun], by: SortKey, *, reverse: bool) -> list[ListedRun]:
    """Runs in rising order: dates from the oldest, scores from the worst, by metric; what is not known comes first."""
    from dltrain.runs.listing import split_numbers

    def rank(score: float | None, run: ListedRun) -> tuple[str, bool, float]:
        value = score if score is None or run.direction == "max" else -score
        return run.metric or "", value is not None, value or 0.0

    keys: dict[str, Callable[[ListedRun], Any]] = {
        "date": lambda run: run.started or "",
        "name": lambda run: split_numbers(run.name),
        "best": lambda run: rank(run.best, run),
        "test": lambda run: rank(run.test, run),
        "epochs": lambda run: run.epochs,
        "parameters": lambda run: run.parameters or 0,
        "duration": lambda run: run.seconds or 0.0,
    }
    key = keys.get(by, lambda run: str(getattr(run, by) or ""))
    return sorted(runs, key=key, reverse=reverse)


def format_runs(runs: Sequence[ListedRun], width: int | None = None) -> Iterable[str]:
    """A table of runs, and below it why runs failed or are damaged.

    Where it does not fit into `width` columns, the least important of its own are left out.
    """
    table: dict[str, list[str]] = {}
    for run in runs:
        for column, cell in describe_cells(run).items():
            table.setdefault(column, [column]).append(cell)
    left_out = list(LEFT_OUT_FIRST)
    while width and left_out and sum(2 + max(map(len, column)) for column in table.values()) - 2 > width:
        del table[left_out.pop(0)]
    left = [index for index, column in enumerate(table) if column in ("run", "state", "task", "data", "metric")]
    yield format_table([list(row) for row in zip(*table.values(), strict=True)], left)
    for run in runs:
        if run.state in ("failed", "damaged") and run.reason:
            yield f"{run.name}: {run.state}: {run.reason}"


def describe_cells(run: ListedRun) -> dict[str, str]:
    """A run's row of the table, by column."""
    from dltrain.observers.console import format_duration

    members = f" ({len(run.members)} {NOUNS[run.kind]})" if run.kind in NOUNS else ""
    return {
        "run": (run.name if run.parent is None else "  " + run.name.removeprefix(f"{run.parent}/")) + members,
        "state": run.state,
        "task": shorten_text(run.task or "-", LONGEST),
        "data": shorten_text(run.data or "-", LONGEST),
        "metric": run.metric or "-",
        "best": format_mean(run.best, run.best_deviation),
        "test": format_mean(run.test, run.test_deviation),
        "epochs": f"{run.epochs}/{run.epochs_planned}" if run.epochs_planned else str(run.epochs or "-"),
        "started": (run.started or "-")[:16].replace("T", " "),
        "time": "-" if run.seconds is None else format_duration(run.seconds),
    }


LEFT_OUT_FIRST = ("task", "epochs", "data")
"""Columns of the table that a narrow terminal has no room for, the least important first."""
NOUNS: Mapping[str, str] = {"seeds": "seeds", "cv": "folds", "sweep": "trials"}
"""What the members of each kind of parent are called."""
