"""`dltrain data show`: what a config's data are, as `fit` reads them, with some examples."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dltrain.cli.shared.options import ConfigFile, Overrides, check_output, load_config, print_notice
from dltrain.cli.shared.settings import takes_settings
from dltrain.cli.shared.tables import format_table
from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.data.shown import ShownExample
    from dltrain.kinds import Kind

LONGEST_VALUE = 300
"""Characters of a value that are printed; `--json` has all of it."""


@takes_settings()
def show(
    config: ConfigFile,
    split: Annotated[
        Literal["training", "validation", "test"], typer.Option(help="The split to show examples of.")
    ] = "training",
    number: Annotated[int, typer.Option(min=0, help="Number of examples to show.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw the examples as a PNG (images, speech, series)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    overrides: Overrides = None,
) -> None:
    """Show the data that a config trains on.

    Reads the data as `dltrain fit` does, and prints splits, classes, columns, what was cut or replaced, warnings, and
    some examples: as they were read, and as a model receives them. Training examples are augmented as in the first
    epoch, and mixed with each other if the config says so. Nothing is trained, and no test file is opened without
    --split test.

    Examples:

      dltrain data show configs/table_csv.yaml

      dltrain data show configs/mnist_cnn.yaml --number 50 -o samples.png

      dltrain data show runs/iris_dense --split validation --json
    """
    check_output(output)
    from dltrain.data.shown import pick_examples
    from dltrain.data.summary import describe_data
    from dltrain.kinds import find_kind
    from dltrain.observers.data_report import read_data
    from dltrain.runs.building import Names, construct_dataset
    from dltrain.runs.finding import find_config

    file, _ = find_config(config)
    experiment = load_config(file, overrides).experiment
    names = Names(experiment.plugins)
    kind = find_kind(names.entry("dataset", experiment.data.name).facts["data"])
    if output is not None and kind.draw is None:
        message = f"--output: there are no pictures of {kind.plural}, only of images, speech and series"
        raise UsageError(message, advice="leave it out; --json prints the examples")
    dataset = construct_dataset(names, experiment)
    data = describe_data(dataset, dataset.training(), dataset.validation())
    examples = pick_examples(dataset, split, kind, experiment.seed, number=number) if number else []
    print_notice(dataset.notice)
    for name in list_changed(data, read_data(config)):
        typer.echo(f"warning: {name} has changed since {config} was trained", err=True)
    if output is not None:
        draw_examples(examples, kind, f"{dataset.name}, {split} split", output)
    if as_json:
        typer.echo(json.dumps({**data, "split": split, **encode_examples(examples, output)}, default=str))
        return
    heading = f"examples of the {split} split, drawn with seed {experiment.seed}"
    typer.echo("\n".join([*format_data(data), *format_examples(examples, heading)]))
    if output is not None:
        typer.echo(f"\npicture: {output}")


def encode_examples(examples: Sequence[ShownExample], picture: Path | None) -> dict[str, Any]:
    """The examples, and the path of their picture if they were drawn, for JSON."""
    rows = [{"read": dict(one.read), "received": dict(one.received.values)} for one in examples]
    return {"examples": rows, **({} if picture is None else {"picture": str(picture)})}


def list_changed(data: Mapping[str, Any], trained: Mapping[str, Any] | None) -> list[str]:
    """The files whose content differs from what the run has read; none for a config."""
    before = {} if trained is None else trained["files"]
    return [name for name, digest in data["files"].items() if before.get(name, digest) != digest]


def draw_examples(examples: Sequence[ShownExample], kind: Kind, title: str, path: Path) -> None:
    """Draw the examples as their kind of data is drawn. Raises UsageError where there are none."""
    from dltrain.kinds import resolve_reference

    drawn = [one.received for one in examples if one.received.picture is not None]
    if not drawn or kind.draw is None:
        raise UsageError("--output: there are no examples to draw", advice="raise --number, or name another --split")
    resolve_reference(kind.draw)([one.picture for one in drawn], [one.caption for one in drawn], title, path)


def format_data(data: Mapping[str, Any]) -> Iterator[str]:
    """Everything that the summary has, as lines and tables."""
    from dltrain.observers.data_report import format_sizes, list_tables

    yield format_sizes(data)
    if data["division"]:
        yield f"splits: {data['division']}"
    for title, head, rows in list_tables(data):
        yield f"\n{title}"
        yield format_table([head, *rows], left=range(len(head)) if title != "classes" else {0})
    if data["risks"]:
        yield ""
        yield from (f"warning: {risk}" for risk in data["risks"])


def format_examples(examples: Sequence[ShownExample], heading: str) -> Iterator[str]:
    """The examples as two tables, or one after another where a row would be wider than the terminal."""
    if not examples:
        return
    yield f"\n{heading}"
    sides = (
        ("as read", [one.read for one in examples]),
        ("as a model receives them", [one.received.values for one in examples]),
    )
    for title, rows in sides:
        if any(rows):
            yield f"\n{title}"
            yield from _format_rows(rows)


def _format_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    width = shutil.get_terminal_size((100, 24)).columns
    table = format_table([list(rows[0]), *([_format_value(value) for value in row.values()] for row in rows)])
    if all(row.keys() == rows[0].keys() for row in rows) and max(map(len, table.splitlines())) <= width:
        yield table
        return
    for number, row in enumerate(rows, 1):
        text = "; ".join(f"{name} {_format_value(value)}" for name, value in row.items())
        yield textwrap.fill(f"{number}: {text}", width, subsequent_indent="   ", break_on_hyphens=False)


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        text = ", ".join(map(_format_value, value))
    else:
        text = f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", " ")
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
