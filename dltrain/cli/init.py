"""`dltrain init`: a config for someone's own files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dltrain.cli.shared.options import Json, check_output
from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.starting.draft import Draft

Kind = Literal["table", "series", "texts", "text", "images", "audio"]

STANDARD_OUTPUT = Path("-")
_WIDTH = 100


def init(
    path: Annotated[Path | None, typer.Argument(help="A file or a folder with the data.", show_default=False)] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column to predict. [default: by its name, or the last one]")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--as", help="Read the data as this kind. [default: found out]", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write, - to print. [default: NAME.yaml here]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the configs that ship with dltrain instead.")] = False,
    as_json: Json = False,
) -> None:
    """Write a config for data of your own, which trains as it stands.

    Reads a table (.csv, .tsv, .jsonl, .parquet, .npz), a series, labelled texts, a text, a folder of pictures, or sound
    files with their transcripts; shows what it found, and notes it in the config.

    Examples:

      dltrain init houses.csv --target price

      dltrain init photos/ -o photos.yaml

      dltrain init sales.csv --as series -o -

      dltrain init --list
    """
    if listed:
        _list_configs(as_json)
        return
    from dltrain.starting.inspection import draft_config, list_readable

    if path is None:
        raise UsageError(f"no PATH; dltrain init reads\n{list_readable()}", advice="dltrain init PATH, or --list")
    if output is not None and output != STANDARD_OUTPUT:
        check_output(output)
        _check_free(output, force)
    draft = draft_config(path, target, kind)
    if output == STANDARD_OUTPUT:
        command = _quote("dltrain", "init", str(path))
        text = draft.format(Path(), command, f"save it as NAME.yaml here, then {_quote('dltrain', 'fit', 'NAME.yaml')}")
        typer.echo(json.dumps(_to_plain(draft, None)) if as_json else text, nl=as_json)
        return
    file = Path(f"{draft.name}.yaml") if output is None else output
    if output is None:
        _check_free(file, force)
    _write(draft, file, path)
    if as_json:
        typer.echo(json.dumps(_to_plain(draft, file), ensure_ascii=False))
    else:
        typer.echo("\n".join(_describe(draft, file)))


def _quote(*words: str) -> str:
    return shlex.join(words)


def _check_free(file: Path, force: bool) -> None:
    """Raises UsageError if there is a file already, which is not to be replaced."""
    from dltrain.files import is_stream

    if file.exists() and not force and not is_stream(file):
        raise UsageError(
            f"{file}: this file exists already", advice="name another one with -o, or replace it with --force"
        )


def _write(draft: Draft, file: Path, path: Path) -> None:
    from dltrain.files import write_atomically

    text = draft.format(file.parent, _quote("dltrain", "init", str(path)), _quote("dltrain", "fit", str(file)))
    write_atomically(file, text.encode("utf-8", "backslashreplace"))


def _describe(draft: Draft, file: Path) -> list[str]:
    """What was found and written, and the next commands."""
    from dltrain.starting.draft import align_rows

    lines = [f"{draft.kind}: {draft.title}", *(f"  {fact}" for fact in draft.facts)]
    if draft.columns:
        lines += ["", *(_cut(f"  {line}") for line in align_rows(draft.columns))]
    if draft.doubts:
        lines += ["", "to look at:", *(f"  - {doubt}" for doubt in draft.doubts)]
    model, trainer = draft.settings["model"], draft.settings["trainer"]
    return [
        *lines,
        "",
        f"wrote {file}: {model['name']}, up to {trainer['epochs']} epochs",
        f"next: {_quote('dltrain', 'fit', str(file))}",
        f"      {_quote('dltrain', 'data', 'show', str(file))} shows what is read",
    ]


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


def _to_plain(draft: Draft, file: Path | None) -> dict[str, object]:
    """What was found, as JSON: the config as it is written, and its columns by the names in the head."""
    head: Sequence[str] = draft.columns[0] if draft.columns else ()
    return {
        "kind": draft.kind,
        "title": draft.title,
        "file": None if file is None else str(file),
        "config": draft.place(Path() if file is None else file.parent),
        "facts": list(draft.facts),
        "columns": [dict(zip(head, row, strict=True)) for row in draft.columns[1:]],
        "doubts": list(draft.doubts),
    }


def _list_configs(as_json: bool) -> None:
    """List the configs and the recipes that ship with dltrain."""
    from dltrain.cli.describe import indent_text
    from dltrain.config.shipped import list_recipes, list_shipped

    groups = {"configs": list_shipped(), "recipes": list_recipes()}
    if as_json:
        plain = {
            group: [{"name": each.name, "summary": each.summary, "path": str(each.path)} for each in found]
            for group, found in groups.items()
        }
        typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    width = max(len(each.name) for found in groups.values() for each in found)
    for group, found in groups.items():
        usage = "dltrain fit NAME" if group == "configs" else "shell scripts that train and evaluate"
        typer.echo(f"{group} ({usage}):")
        for each in found:
            typer.echo(indent_text(f"  {each.name:{width}}  ", each.summary))
