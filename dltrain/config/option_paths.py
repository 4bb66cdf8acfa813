"""The paths and values of all options, stored for completion on the command line, which has no time to read types.

``make docs`` writes ``option_paths.json`` from the catalogue (`dltrain.config.generate`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dltrain.config.annotations import (
    Option,
    find_group,
    get_summary,
    list_members,
    list_options,
    list_values,
    split_annotated,
    takes_null,
)
from dltrain.config.catalogue import Catalogue
from dltrain.config.search import SEARCH_OPTIONS
from dltrain.config.sections import CHOICES, GROUPS
from dltrain.registry import REGISTRIES

OPTION_PATHS = Path(__file__).with_name("option_paths.json")


def encode_option_paths(catalogue: Catalogue) -> str:
    """The text of ``option_paths.json``.

    `kinds` has each registered name with its summary, by kind, and `plurals` the kinds by what `list`
    calls them; `choices` the kind of each section that names such
    things; `options` the values of the options of each section, as far as they can be listed: of a section with choices
    by name, of the others under the empty name. Options of a group have its name before theirs.
    """
    kinds = {kind: {entry.name: get_summary(entry.doc) for entry in catalogue.of(kind)} for kind in REGISTRIES}
    plurals = {each.plural: kind for kind, each in REGISTRIES.items()}
    options: dict[str, dict[str, Any]] = {
        name: {entry.name: _list_values(entry.options) for entry in catalogue.of(section.kind)}
        for name, section in CHOICES.items()
    }
    options |= {name: {"": _list_values(list_options(group))} for name, group in GROUPS.items()}
    options["search"] = {"": _list_values(SEARCH_OPTIONS)}
    choices = {name: section.kind for name, section in CHOICES.items()}
    stored = {"kinds": kinds, "plurals": plurals, "choices": choices, "options": options}
    return json.dumps(stored, ensure_ascii=False, indent=0) + "\n"


def _list_values(options: Iterable[Option]) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = {}
    for option in options:
        values = [str(value) for value in list_values(option.annotation)]
        if any(split_annotated(member)[0] is bool for member in list_members(option.annotation)):
            values += ["true", "false"]
        group = find_group(option.annotation)
        listed[option.name] = values + (["null"] if takes_null(option.annotation) else [])
        if group is not None:
            inner = _list_values(list_options(group))
            listed |= {f"{option.name}.{name}": values for name, values in inner.items()}
    return listed
