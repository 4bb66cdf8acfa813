"""`dltrain data`: fetching the image sets, and checking what is there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltrain.data.image_sets import IMAGE_SETS
from dltrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from dltrain.data.verification import FileReport

app = typer.Typer(help="Fetch the image sets, and check the files that are there.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(IMAGE_SETS)}.")]
Root = Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder that data.root names.")]


@app.command()
def fetch(name: Name, root: Root = Path("data")) -> None:
    """Download the files that are not there yet, from the first mirror that gives the right ones."""
    _known(name, [known for known, image_set in IMAGE_SETS.items() if image_set.mirrors])
    from dltrain.data.download import fetch as fetch_files

    announced: set[str] = set()

    def progress(file: str, received: int, expected: int) -> None:
        if file not in announced:
            announced.add(file)
            typer.echo(f"{file}.gz: {expected} bytes", err=True)

    for path in fetch_files(name, root.expanduser(), progress=progress):
        typer.echo(path)


@app.command()
def check(
    name: Name,
    root: Root = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the set's files with what was published: sizes, checksums, shapes, labels."""
    _known(name, list(IMAGE_SETS))
    from dltrain.data.verification import verify

    reports = verify(name, root.expanduser())
    faults = [report.fault for report in reports if report.fault]
    if as_json:
        typer.echo(json.dumps({"dataset": name, "ok": not faults, "files": [asdict(report) for report in reports]}))
    else:
        for report in reports:
            typer.echo("\n".join(_lines(report)))
    if faults:
        raise DataError("\n".join((f"{name} in {root}: {len(faults)} of {len(reports)} files are not fine:", *faults)))


def _known(name: str, allowed: list[str]) -> None:
    if name not in allowed:
        raise UsageError(f"'{name}': no such data set here; allowed are {', '.join(allowed)}.")


def _lines(report: FileReport) -> list[str]:
    """One file's report as text: expected values only where something is published."""
    lines = [f"{report.name}: {'NOT FINE' if report.fault else 'ok'}", f"  path    {report.path or 'not found'}"]
    if report.shape:
        lines.append(f"  holds   {' x '.join(map(str, report.shape))}")
        size, checksum = report.bytes_expected or "none published", report.md5_expected or "none published"
        lines.append(f"  bytes   {report.bytes_found} ({report.hashed}), expected {size}")
        lines.append(f"  MD5     {report.md5_found}, expected {checksum}")
    if report.class_counts:
        present = [label for label, count in enumerate(report.class_counts) if count]
        lines.append(f"  labels  {present[0]}..{present[-1]}, of each {', '.join(map(str, report.class_counts))}")
    if report.fault:
        lines.append(f"  fault   {report.fault}")
    return lines
