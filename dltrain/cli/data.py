"""`dltrain data`: fetching published data sets, and checking what is there."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from dltrain.cli import language_model
from dltrain.data.image_sets import IMAGE_SETS
from dltrain.data.text_sets import TEXT_SETS
from dltrain.errors import DataError, UsageError


class Kind(NamedTuple):
    """Data sets that are handled alike.

    The module `fetching` has `fetch(name, root, progress=...)`, which gives paths; `checking` has `verify(name, root)`,
    which gives reports: dataclasses with a `fault` (None for a file that is fine) and `lines()` to print.
    """

    names: tuple[str, ...]
    fetched: tuple[str, ...]
    fetching: str
    checking: str
    settings: tuple[str, ...] = ()
    """Further keyword parameters of `fetch` and `verify` that a person may give."""


KINDS = (
    Kind(
        tuple(IMAGE_SETS),
        tuple(name for name, known in IMAGE_SETS.items() if known.mirrors),
        "dltrain.data.download",
        "dltrain.data.verification",
    ),
    Kind(
        (*TEXT_SETS, "text"),
        tuple(TEXT_SETS),
        "dltrain.data.text_sets",
        "dltrain.data.text_verification",
    ),
    Kind(
        ("common_voice", "audio"),
        ("common_voice",),
        "dltrain.data.speech_archive",
        "dltrain.data.speech_check",
        ("archive", "locale", "subsampling", "max_seconds", "output"),
    ),
    Kind(("image_folder",), (), "", "dltrain.data.picture_check"),
)
FETCHED = [name for kind in KINDS for name in kind.fetched]
CHECKED = [name for kind in KINDS for name in kind.names]

app = typer.Typer(
    help="Fetch published data sets, check the files that are there, and make language models of text.",
    no_args_is_help=True,
)
app.command("lm")(language_model.lm)

Root = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="The folder that data.root names; for text also one file.")
]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(FETCHED)}.")],
    root: Root = Path("data"),
    archive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Unpack this archive of Common Voice, which is not downloaded.")
    ] = None,
) -> None:
    """Download the files that are not there yet, from the first mirror that gives the right ones."""
    kind = _kind(name, FETCHED)
    settings = _settings(kind, name, archive=archive)
    announced: set[str] = set()

    def progress(file: str, received: int, expected: int) -> None:
        if file not in announced:
            announced.add(file)
            typer.echo(f"{file}: {expected} bytes", err=True)

    for path in import_module(kind.fetching).fetch(name, root.expanduser(), progress=progress, **settings):
        typer.echo(path)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(CHECKED)}.")],
    root: Root = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    locale: Annotated[str | None, typer.Option(help="The language's folder (common_voice). [default: en]")] = None,
    subsampling: Annotated[
        int | None, typer.Option(min=1, help="Frames that the model makes one of (speech). [default: 4]")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Longer clips are left out (speech). [default: 10]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the list of all bad clips (speech).")
    ] = None,
) -> None:
    """Compare a set's files with what was published: sizes, checksums, and what they hold.

    `text` are files of your own: all *.txt and *.txt.gz in DIR, or the one file that --root names. Of speech every
    clip is decoded; `audio` are manifests of your own: all in DIR, or the one that --root names. Of `image_folder`,
    pictures of your own, every one is decoded.
    """
    kind = _kind(name, CHECKED)
    given = {"locale": locale, "subsampling": subsampling, "max_seconds": max_seconds, "output": output}
    reports: list[Any] = import_module(kind.checking).verify(name, root.expanduser(), **_settings(kind, name, **given))
    faults = [report.fault for report in reports if report.fault]
    if as_json:
        typer.echo(json.dumps({"dataset": name, "ok": not faults, "files": [asdict(report) for report in reports]}))
    else:
        for report in reports:
            typer.echo("\n".join(report.lines()))
    if faults:
        raise DataError("\n".join((f"{name} in {root}: {len(faults)} of {len(reports)} files are not fine:", *faults)))


def _settings(kind: Kind, name: str, **given: Any) -> dict[str, Any]:
    """Those settings that were given; raises UsageError for one that this kind does not have."""
    settings = {setting: value for setting, value in given.items() if value is not None}
    for setting in settings.keys() - set(kind.settings):
        raise UsageError(f"--{setting.replace('_', '-')}: not for {name}; allowed is to leave it out.")
    return settings


def _kind(name: str, allowed: list[str]) -> Kind:
    if name not in allowed:
        raise UsageError(f"'{name}': no such data set here; allowed are {', '.join(allowed)}.")
    return next(kind for kind in KINDS if name in kind.names)
