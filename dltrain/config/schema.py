"""The config's JSON Schema, for editors, from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, Predicate

from dltrain.config.annotations import (
    REQUIRED,
    Option,
    find_group,
    find_listed_named,
    find_named,
    get_summary,
    is_union,
    list_members,
    list_options,
    split_annotated,
    takes_null,
)
from dltrain.config.catalogue import Entry
from dltrain.config.plugins import load_catalogue
from dltrain.config.search import RANGE_OPTIONS, SEARCH_OPTIONS, SPACE
from dltrain.config.sections import CHOICES, GROUPS, LISTS, SEED, Section
from dltrain.config.values import to_plain
from dltrain.options import Named

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
    core, metadata = split_annotated(annotation)
    if is_union(core):
        members = [_build_type(member) for member in list_members(annotation)]
        return {"anyOf": [*members, {"type": "null"}] if takes_null(annotation) else members}
    grouped = find_group(annotation)
    if grouped is not None:
        return _build_object(list_options(grouped), get_summary(grouped.__doc__))
    if (choices := find_named(annotation)) is not None:
        return {"$ref": f"#/$defs/{choices.noun}"}
    origin, arguments = get_origin(core), get_args(core)
    lengths: dict[str, Any] = {}
    for each in metadata:
        if isinstance(each, MinLen):
            lengths["minItems"] = each.min_length
        elif isinstance(each, MaxLen):
            lengths["maxItems"] = each.max_length
    if origin is dict:
        return {"type": "object", "additionalProperties": _build_type(arguments[1])}
    if origin is tuple and arguments[-1:] != (...,):
        lengths = {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"type": "array", "prefixItems": [_build_type(each) for each in arguments], **lengths}
    if origin in (list, tuple):
        return {"type": "array", "items": _build_type(arguments[0]), **lengths}
    return _build_scalar(core, metadata)


def _build_scalar(core: Any, metadata: Sequence[Any]) -> dict[str, Any]:
    """A single value, or the reference to an environment variable that has it."""
    if core is str and Predicate(str.isidentifier) in metadata:
        return {"type": "string", "pattern": r"^([A-Za-z_][A-Za-z0-9_]*|\$\{env:.*\})$"}
    if core is str:  # a value without quotes is text too where text is expected, whatever an editor takes it for
        return {"type": ["string", "number", "boolean"]}
    if get_origin(core) is Literal:
        return {"anyOf": [{"enum": list(get_args(core))}, _TO_REFERENCE]}
    bounds: dict[str, Any] = {}
    for each in metadata:
        for bound, key in ((Ge, "minimum"), (Gt, "exclusiveMinimum"), (Le, "maximum"), (Lt, "exclusiveMaximum")):
            if isinstance(each, bound):
                bounds[key] = getattr(each, bound.__name__.lower())
    type_name = {int: "integer", float: "number", bool: "boolean"}.get(core, "null")
    return {"anyOf": [{"type": type_name, **bounds}, _TO_REFERENCE]}
