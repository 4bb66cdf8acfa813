"""`dltrain list` and `dltrain describe`: what a config can name."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.options import Json, Plugins
from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.config.annotations import Option
    from dltrain.config.catalogue import Entry
    from dltrain.options import Named

KINDS_HELP = "models, datasets, tasks, optimizers, schedules, observers, losses, metrics, augmentations."
UNLISTED = "add --plugin FILE if a plug-in registers it"


def list_names(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KINDS_HELP)],
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """List the models, datasets and other parts of a config."""
    from dltrain.config.plugins import load_catalogue

    kind = parse_kind(kind)
    entries = load_catalogue(plugins or ()).of(kind)
    if as_json:
        rows = [{"name": entry.name, "summary": entry.summary, "module": entry.module} for entry in entries]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        typer.echo(indent_text(f"{entry.name:{width}}  ", entry.summary))


def describe(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="One of them, such as model or loss.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `dltrain list` shows.")],
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """Describe a model, dataset or task and its options."""
    from dltrain.config.plugins import load_catalogue

    kind = parse_kind(kind)
    catalogue = load_catalogue(plugins or ())
    entry = catalogue.find(kind, name)
    if entry is None:
        advice = None if plugins else UNLISTED
        raise make_unknown_error(f"{kind} '{name}' is not known", name, catalogue.names(kind), advice)
    if as_json:
        typer.echo(json.dumps(encode_description(entry), indent=2, ensure_ascii=False))
        return
    typer.echo(f"{entry.kind} {entry.name}\n\n{textwrap.indent(entry.doc, '  ')}\n")
    typer.echo("\n".join(["options:", *format_options(entry.options)] if entry.options else ["It has no options."]))
    for choices in list_named(entry.options):
        typer.echo(f"\n{choices.noun}s, each with its options; the first one may be given without its name:")
        typer.echo("\n".join(format_named(choices)))


def parse_kind(word: str) -> str:
    """The catalogue's word for a kind, given in the singular or the plural. Raises UsageError."""
    from dltrain.registry import REGISTRIES

    kinds = {each.plural: each.kind for each in REGISTRIES.values()}
    if word in kinds.values():
        return word
    if word not in kinds:
        raise make_unknown_error(f"'{word}' is not a kind of registered name", word, list(kinds))
    return kinds[word]


def make_unknown_error(message: str, name: str, known: Sequence[str], advice: str | None = None) -> UsageError:
    """The error for a name that is not known: `message`, the known names, and the nearest of them, else `advice`."""
    from dltrain.config.faults import find_nearest, join_names

    near = find_nearest(name, known)
    hint = f"\ndid you mean '{near}'?" if near else ""
    return UsageError(f"{message}\nallowed: {join_names(known)}{hint}", advice=None if near else advice)


def format_options(options: Sequence[Option], indent: str = "  ") -> list[str]:
    """A block for each option: its name, type and default, then its meaning; the options of a group below it."""
    from dltrain.config.annotations import REQUIRED, describe_type, find_group, list_options
    from dltrain.config.document import format_value
    from dltrain.config.values import to_plain

    width = max(len(option.name) for option in options)
    lines = []
    for option in options:
        default = "required" if option.default is REQUIRED else f"default {format_value(to_plain(option.default))}"
        lines.append(indent_text(f"{indent}{option.name:{width}}  ", f"{describe_type(option.annotation)}; {default}"))
        if option.description:
            lines.append(indent_text(f"{indent}{'':{width}}  ", option.description))
        grouped = find_group(option.annotation)
        if grouped is not None:
            lines += format_options(list_options(grouped), indent + "    ")
    return lines


def list_named(options: Sequence[Option]) -> list[Named]:
    """What the options let one choose by name."""
    from dltrain.config.annotations import find_listed_named

    return [choices for option in options if (choices := find_listed_named(option.annotation)) is not None]


def format_named(choices: Named) -> list[str]:
    """A block for each thing that can be chosen by name, with its options."""
    from dltrain.config.annotations import collect_names, list_options, split_docstring

    lines = []
    for names, group_type in collect_names(choices):
        options = list_options(group_type)
        text = " ".join(split_docstring(group_type.__doc__)[1].split())
        lines += ["", indent_text(f"  {', '.join(names)}: ", text)]
        lines += format_options(options, "      ") if options else []
    return lines


def encode_description(entry: Entry) -> dict[str, Any]:
    """An entry for JSON; `default` is absent from an option that is required."""
    from dltrain.config.annotations import list_options

    options = encode_options(entry.options)
    for row, option in zip(options, entry.options, strict=True):
        for choices in list_named([option]):
            row["choices"] = {name: encode_options(list_options(each)) for name, each in choices.groups.items()}
    facts = {name: getattr(entry, name) for name in ("kind", "name", "summary", "doc", "module")}
    return {**facts, "provided": list(entry.provided), "options": options}


def encode_options(options: Sequence[Option]) -> list[dict[str, Any]]:
    from dltrain.config.annotations import REQUIRED, describe_type
    from dltrain.config.values import to_plain

    rows = []
    for option in options:
        row = {"name": option.name, "type": describe_type(option.annotation), "description": option.description}
        rows.append(row if option.default is REQUIRED else {**row, "default": to_plain(option.default)})
    return rows


def indent_text(start: str, text: str) -> str:
    """`start` and then `text`, folded to the terminal's width under itself."""
    width = max(shutil.get_terminal_size((100, 24)).columns, len(start) + 30)
    return textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
