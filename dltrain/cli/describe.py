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
    from dltrain.config.catalogue import Catalogue, Entry
    from dltrain.options import Named

KINDS_HELP = "models, datasets, tasks, optimizers, schedules, observers, losses, metrics, augmentations."
UNLISTED = "add --plugin FILE if a plug-in registers it"


def list_names(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help=f"{KINDS_HELP} [default: all]")] = None,
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """List the models, datasets and other parts of a config."""
    from dltrain.config.plugins import load_catalogue
    from dltrain.registry import REGISTRIES

    kinds = list(REGISTRIES) if kind is None else [parse_kind(kind)]
    catalogue = load_catalogue(plugins or ())
    entries = [entry for each in kinds for entry in catalogue.of(each)]
    if as_json:
        rows = [({} if kind else {"kind": entry.kind}) | encode_summary(entry) for entry in entries]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for each in kinds:
        indent = "" if kind else "  "
        if not kind:
            typer.echo(f"{REGISTRIES[each].plural}:")
        for entry in catalogue.of(each):
            typer.echo(indent_text(f"{indent}{entry.name:{width}}  ", entry.summary))


def describe(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="One of them, such as model or loss.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A name that `dltrain list` shows.")] = None,
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """Describe a model, dataset or task and its options.

    Examples:

      dltrain describe model cnn

      dltrain describe cnn --json
    """
    from dltrain.config.plugins import load_catalogue

    entries = find_entries(load_catalogue(plugins or ()), kind, name, advice=None if plugins else UNLISTED)
    if as_json:
        found = [encode_description(entry) for entry in entries]
        typer.echo(json.dumps(found[0] if len(found) == 1 else found, indent=2, ensure_ascii=False))
        return
    for number, entry in enumerate(entries):
        if number:
            typer.echo()
        print_description(entry)


def find_entries(catalogue: Catalogue, kind: str, name: str | None, *, advice: str | None) -> list[Entry]:
    """The entry of a kind, or all of any kind that are called as the one word given. Raises UsageError."""
    from dltrain.registry import REGISTRIES

    kinds = list(REGISTRIES) if name is None else [parse_kind(kind)]
    word, what = (kind, "name") if name is None else (name, kinds[0])
    entries = [entry for each in kinds if (entry := catalogue.find(each, word)) is not None]
    if entries:
        return entries
    plurals = {text: each.plural for each in REGISTRIES.values() for text in (each.kind, each.plural)}
    if name is None and word in plurals:
        raise UsageError(f"'{word}' is a kind of name", advice=f"dltrain list {plurals[word]}")
    message = f"{what} '{word}' is not known"
    held = next((found for each in kinds if (found := catalogue.find_value(each, word)) is not None), None)
    if held is not None:
        entry, option = held
        raise UsageError(
            f"{message}: it is a value of {option.name} of {entry.kind} '{entry.name}'",
            advice=f"dltrain describe {entry.kind} {entry.name}",
        )
    raise make_unknown_error(message, word, [each for one in kinds for each in catalogue.names(one)], advice)


def print_description(entry: Entry) -> None:
    """Print an entry's documentation and its options."""
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


def encode_summary(entry: Entry) -> dict[str, str]:
    return {"name": entry.name, "summary": entry.summary, "module": entry.module}


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
