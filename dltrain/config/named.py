"""Groups of options that are chosen by name, as they are written in YAML, and the places within them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from dltrain.config.annotations import list_options
from dltrain.config.catalogue import Entry
from dltrain.config.document import ListNode, MappingNode, Node, Pair, ScalarNode, describe_node
from dltrain.config.faults import Fault, Place, find_nearest, join_names
from dltrain.options import Named


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
