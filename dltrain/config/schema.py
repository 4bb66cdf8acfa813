"""The config's JSON Schema, for editors, from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltrain.config.annotations import (
    REQUIRED,
    Option,
    allows_auto,
    find_group,
    find_listed_named,
    find_listed_registered,
    find_registered,
    get_summary,
    list_options,
    takes_null,
)
from dltrain.config.catalogue import Catalogue, Entry
from dltrain.config.plugins import load_catalogue
from dltrain.config.search import RANGE_OPTIONS, SEARCH_OPTIONS, SPACE
from dltrain.config.sections import CHOICES, DECIDING, GROUPS, LISTS, METRICS, SEED, Section
from dltrain.config.values import to_plain
from dltrain.options import AUTO, Named, Registered
from dltrain.registry import list_taken

_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*(:[^}]*)?\}",
    "description": "The value of an environment variable, ${env:NAME} or ${env:NAME:default}.",
}
_TO_REFERENCE = {"$ref": "#/$defs/reference"}


def build_json_schema(plugins: Sequence[Path] = ()) -> dict[str, Any]:
    """The schema (draft 2020-12) of a config that uses these plug-ins, as a plain dict. Raises ConfigError."""
    catalogue = load_catalogue(plugins)
    definitions: dict[str, Any] = {"reference": _REFERENCE}
    entries = {each.name: catalogue.of(each.kind) for each in (*CHOICES.values(), *LISTS.values())}
    sections = {each.name: _build_choice(each, entries[each.name], definitions) for each in CHOICES.values()}
    for task in catalogue.of("task"):
        if METRICS in [option.name for option in task.options]:
            chosen = {"enum": catalogue.names("metric"), "description": "One of those that `metrics` lists."}
            definitions[f"task.{task.name}"]["properties"][DECIDING]["anyOf"].append(chosen)
    for registered in FUNCTIONS:
        definitions[_name_function(registered)] = _build_function(registered, catalogue)
    for each in LISTS.values():
        items = _build_choice(each, entries[each.name], definitions)
        sections[each.name] = {"type": "array", "items": items, "default": list(each.default)}
    complete = {name: _build_requirements(section, entries[name]) for name, section in CHOICES.items()}
    complete |= {name: {"items": _build_requirements(section, entries[name])} for name, section in LISTS.items()}
    files = {"type": "array", "items": {"type": "string", "minLength": 1}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dltrain experiment",
        "type": "object",
        "properties": {
            "extends": {"type": "string", "minLength": 1, "description": "The config that this one changes."},
            **sections,
            "seed": _build_option(SEED),
            **{section: _build_object(list_options(one), get_summary(one.__doc__)) for section, one in GROUPS.items()},
            "search": _build_search(),
            "plugins": {**files, "description": "Python files that register more models, datasets, tasks, ..."},
        },
        "additionalProperties": False,
        # What a config must have, it may have from the one that it extends.
        "if": {"not": {"required": ["extends"]}},
        "then": {
            "required": [section.name for section in CHOICES.values() if not section.default],
            "properties": complete,
        },
        "$defs": definitions,
    }


def _build_search() -> dict[str, Any]:
    schema = _build_object(SEARCH_OPTIONS, "What `dltrain sweep` varies.")
    values = {"type": "array", "minItems": 1, "description": "The values to choose from."}
    interval = {**_build_object(RANGE_OPTIONS, "A range of numbers."), "required": ["low", "high"]}
    dimensions = {"type": "object", "additionalProperties": {"anyOf": [values, interval, {"type": "null"}]}}
    schema["properties"][SPACE.name] = {**dimensions, "description": SPACE.description}
    return {"anyOf": [schema, {"type": "null"}]}


def _build_choice(section: Section, entries: Sequence[Entry], definitions: dict[str, Any]) -> dict[str, Any]:
    """A section that names an entry: the name alone, or a mapping whose name says which options there are."""
    branches: list[dict[str, Any]] = [{"enum": [entry.name for entry in entries]}, _TO_REFERENCE]
    for entry in entries:
        entry_schema = _build_object(entry.options, entry.summary)
        entry_schema["properties"] = {"name": {"const": entry.name}, **entry_schema["properties"]}
        definitions[f"{section.name}.{entry.name}"] = entry_schema
        for choices in filter(None, (find_listed_named(option.annotation) for option in entry.options)):
            definitions[choices.noun] = _build_named(choices)
        branches.append({"$ref": f"#/$defs/{section.name}.{entry.name}"})
    # A name from the environment is not known here, nor are its options.
    branches.append({"type": "object", "properties": {"name": _TO_REFERENCE}, "required": ["name"]})
    chosen = {"description": section.meaning, "anyOf": branches}
    return {**chosen, "default": section.default[0]} if section.default and not section.several else chosen


FUNCTIONS = (
    *(Registered("loss", takes) for takes in ("classes", "numbers", "images")),
    *(Registered("metric", takes) for takes in ("classes", "numbers")),
    Registered("augmentation"),
)
"""The registered functions that an option may choose from."""


def _name_function(registered: Registered) -> str:
    return f"function.{registered.kind}.{registered.takes or 'any'}"


def _build_function(registered: Registered, catalogue: Catalogue) -> dict[str, Any]:
    """A registered function: its name alone, with `name` and options, or as a mapping of the name to its options."""
    branches: list[dict[str, Any]] = [_TO_REFERENCE]
    for entry in catalogue.of(registered.kind):
        if registered.takes not in (None, *list_taken(entry.facts)):
            continue
        given = _build_object(entry.options, entry.summary)
        needed = [option.name for option in entry.options if option.default is REQUIRED]
        named = {"name": {"const": entry.name}, **given["properties"]}
        branches += [
            {**given, "properties": named, "required": ["name", *needed]},
            {"type": "object", "properties": {entry.name: _build_short(entry, {**given, "required": needed})}}
            | {"required": [entry.name], "additionalProperties": False},
        ]
        if not needed:
            branches.append({"const": entry.name, "description": entry.summary})
    return {"anyOf": branches}


def _build_short(entry: Entry, given: dict[str, Any]) -> dict[str, Any]:
    """What a function's name may be mapped to: its options, its first one's value, or null."""
    first = [_build_option(entry.options[0])] if entry.options else []
    return {"anyOf": [given, *first, {"type": "null"}]}


def _build_named(choices: Named) -> dict[str, Any]:
    """Something that is chosen by name: the name alone, or a mapping of it to its options or to its first one."""
    branches: list[dict[str, Any]] = []
    for name, group_type in choices.groups.items():
        options, description = list_options(group_type), get_summary(group_type.__doc__)
        needed = [option.name for option in options if option.default is REQUIRED]
        given: list[dict[str, Any]] = [{**_build_object(options, description), "required": needed}]
        if not needed:
            branches.append({"const": name, "description": description})
            given.append({"type": "null"})
        if options and set(needed) <= {options[0].name}:
            given.insert(0, _build_option(options[0]))
        pair = {"type": "object", "properties": {name: {"anyOf": given}}, "required": [name]}
        branches.append({**pair, "additionalProperties": False, "description": description})
    return {"anyOf": branches}


def _build_requirements(section: Section, entries: Sequence[Entry]) -> dict[str, Any]:
    """What a section must hold besides, in a file that extends no other."""
    default = None if section.several or not section.default else section.default[0]
    rules: list[dict[str, Any]] = []
    if default is None:
        rules.append({"if": {"type": "object"}, "then": {"required": ["name"]}})
    elif any(entry.name == default for entry in entries):
        unnamed = {"type": "object", "not": {"required": ["name"]}}
        rules.append({"if": unnamed, "then": {"$ref": f"#/$defs/{section.name}.{default}"}})
    for entry in entries:
        needed = [option.name for option in entry.options if option.default is REQUIRED]
        if needed:
            named = {"type": "object", "properties": {"name": {"const": entry.name}}, "required": ["name"]}
            rules += [{"not": {"const": entry.name}}, {"if": named, "then": {"required": needed}}]
    return {"allOf": rules} if rules else {}


def _build_object(options: Sequence[Option], description: str) -> dict[str, Any]:
    properties = {option.name: _build_option(option) for option in options}
    return {"description": description, "type": "object", "properties": properties, "additionalProperties": False}


def _build_option(option: Option) -> dict[str, Any]:
    described = {"description": option.description} if option.description else {}
    schema = {**_build_type(option.annotation), **described}
    return schema if option.default is REQUIRED else {**schema, "default": to_plain(option.default)}


def _build_type(annotation: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    if (grouped := find_group(annotation)) is not None:
        schema = _build_object(list_options(grouped), get_summary(grouped.__doc__))
        return {"anyOf": [schema, {"type": "null"}]} if takes_null(annotation) else schema
    if (registered := find_registered(annotation)) is not None:
        return {"anyOf": [{"$ref": f"#/$defs/{_name_function(registered)}"}]}
    if (registered := find_listed_registered(annotation)) is not None:
        listed = {"type": "array", "items": {"$ref": f"#/$defs/{_name_function(registered)}"}}
        return {"anyOf": [listed, {"type": "null"}]} if takes_null(annotation) else listed
    schema = _allow_references(TypeAdapter(annotation).json_schema())
    if allows_auto(annotation):
        schema = {"anyOf": [schema, {"const": AUTO}]}
    if (choices := find_listed_named(annotation)) is not None:
        schema["items"] = {"$ref": f"#/$defs/{choices.noun}"}
    return schema


def _allow_references(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type, in which each single value may be a reference to an environment variable."""
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        return {"anyOf": [{"enum": schema.get("enum", [schema.get("const")])}, _TO_REFERENCE]}
    if kind in ("integer", "number", "boolean"):
        return {"anyOf": [schema, _TO_REFERENCE]}
    if kind == "string" and "pattern" not in schema:
        # A value without quotes is text too where text is expected, whatever an editor takes it for.
        return {"type": ["string", "number", "boolean"]}
    schema = dict(schema)
    for key in {"items", "additionalProperties"} & schema.keys():
        schema[key] = _allow_references(schema[key])
    for key in {"anyOf", "prefixItems"} & schema.keys():
        schema[key] = list(map(_allow_references, schema[key]))
    return schema
