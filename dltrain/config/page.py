"""The tables of docs/configuration.md, from the catalogue."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from dltrain.config.annotations import (
    REQUIRED,
    Option,
    describe_type,
    find_group,
    find_listed_named,
    list_options,
    split_docstring,
)
from dltrain.config.catalogue import Catalogue, Entry, load_package_catalogue
from dltrain.config.document import format_value
from dltrain.config.schema import get_summary
from dltrain.config.search import RANGE_OPTIONS, SEARCH_OPTIONS, SPACE
from dltrain.config.sections import CHOICES, GROUPS, LISTS, SEED, Section
from dltrain.config.values import to_plain
from dltrain.options import Named

WIDTH = 115

START = "## Sections\n"
"""Where the generated part begins; what is above it in the file is written by hand."""


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
    blocks += [*_describe_used_groups(catalogue), _describe_search()]
    return "\n".join(blocks)


def _describe_groups() -> str:
    parts = [f"### `seed`\n\n{_format_options([SEED])}"]
    parts += [
        f"### `{name}`\n\n{get_summary(one.__doc__)}\n\n{_format_options(list_options(one))}"
        for name, one in GROUPS.items()
    ]
    return "\n".join(parts)


_SEARCH_WORDS = """\
What `dltrain sweep` varies; `dltrain fit` passes over it. `space` names options by their paths, and gives each a list
of values, or a range of numbers. Every value is checked as if it stood in its section. Where a name is varied, as in
`optimizer.name: [sgd, adam]`, an option that only one of them has is varied in the trials that chose that one.

```yaml
search:
  trials: 20
  space:
    optimizer.learning_rate: {low: 1e-4, high: 1e-1, log: true}
    model.hidden: [[64], [128], [128, 64]]
    data.batch_size: {low: 32, high: 128, step: 32}
```
"""


def _describe_search() -> str:
    options, interval = _format_options((*SEARCH_OPTIONS, SPACE)), _format_options(RANGE_OPTIONS)
    return f"## `search`\n\n{_SEARCH_WORDS}\n{options}\nA range:\n\n{interval}"


def _describe_entries(section: Section, entries: Sequence[Entry]) -> list[str]:
    """A part for each entry; names of one and the same thing share theirs."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        options = _format_options(entry.options) if entry.options else "It has no options.\n"
        name = f"[{entry.name}]" if section.several else entry.name
        names.setdefault(f"{entry.doc}\n\n{options}", []).append(f"`{section.name}: {name}`")
    return [f"### {', '.join(headings)}\n\n{body}" for body, headings in names.items()]


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
        blocks.append(
            f"### {', '.join(f'`{name}`' for name in names)}\n\n{split_docstring(group_type.__doc__)[1]}\n\n{table}"
        )
    return blocks


def collect_names(choices: Named) -> list[tuple[list[str], type]]:
    """The groups of options that can be chosen, each with all of its names."""
    names: dict[type, list[str]] = {}
    for name, group_type in choices.groups.items():
        names.setdefault(group_type, []).append(name)
    return [(known, group_type) for group_type, known in names.items()]


def _format_options(options: Sequence[Option]) -> str:
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        default = "required" if option.default is REQUIRED else f"`{format_value(to_plain(option.default))}`"
        rows.append(f"| `{option.name}` | {describe_type(option.annotation)} | {default} | {option.description} |")
    return "\n".join(row.replace("\n", " ") for row in rows) + "\n"
