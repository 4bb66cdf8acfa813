"""`dltrain data`: fetching published data sets, and checking what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from dltrain.cli import data_show, language_model
from dltrain.cli.shared.options import Overrides, check_output, load_config, print_notice
from dltrain.errors import DataError, UsageError
from dltrain.kinds import DataSets, known_kinds, resolve_reference


class Checked(NamedTuple):
    """The reports on a data set, what they are of, and where that was named."""

    dataset: str
    where: str
    parts: str
    reports: list[Any]


SETS = [sets for kind in known_kinds() for sets in kind.sets]
FETCHED = [name for sets in SETS for name in sets.fetched]
CHECKED = [name for sets in SETS for name in sets.names]

app = typer.Typer(help="Show, fetch or check data, or estimate a language model.", no_args_is_help=True)
app.command("lm")(language_model.lm)
app.command("show")(data_show.show)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(FETCHED)}.")],
    root: Annotated[Path, typer.Option(metavar="DIR", help="The folder that data.root names.")] = Path("data"),
    archive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Unpack this archive of Common Voice, which is not downloaded.")
    ] = None,
) -> None:
    """Download the missing files of a data set."""
    if name not in FETCHED:
        raise UsageError(f"'{name}': no such data set here; allowed are {', '.join(FETCHED)}.")
    sets = next(sets for sets in SETS if name in sets.names)
    settings = _settings(sets, name, archive=archive)
    announced: set[str] = set()

    def progress(file: str, received: int, expected: int) -> None:
        if file not in announced:
            announced.add(file)
            typer.echo(f"{file}: {expected} bytes", err=True)

    for path in resolve_reference(sets.fetch)(name, root.expanduser(), progress=progress, **settings):
        typer.echo(path)


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|CONFIG", help=f"One of {', '.join(CHECKED)}; or, for speech, a config or a run directory."
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder that data.root names; for text and audio also one file. [default: data]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    locale: Annotated[str | None, typer.Option(help="The language's folder (common_voice). [default: en]")] = None,
    subsampling: Annotated[
        int | None, typer.Option(help="Frames that the model makes one of: 2 or 4 (speech). [default: 4]")
    ] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Longer clips are left out (speech). [default: 10]")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the list of all bad clips (speech).")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Check the files of a data set.

    Compares sizes, checksums and contents with what was published.

    `text` are files of your own: all *.txt and *.txt.gz in DIR, or the one file that --root names. Of speech every
    clip is decoded; `audio` are manifests of your own: all in DIR, or the one that --root names. Of `image_folder`,
    pictures of your own, every one is decoded.

    With a config of speech in place of NAME, its splits are checked, with its sample rate, features, subsampling and
    alphabet: what is bad here is what `dltrain fit` leaves out. Features are kept in the cache, where it finds them.

    Examples:

      dltrain data check mnist --root data

      dltrain data check common_voice --root data --locale fr -o bad.tsv

      dltrain data check configs/common_voice_crnn.yaml --set data.splits=validated
    """
    check_output(output)
    given = {"locale": locale, "subsampling": subsampling, "max_seconds": max_seconds, "output": output}
    if name in CHECKED:
        if overrides:
            raise UsageError(f"--set: not for {name}; allowed is a config in its place.")
        checked = _check_set(name, root or Path("data"), given)
    elif name.endswith((".yaml", ".yml")) or Path(name).exists():
        checked = _check_config(Path(name), overrides or [], {"root": root, **given})
    else:
        raise UsageError(
            f"'{name}': no such data set here; allowed are {', '.join(CHECKED)}.\n"
            "Speech may be checked by a config's file or a run directory, too, which this is not."
        )
    _print(checked, as_json)


def _check_set(name: str, root: Path, given: Mapping[str, Any]) -> Checked:
    """The reports on the files of a data set."""
    sets = next(sets for sets in SETS if name in sets.names)
    reports = resolve_reference(sets.verify)(name, root.expanduser(), **_settings(sets, name, **given))
    return Checked(name, f"{name} in {root}", "files", reports)


def _check_config(config: Path, overrides: Sequence[str], given: Mapping[str, Any]) -> Checked:
    """The reports on the splits that a config, or a run's, trains, validates and tests on."""
    for setting, value in given.items():
        if value is not None and setting != "output":
            message = f"--{setting.replace('_', '-')}: not with a config, which says it"
            raise UsageError(message, advice=f"--set data.{setting}={value}")
    from dltrain.runs.directory import CONFIG

    experiment = load_config(config / CONFIG if config.is_dir() else config, overrides).experiment.locate()
    name = experiment.data.name
    every = [sets for kind in known_kinds() for sets in kind.sets]
    found = next((sets for sets in every if name in sets.names), None)
    if found is None or found.check_splits is None:
        allowed = ", ".join(name for sets in every if sets.check_splits for name in sets.names)
        other = f"dltrain data check {name} --root {experiment.data.options.get('root')}" if found else None
        message = f"{config}: its data is {name}; a config is checked where that is one of {allowed}"
        raise UsageError(message, advice=other)
    check_splits = resolve_reference(found.check_splits)
    notice, reports = check_splits(name, experiment.seed, experiment.data.options, given["output"])
    print_notice(notice)
    return Checked(name, str(config), "splits", reports)


def _print(checked: Checked, as_json: bool) -> None:
    """Show the reports; raises DataError where one has a fault."""
    dataset, where, parts, reports = checked
    faults = [report.fault for report in reports if report.fault]
    if as_json:
        typer.echo(json.dumps({"dataset": dataset, "ok": not faults, "files": [asdict(report) for report in reports]}))
    else:
        for report in reports:
            typer.echo("\n".join(report.lines()))
    if faults:
        raise DataError("\n".join((f"{where}: {len(faults)} of {len(reports)} {parts} are not fine:", *faults)))


def _settings(sets: DataSets, name: str, **given: Any) -> dict[str, Any]:
    """Those settings that were given; raises UsageError for one that these sets do not have, or a config refuses."""
    settings = {setting: value for setting, value in given.items() if value is not None}
    for setting in settings.keys() - set(sets.settings):
        raise UsageError(f"--{setting.replace('_', '-')}: not for {name}; allowed is to leave it out.")
    if settings:
        from dltrain.config.annotations import describe_type
        from dltrain.config.catalogue import load_package_catalogue
        from dltrain.config.values import validate_value

        entry = load_package_catalogue().find("dataset", name)
        for option in entry.options if entry else ():
            if option.name in settings and validate_value(settings[option.name], option.annotation)[1]:
                flag, found = option.name.replace("_", "-"), settings[option.name]
                raise UsageError(f"--{flag}: found {found}; allowed is {describe_type(option.annotation)}.")
    return settings
