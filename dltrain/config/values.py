"""The values of options: read from nodes of YAML, checked against their types, and as plain data."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, get_args, get_origin

from dltrain.config.annotations import get_element_type, is_union, list_members, split_annotated, takes_null
from dltrain.config.document import ListNode, MappingNode, Node, ScalarNode


def read_value(node: Node, annotation: Any) -> tuple[Any, list[tuple[int | str, ...]]]:
    """The node as a value of its option's type, and where it breaks that type, as `validate` gives them.

    Where text is expected, a scalar without quotes is its own text: `no`, `1.10` and `1e-3` stay as written. A union
    is read as the first member that takes the node, text last.
    """
    core, metadata = split_annotated(annotation)
    if not is_union(core):
        return validate_value(_read_plain(node, annotation), annotation)
    if isinstance(node, ScalarNode) and node.value is None and takes_null(annotation):
        return None, []
    readings = []
    for member in sorted(list_members(annotation), key=lambda member: split_annotated(member)[0] is str):
        value, wrong = read_value(node, member)
        if not wrong:
            return validate_value(value, annotation) if metadata else (value, [])
        readings.append((value, wrong))
    return readings[0]


def _read_plain(node: Node, annotation: Any) -> Any:
    """The node as plain values, to be checked against `annotation`."""
    core, _ = split_annotated(annotation)
    if is_union(core):
        return read_value(node, annotation)[0]
    origin = get_origin(core)
    if isinstance(node, ListNode):
        holds = get_args(core) if origin in (list, tuple) else ()
        items = [
            _read_plain(item, get_element_type(core, index) if holds else Any) for index, item in enumerate(node.items)
        ]
        return tuple(items) if origin is tuple else items
    if isinstance(node, MappingNode):
        inner = get_element_type(core, 0) if origin is dict else Any
        return {key: _read_plain(pair.node, inner) for key, pair in node.entries.items()}
    if origin is Literal:  # True equals 1, and 1.0 does, but neither is what was allowed
        same = [each for each in get_args(core) if type(each) is type(node.value) and each == node.value]
        return same[0] if same else node.text
    return node.text if core is str and node.value is not None else node.value


def validate_value(value: Any, annotation: Any) -> tuple[Any, list[tuple[int | str, ...]]]:
    """The value in its exact type (the integer 1 for a float is 1.0), and where it breaks the type.

    These are paths of indices and keys; ``()`` is the value itself. Without any, the value is sound.
    """
    from pydantic import ValidationError

    try:
        return build_checker(annotation).validate_python(value), []
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return value, [each["loc"] for each in problems]


@functools.cache
def build_checker(annotation: Any) -> Any:
    """Pydantic's checker of a type: strict, so that no text becomes a number and no bool an integer."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def to_plain(value: Any) -> Any:
    """Options and defaults as plain dicts, lists and scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in value.items()}
    return [to_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
