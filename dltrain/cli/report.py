"""`dltrain report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli.shared.options import Json


def report(
    path: Annotated[
        Path, typer.Argument(metavar="RUN|DIR", help="A run directory, or a folder that contains runs.")
    ] = Path("runs"),
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a run, or of all runs below a folder.

    `fit` and `eval` keep the report of a run up to date themselves. The page of a folder has a table that can be
    sorted, the curves of the selected runs above each other, and links to their reports; reports that are missing are
    written too. A page is one file that loads nothing from elsewhere.

    Examples:

      dltrain report runs/mnist_cnn --open

      dltrain report runs
    """
    from dltrain.report.contents import REPORT
    from dltrain.runs.listing import SUMMARY, flatten_runs, list_runs, read_run

    notes: list[str] = []
    count = 1
    if path.is_dir() and not (path / "checkpoints").is_dir() and not (path / "metrics.jsonl").exists():
        from dltrain.report.folder import write_folder_report

        for run in flatten_runs(list_runs(path)):
            if not run.members and not (run.path / REPORT).exists() and not (run.path / SUMMARY).exists():
                notes += write_missing(run.path)
        page, count = write_folder_report(path)
    else:
        from dltrain.report.building import write_report

        read_run(path)
        page = write_report(path)
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    typer.echo(json.dumps({"report": str(page), "runs": count, "bytes": page.stat().st_size}) if as_json else str(page))
    if not count:
        typer.echo(f"no runs below {path}", err=True)
    if open_page and typer.launch(page.resolve().as_uri()):
        typer.echo(f"warning: no browser could be started; open {page.resolve()}", err=True)


def write_missing(path: Path) -> list[str]:
    """Write a run's report; why that is not possible, of a run that is damaged."""
    from dltrain.errors import DltrainError
    from dltrain.report.building import write_report

    try:
        write_report(path)
    except (DltrainError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return [f"{path}: no report: {error}"]
    return []
