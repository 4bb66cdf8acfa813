"""What ``make docs`` runs: read what the package registers, store it, and write the tables of docs/configuration.md.

``python -m dltrain.config.generate`` in the root of a checkout.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import dltrain
from dltrain.config.annotations import (
    REQUIRED,
    Option,
    collect_names,
    describe_type,
    find_group,
    find_listed_named,
    get_summary,
    list_options,
    split_docstring,
)
from dltrain.config.catalogue import STORED, Catalogue, Entry, encode_catalogue, load_package_catalogue, locate_module
from dltrain.config.document import format_value
from dltrain.config.option_paths import OPTION_PATHS, encode_option_paths
from dltrain.config.search import RANGE_OPTIONS, SEARCH_OPTIONS, SPACE
from dltrain.config.sections import CHOICES, GROUPS, LISTS, SEED, Section
from dltrain.config.signatures import read_entry
from dltrain.config.values import to_plain
from dltrain.options import Named
from dltrain.registry import REGISTRIES, list_taken

PAGE = Path("docs/configuration.md")
START = "## Sections\n"
"""Where the generated part of the page begins; what is above it in the file is written by hand."""
WIDTH = 115


def read_package() -> Catalogue:
    """The catalogue of dltrain's own modules, from their signatures. Imports all that register something."""
    package = Path(dltrain.__file__).parent
    for file in sorted(package.rglob("*.py")):
        if ".register(" in file.read_text(encoding="utf-8"):
            import_module(".".join(["dltrain", *file.relative_to(package).with_suffix("").parts]))
    registered = [each for registry in REGISTRIES.values() for each in registry if each.module.startswith("dltrain.")]
    entries = [read_entry(each, locate_module(each.module).source, each.module) for each in registered]
    return Catalogue(replace(entry, place=locate_module(entry.module)) for entry in entries)


def build_page() -> str:
    """The generated part of docs/configuration.md: its sections from START on."""
    catalogue = load_package_catalogue()
    blocks = [START, _describe_groups()]
    for section in (*CHOICES.values(), *LISTS.values()):
        default = ", ".join(section.default)
        default = f"`[{default}]`" if section.several else f"`{default}`"
        note = f"Default: {default}." if section.default else "Required."
        blocks.append(f"## `{section.name}`\n\n{textwrap.fill(f'{section.meaning} {note}', WIDTH)}\n")
        blocks += _describe_entries(section, catalogue.of(section.kind))
    blocks += [*_describe_used_groups(catalogue), *_describe_functions(catalogue), _describe_search()]
    return "\n".join(blocks)


def _describe_groups() -> str:
    parts = [f"### `seed`\n\n{_format_options([SEED])}"]
    parts += [
        f"### `{name}`\n\n{get_summary(one.__doc__)}\n\n{_format_options(list_options(one))}"
        for name, one in GROUPS.items()
    ]
    return "\n".join(parts)


def _describe_search() -> str:
    options, interval = _format_options((*SEARCH_OPTIONS, SPACE)), _format_options(RANGE_OPTIONS)
    return f"## `search`\n\nWhat `dltrain sweep` varies.\n\n{options}\nA range:\n\n{interval}"


def _describe_entries(section: Section, entries: Sequence[Entry]) -> list[str]:
    """A part for each entry; names of one and the same thing share theirs."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        options = _format_options(entry.options) if entry.options else "It has no options.\n"
        name = f"[{entry.name}]" if section.several else entry.name
        names.setdefault(f"{entry.doc}\n\n{options}", []).append(f"`{section.name}: {name}`")
    return [f"### {', '.join(headings)}\n\n{body}" for body, headings in names.items()]


FUNCTIONS = {
    "loss": ("What is trained on: the value of `task.loss`.", "task.loss: {}"),
    "metric": ("What is reported beside a task's own metrics: `task.metrics` lists them.", "task.metrics: [{}]"),
    "augmentation": (
        "Changes to training images: `data.augment.functions` lists them. The package has none; a plug-in may.",
        "data.augment.functions: [{}]",
    ),
}
"""The kinds of functions that are values of options: what for, and how one is chosen."""


def _describe_functions(catalogue: Catalogue) -> list[str]:
    """A part for each kind of registered functions, with those that the package has."""
    ways = "Each is a name, a mapping of `name` and options, or a mapping of the name to its options."
    blocks = []
    for kind, (meaning, choice) in FUNCTIONS.items():
        blocks.append(f"## {REGISTRIES[kind].plural.capitalize()}\n\n{textwrap.fill(f'{meaning} {ways}', WIDTH)}\n")
        for entry in catalogue.of(kind):
            takes = f"It takes {' and '.join(list_taken(entry.facts))}."
            options = _format_options(entry.options) if entry.options else "It has no options.\n"
            blocks.append(f"### `{choice.format(entry.name)}`\n\n{entry.doc}\n\n{takes}\n\n{options}")
    return blocks


def _describe_used_groups(catalogue: Catalogue) -> list[str]:
    """The tables of the option groups that entries use, once each."""
    used = {find_group(option.annotation) for entry in catalogue.entries for option in entry.options} - {None}
    blocks = []
    for each in sorted(filter(None, used), key=lambda each: each.__name__):
        options = _format_options(list_options(each))
        blocks.append(f"## {each.__name__} options\n\n{split_docstring(each.__doc__)[1]}\n\n{options}")
    choices = [find_listed_named(option.annotation) for entry in catalogue.entries for option in entry.options]
    return [*blocks, *(block for each in dict.fromkeys(filter(None, choices)) for block in _describe_named(each))]


def _describe_named(choices: Named) -> list[str]:
    """A part for each thing that can be chosen by name; those that are declared alike share theirs."""
    noun = choices.noun
    ways = "its name, a mapping of the name to its options, or to the value of its first option alone"
    blocks = [f"## {noun.capitalize()}s\n\nA {noun} is {ways}.\n"]
    for names, group_type in collect_names(choices):
        options = list_options(group_type)
        table = _format_options(options) if options else "It has no options.\n"
        heading = ", ".join(f"`{name}`" for name in names)
        blocks.append(f"### {heading}\n\n{split_docstring(group_type.__doc__)[1]}\n\n{table}")
    return blocks


def _format_options(options: Sequence[Option]) -> str:
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        default = "required" if option.default is REQUIRED else f"`{format_value(to_plain(option.default))}`"
        rows.append(f"| `{option.name}` | {describe_type(option.annotation)} | {default} | {option.description} |")
    return "\n".join(row.replace("\n", " ") for row in rows) + "\n"


if __name__ == "__main__":
    STORED.write_text(encode_catalogue(read_package()), encoding="utf-8")
    load_package_catalogue.cache_clear()
    OPTION_PATHS.write_text(encode_option_paths(load_package_catalogue()), encoding="utf-8")
    introduction = PAGE.read_text(encoding="utf-8").partition(START)[0]
    PAGE.write_text(introduction + build_page(), encoding="utf-8")
    # What the command line has is above this package, which cannot import it.
    subprocess.run([sys.executable, "-m", "dltrain.cli.completion.generate"], check=True)
