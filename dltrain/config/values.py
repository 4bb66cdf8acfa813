"""The values of options: read from nodes of YAML, checked against their types, and as plain data.

An option may also list things that are chosen by name, each with options of its own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from dltrain.config.annotations import (
    Option,
    add_article,
    allows_auto,
    describe_type,
    find_listed_named,
    get_element_type,
    is_union,
    list_members,
    list_options,
    split_annotated,
    takes_null,
)
from dltrain.config.catalogue import Entry
from dltrain.config.document import ListNode, MappingNode, Node, Pair, ScalarNode, describe_node, resolve_scalar
from dltrain.config.faults import Fault, Place, find_nearest, join_names
from dltrain.options import AUTO, Named

LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Choice:
    """One entry of the catalogue and the value of each of its options; a group of options is its dataclass."""

    name: str
    options: Mapping[str, Any]

    def resolved(self) -> dict[str, Any]:
        """The name and every option, as plain values."""
        return {"name": self.name, **to_plain(self.options)}


@dataclass(frozen=True)
class FunctionChoice(Choice):
    """A registered function of a `kind`, chosen as the value of an option."""

    kind: str


def read_value(node: Node, annotation: Any, path: str) -> tuple[Any, list[Fault]]:
    """The value of the option at `path`, and a fault for each place where the node breaks its type."""
    value, locations = _convert_node(node, annotation)
    faults = {}
    for location in locations:
        failing, expected, where = _locate_failure(node, annotation, path, location)
        faults[where] = _explain_wrong_value(failing, expected, where)
    return value, list(faults.values())


def _convert_node(node: Node, annotation: Any) -> tuple[Any, list[tuple[int | str, ...]]]:
    """The node as a value of its option's type, and where it breaks that type, as `validate_value` gives them.

    Where text is expected, a scalar without quotes is its own text: `no`, `1.10` and `1e-3` stay as written. A union
    is read as the first member that takes the node, text last.
    """
    core, metadata = split_annotated(annotation)
    if isinstance(node, ScalarNode) and node.value == AUTO and allows_auto(annotation):
        return AUTO, []
    if not is_union(core):
        return validate_value(_read_plain(node, annotation), annotation)
    if isinstance(node, ScalarNode) and node.value is None and takes_null(annotation):
        return None, []
    readings = []
    for member in sorted(list_members(annotation), key=lambda member: split_annotated(member)[0] is str):
        value, wrong = _convert_node(node, member)
        if not wrong:
            return validate_value(value, annotation) if metadata else (value, [])
        readings.append((value, wrong))
    return readings[0]


def _read_plain(node: Node, annotation: Any) -> Any:
    """The node as plain values, to be checked against `annotation`."""
    core, _ = split_annotated(annotation)
    if is_union(core):
        return _convert_node(node, annotation)[0]
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
        return build_checker(annotation).validate_python(value), list(_find_huge_integers(value))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return value, [each["loc"] for each in problems]


def _find_huge_integers(value: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """Where a value has integers beyond 64 bits, which neither torch nor numpy takes."""
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        yield path
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _find_huge_integers(each, (*path, index))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _find_huge_integers(each, (*path, key))


@functools.cache
def build_checker(annotation: Any) -> Any:
    """Pydantic's checker of a type: strict, so that no text becomes a number and no bool an integer."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def to_plain(value: Any) -> Any:
    """Options and defaults as plain dicts, lists and scalars; a registered function without options is its name."""
    if isinstance(value, Choice):
        return value.resolved() if value.options else value.name
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in value.items()}
    return [to_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _locate_failure(node: Node, annotation: Any, path: str, location: Sequence[int | str]) -> tuple[Node, Any, str]:
    """The innermost node of a complaint's location, its type and its path; a union of several types is not entered."""
    for step in location:
        members = list_members(annotation)
        if len(members) > 1:
            break
        if isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node, annotation, path = node.items[step], get_element_type(members[0], step), f"{path}[{step}]"
        elif isinstance(node, MappingNode) and isinstance(step, str) and step in node.entries:
            node, annotation, path = node.entries[step].node, get_element_type(members[0], 0), f"{path}.{step}"
        else:
            break
    return node, annotation, path


def _explain_wrong_value(node: Node, annotation: Any, path: str) -> Fault:
    members = list_members(annotation)
    core = split_annotated(members[0])[0]
    if len(members) == 1 and get_origin(core) is Literal and isinstance(node, ScalarNode):
        choices = [str(each) for each in get_args(core)] + ["null"] * takes_null(annotation)
        message = f"{path} cannot be {describe_node(node)}{_suggest_value(node, annotation)}"
        return Fault(node.place, message, join_names(choices), find_nearest(node.text, choices))
    expected = add_article(describe_type(annotation))
    message = f"{path} must be {expected}, found {describe_node(node)}{_suggest_value(node, annotation)}"
    return Fault(node.place, message)


def _suggest_value(node: Node, annotation: Any) -> str:
    """What probably went wrong in writing the value, in brackets; nothing if that is unclear."""
    if isinstance(node, ListNode):
        return f" of {len(node.items)}" if node.items else ""
    if isinstance(node, MappingNode) and find_listed_named(annotation) is not None:
        return " (begin each item with '- ')"
    if not isinstance(node, ScalarNode):
        return ""
    expected = {split_annotated(member)[0] for member in list_members(annotation) if not is_union(member)}
    text = node.text
    if isinstance(node.value, int) and abs(node.value) > LARGEST_INTEGER:
        return f" (the largest integer is {LARGEST_INTEGER}, which 64 bits hold)"
    if isinstance(node.value, float) and expected & {int, float}:
        if node.value - node.value != 0:
            return " (it is not finite)"
        if expected == {int} and node.value.is_integer() and abs(node.value) < 1e15:
            return f" (write {int(node.value)})"
    if isinstance(node.value, str) and expected & {int, float}:
        if re.fullmatch(r"[-+]?0[0-9]+", text):
            return f" (the leading zero makes it text: write {int(text)})"
        if not node.plain and isinstance(resolve_scalar(text), (int, float)) and node.place.line:
            return " (the quotes make it text)"
    if not _convert_node(ListNode(node.place, (node,)), annotation)[1]:
        return f" (write [{text}])"
    if bool in expected and text.lower() in ("yes", "on", "no", "off"):
        return f" (write {'true' if text.lower() in ('yes', 'on') else 'false'})"
    return ""


def read_named(node: Node, choices: Named, title: str, faults: list[Fault]) -> tuple[str, MappingNode] | None:
    """The name that a node chooses and the options that it gives; None after a fault.

    `title` is what messages call it, such as "layer 3".
    """
    if isinstance(node, ScalarNode) and node.value is not None:
        name, place, value = node.text, node.place, None
    elif isinstance(node, MappingNode) and len(node.entries) == 1:
        ((name, pair),) = node.entries.items()
        place, value = pair.key_place, pair.node
    else:
        faults.append(Fault(node.place, _explain_form(node, choices, title)))
        return None
    group = choices.groups.get(name)
    if group is None and name in choices.absent:
        faults.append(Fault(place, f"{title}: '{name}' is not a {choices.noun}: {choices.absent[name]}"))
        return None
    if group is None:
        allowed, near = join_names(list(choices.groups)), find_nearest(name, choices.groups)
        faults.append(Fault(place, f"{title}: '{name}' is not a {choices.noun}", allowed, near))
        return None
    if value is None or (isinstance(value, ScalarNode) and value.value is None):
        return name, MappingNode(place)
    if isinstance(value, MappingNode):
        return name, MappingNode(place, value.entries)
    options = list_options(group)
    if not options:
        faults.append(Fault(value.place, f"{title} ({name}) has no options, found {describe_node(value)}"))
        return None
    return name, MappingNode(place, {options[0].name: Pair(value.place, value)})


def _explain_form(node: Node, choices: Named, title: str) -> str:
    expected = f"{title} must be the name of a {choices.noun}, or a mapping of that one name to its options"
    if not isinstance(node, MappingNode) or not node.entries:
        return f"{expected}, found {'nothing' if isinstance(node, ScalarNode) else describe_node(node)}"
    names = list(node.entries)
    if "name" in names:
        name = _get_node_text(node.entries["name"].node)
        return f"{expected}, found the keys {join_names(names)}; without 'name': {{{name}: ...}}"
    more = "; indent the options further than the name" if names[0] in choices.groups else ""
    return f"{expected}, found the keys {join_names(names)}{more}"


def _get_node_text(node: Node) -> str:
    return node.text if isinstance(node, ScalarNode) else "..."


def unfold_choice(node: Node, options: Sequence[Option]) -> Node:
    """A node that names a registered function as a mapping with `name`, where it gives the options below the name.

    `options` are the function's, the first of which may be given without its own name.
    """
    if not isinstance(node, MappingNode) or len(node.entries) != 1 or "name" in node.entries:
        return node
    ((name, pair),) = node.entries.items()
    given = {"name": Pair(pair.key_place, ScalarNode(pair.key_place, name, True, name))}
    if isinstance(pair.node, MappingNode):
        given |= pair.node.entries
    elif options and not (isinstance(pair.node, ScalarNode) and pair.node.value is None):
        given[options[0].name] = Pair(pair.node.place, pair.node)
    return MappingNode(node.place, given)


def locate_within(node: Node, path: Sequence[Any]) -> tuple[Place, str]:
    """The place of the options' value at a path of keys and indices, and its text.

    The innermost one that is written there: the path counts every name, the node may have short forms.
    """
    for step in path:
        if isinstance(node, MappingNode) and step in node.entries:
            node = node.entries[step].node
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
    return node.place, _get_node_text(node)


def find_misfits(
    node: Node, model: Entry, sizes: Mapping[str, int | None], options: Mapping[str, Any]
) -> Iterator[Fault]:
    """What a model's own check finds in its options, with the places in `node`, the model's section.

    Its fact `check` is a function `faults(sizes, **options)`, or the name of a module of dltrain without torch that has
    one. It gives `dltrain.architecture.plan.Misfit`s; a size is None where it depends on the data. A model without this
    fact has no faults.
    """
    check = model.facts.get("check")
    if check is None:
        return
    for misfit in (check if callable(check) else import_module(check).faults)(sizes, **options):
        place, text = locate_within(node, misfit.path or ("name",))
        allowed = None if misfit.allowed is None else join_names(misfit.allowed)
        near = find_nearest(text, misfit.allowed) if misfit.near and misfit.allowed else None
        yield Fault(place, misfit.message, allowed, near)
