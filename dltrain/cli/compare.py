"""`dltrain compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.delimited import CsvSafe, format_csv, list_cells
from dltrain.cli.shared.options import Csv, Json, check_output, refuse_both
from dltrain.cli.shared.tables import format_mean, format_table, shorten_text

if TYPE_CHECKING:
    from dltrain.runs.comparison import ComparedRun, Comparison

LONGEST = 36
"""Characters of a setting in the table."""


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run directories, parents of runs, or folders that contain runs."),
    ],
    metric: Annotated[
        str | None, typer.Option(help="The metric to compare by. [default: the one which decides]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.png", help="Draw all curves in one picture.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    csv_safe: CsvSafe = False,
) -> None:
    """Compare runs: settings, scores and curves.

    One table has the settings that differ, the best epoch with its validation score, the test score of the same
    weights, the number of parameters, and the seconds spent on epochs. Scores of different data are reported as not
    comparable.

    A parent of several runs counts as the mean and the standard deviation of its seeds or folds, a sweep as its best
    trial. A single parent, and a folder, stand for the runs in them, the best first.

    Examples:

      dltrain compare runs/mnist_mlp runs/mnist_cnn -o curves.png

      dltrain compare runs/iris-seeds runs/wide-seeds --metric macro_f1

      dltrain compare runs/mnist_sweep-sweep --csv > trials.csv
    """
    refuse_both(as_json, as_csv)
    check_output(output)
    from dltrain.runs.comparison import Comparison, collect_runs

    comparison = Comparison(collect_runs(runs), metric)
    if output is not None:
        draw(comparison, output)
    if as_json:
        typer.echo(json.dumps({**describe(comparison), "picture": None if output is None else str(output)}))
    elif as_csv:
        rows = [describe_row(comparison, index) for index in range(len(comparison.runs))]
        typer.echo(format_csv(list_cells(rows, list(rows[0])), safe=csv_safe), nl=False)
    else:
        typer.echo("\n".join(format_comparison(comparison)))
    if not as_json:
        for note in comparison.notes():
            typer.echo(f"note: {note}", err=True)
        if output is not None:
            typer.echo(f"picture: {output}", err=as_csv)


def draw(comparison: Comparison, path: Path) -> None:
    """The picture of the curves."""
    from dltrain.observers.comparison_picture import LabelledCurves, draw_comparison

    curves = []
    for each in comparison.runs:
        best = each.counted[0].best_epoch if len(each.counted) == 1 else None
        curves.append(LabelledCurves(each.label, [run.history for run in each.counted], best))
    draw_comparison(curves, comparison.metric, path)


def describe_scores(comparison: Comparison, each: ComparedRun) -> dict[str, Any]:
    """One run's scores, parameters and seconds as flat plain values: means over the `runs` that count."""
    validation, test = (comparison.score(each, split) for split in ("validation", "test"))
    return {
        "state": each.run.state,
        "epochs": each.spread(lambda run: run.epochs).mean,
        "best_epoch": each.spread(lambda run: run.best_epoch).mean,
        "metric": comparison.metric,
        "validation": validation.mean,
        "validation_deviation": validation.deviation,
        "test": test.mean,
        "test_deviation": test.deviation,
        "runs": len(each.counted),
        "parameters": each.spread(lambda run: run.parameters).mean,
        "seconds": each.spread(lambda run: run.seconds).mean,
    }


def describe_row(comparison: Comparison, index: int) -> dict[str, Any]:
    """A row of the CSV: label, settings that differ, scores."""
    each = comparison.runs[index]
    settings = {path: values[index] for path, values in comparison.settings.items()}
    return {"run": each.label, **settings, **describe_scores(comparison, each)}


def describe(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison as plain values."""
    ranked = comparison.rank()
    rows = []
    for each in comparison.runs:
        named = {"run": each.label, "path": str(each.run.path), "kind": each.run.kind}
        metrics = [{"validation": run.validation, "test": run.test_metrics} for run in each.counted]
        history = [list(run.history) for run in each.counted]
        rows.append({**named, **describe_scores(comparison, each), "metrics": metrics, "history": history})
    return {
        "metric": comparison.metric,
        "direction": comparison.direction,
        "best": comparison.runs[ranked[0]].label if ranked else None,
        "comparable": {"validation": comparison.is_comparable("validation"), "test": comparison.is_comparable("test")},
        "settings": {
            path: {each.label: value for each, value in zip(comparison.runs, values, strict=True)}
            for path, values in comparison.settings.items()
        },
        "runs": rows,
        "notes": list(comparison.notes()),
    }


def format_comparison(comparison: Comparison) -> Iterator[str]:
    """The table, with runs as rows or as columns, whichever is narrower, and the best run."""
    columns = list_columns(comparison)
    rows = [[name, *cells] for name, cells in columns.items()]
    upright = format_table([list(row) for row in zip(*rows, strict=True)], left=(0,))
    lying = format_table(rows, left=(0,))
    widths = [max(map(len, text.splitlines())) for text in (upright, lying)]
    yield upright if widths[0] <= widths[1] else lying
    ranked = comparison.rank()
    if len(ranked) > 1:
        best = comparison.runs[ranked[0]]
        score = comparison.score(best, "validation")
        yield f"\nbest: {best.label}, validation {comparison.metric} {format_mean(score.mean, score.deviation)}"


def list_columns(comparison: Comparison) -> dict[str, list[str]]:
    """The cells of the table by what they show, a cell for each run."""
    from dltrain.config.document import format_value

    runs, metric = comparison.runs, comparison.metric or "score"
    columns = {"run": [each.label for each in runs]}
    if any(each.run.state != "finished" for each in runs):
        columns["state"] = [each.run.state for each in runs]
    for path, values in comparison.settings.items():
        columns[path] = [
            "-" if value is None else shorten_text(value if isinstance(value, str) else format_value(value), LONGEST)
            for value in values
        ]
    columns["best epoch"] = [format_epochs(each) for each in runs]
    for split in ("validation", "test"):
        scores = [comparison.score(each, split) for each in runs]
        if split == "validation" or any(score.mean is not None for score in scores):
            columns[f"{split} {metric}"] = [format_mean(score.mean, score.deviation) for score in scores]
    columns["parameters"] = [format_count(each) for each in runs]
    seconds = [each.spread(lambda run: run.seconds) for each in runs]
    columns["seconds"] = ["-" if each.mean is None else f"{each.mean:.1f}" for each in seconds]
    return columns


def format_epochs(each: ComparedRun) -> str:
    """The best epoch and how many there were; of several runs from the first to the last."""
    best = [run.best_epoch for run in each.counted if run.best_epoch is not None]
    if not best:
        return "-"
    if len(each.counted) == 1:
        return f"{best[0]}/{each.counted[0].epochs}"
    return f"{min(best)}-{max(best)}" if min(best) < max(best) else str(best[0])


def format_count(each: ComparedRun) -> str:
    """The number of parameters; of members that differ the mean."""
    mean = each.spread(lambda run: run.parameters).mean
    return "-" if mean is None else f"{mean:.0f}"
