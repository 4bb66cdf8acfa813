"""Types and defaults of options as JSON values, for the stored catalogue."""

from __future__ import annotations

import pkgutil
import types
from dataclasses import asdict, astuple, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types

from dltrain.config.annotations import find_listed_named, is_union, split_annotated

LAYERS = "dltrain.architecture.layers:Layers"
"""The one type that holds things chosen by name. It is stored as a reference, like a group of options."""

_PLAIN: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "None": types.NoneType, "...": ...}
_GENERIC: dict[str, Any] = {"list": list, "tuple": tuple, "dict": dict, "Union": Union}


def encode_type(annotation: Any) -> Any:
    """A type as JSON: a name such as "int", a reference such as "module:Group", or {name: [arguments]}."""
    if find_listed_named(annotation) is not None:
        return LAYERS
    core, bounds = split_annotated(annotation)
    if bounds:
        return {"Annotated": [encode_type(core), *([type(each).__name__, *astuple(each)] for each in bounds)]}
    for name, plain in _PLAIN.items():
        if core is plain:
            return name
    if get_origin(core) is Literal:
        return {"Literal": list(get_args(core))}
    if is_dataclass(core) and isinstance(core, type):
        return f"{core.__module__}:{core.__qualname__}"
    name = "Union" if is_union(core) else get_origin(core).__name__
    return {name: [encode_type(each) for each in get_args(core)]}


def decode_type(stored: Any) -> Any:
    """The type that `encode_type` stored. A group's module is imported."""
    if isinstance(stored, str):
        return _PLAIN[stored] if stored in _PLAIN else pkgutil.resolve_name(stored)
    ((name, arguments),) = stored.items()
    if name == "Literal":
        return Literal[tuple(arguments)]
    if name == "Annotated":
        bounds = (getattr(annotated_types, bound)(*values) for bound, *values in arguments[1:])
        inside: Any = (decode_type(arguments[0]), *bounds)
        return Annotated[inside]
    return _GENERIC[name][tuple(map(decode_type, arguments))]


def encode_value(value: Any) -> Any:
    """A default as JSON; what JSON lacks is {"tuple": [...]}, {"dict": {...}} or {"module:Group": {...}}."""
    if isinstance(value, tuple):
        return {"tuple": [encode_value(each) for each in value]}
    if is_dataclass(value) and not isinstance(value, type):
        return {encode_type(type(value)): {name: encode_value(each) for name, each in asdict(value).items()}}
    if isinstance(value, dict):
        return {"dict": {name: encode_value(each) for name, each in value.items()}}
    return [encode_value(each) for each in value] if isinstance(value, list) else value


def decode_value(stored: Any) -> Any:
    """The default that `encode_value` stored."""
    if isinstance(stored, list):
        return [decode_value(each) for each in stored]
    if not isinstance(stored, dict):
        return stored
    ((name, content),) = stored.items()
    if name == "tuple":
        return tuple(map(decode_value, content))
    values = {key: decode_value(each) for key, each in content.items()}
    return values if name == "dict" else pkgutil.resolve_name(name)(**values)
