"""Groups of options that are chosen by name, as they are written in YAML, and the places within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dltrain.architecture.named import Named
from dltrain.config.annotations import group_options
from dltrain.config.document import ListNode, MappingNode, Node, Pair, ScalarNode, found
from dltrain.config.faults import Fault, Place, listed, nearest


def written(node: Node, choices: Named, title: str, faults: list[Fault]) -> tuple[str, MappingNode] | None:
    """The name that a node chooses and the options that it gives; None after a fault.

    `title` is what messages call it, such as "layer 3".
    """
    if isinstance(node, ScalarNode) and node.value is not None:
        name, place, value = node.text, node.place, None
    elif isinstance(node, MappingNode) and len(node.entries) == 1:
        ((name, pair),) = node.entries.items()
        place, value = pair.key_place, pair.node
    else:
        faults.append(Fault(node.place, _unreadable(node, choices, title)))
        return None
    group = choices.groups.get(name)
    if group is None and name in choices.absent:
        faults.append(Fault(place, f"{title}: '{name}' is not a {choices.noun}: {choices.absent[name]}"))
        return None
    if group is None:
        allowed, near = listed(list(choices.groups)), nearest(name, choices.groups)
        faults.append(Fault(place, f"{title}: '{name}' is not a {choices.noun}", allowed, near))
        return None
    if value is None or (isinstance(value, ScalarNode) and value.value is None):
        return name, MappingNode(place)
    if isinstance(value, MappingNode):
        return name, MappingNode(place, value.entries)
    options = group_options(group)
    if not options:
        faults.append(Fault(value.place, f"{title} ({name}) has no options, found {found(value)}"))
        return None
    return name, MappingNode(place, {options[0].name: Pair(value.place, value)})


def _unreadable(node: Node, choices: Named, title: str) -> str:
    wanted = f"{title} must be the name of a {choices.noun}, or a mapping of that one name to its options"
    if not isinstance(node, MappingNode) or not node.entries:
        return f"{wanted}, found {'nothing' if isinstance(node, ScalarNode) else found(node)}"
    names = list(node.entries)
    if "name" in names:
        return f"{wanted}, found the keys {listed(names)}; without 'name': {{{_text(node.entries['name'].node)}: ...}}"
    more = "; indent the options further than the name" if names[0] in choices.groups else ""
    return f"{wanted}, found the keys {listed(names)}{more}"


def _text(node: Node) -> str:
    return node.text if isinstance(node, ScalarNode) else "..."


def place_within(node: Node, path: Sequence[Any]) -> tuple[Place, str]:
    """The place of the options' value at a path of keys and indices, and its text.

    The innermost one that is written there: the path counts every name, the node may have short forms.
    """
    for step in path:
        if isinstance(node, MappingNode) and step in node.entries:
            node = node.entries[step].node
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
    return node.place, _text(node)
