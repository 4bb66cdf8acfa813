"""One tree out of a file, the files that it extends, the ``--set`` flags and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dltrain.config.document import (
    ListNode,
    MappingNode,
    Node,
    Pair,
    ScalarNode,
    build_tree,
    clip_text,
    describe_node,
    parse_document,
    read_document,
    resolve_scalar,
)
from dltrain.config.faults import Fault, Place, Refused, SourceText, find_nearest
from dltrain.config.paths import Base
from dltrain.config.sections import CHOICES
from dltrain.config.shipped import find_shipped

FLAG = "--set"


@dataclass(frozen=True)
class Plugin:
    """A plug-in file, as the config called it, and where it did."""

    path: Path
    shown: str
    place: Place


@dataclass(frozen=True)
class Composed:
    tree: MappingNode
    plugins: tuple[Plugin, ...]


Written = Path | Mapping[str, Any]
"""A config: its file, or its sections as a Python program has them."""
GIVEN = "the config given"
SETTINGS = "the settings given"


def compose(
    path: Written, overrides: Sequence[str | Mapping[str, Any]], faults: list[Fault], chosen: Sequence[str] = ()
) -> Composed | None:
    """The tree of `path` with all that it extends and all `overrides`; None where one of these files cannot be read.

    Each override is ``a.b=VALUE``, or a tree of values. Paths in them are relative to the working directory; those in
    `chosen`, overrides whose values the config itself lists, to the config. Faults are added to `faults`.
    """
    chain = _read_chain(path, faults)
    if chain is None:
        return None
    plugins: list[Plugin] = []
    tree = MappingNode(chain[0][1].place)
    for shown, document in reversed(chain):
        taken, document = take_plugins(document, Path(shown).parent, faults)
        plugins += taken
        tree = merge_trees(tree, document)
    tree = replace(tree, place=chain[0][1].place)
    flags = MappingNode(tree.place)
    working = Base(Path.cwd())
    given: list[tuple[str | Mapping[str, Any], Base]] = [(each, working) for each in overrides]
    given += [(text, tree.place.source.base or working) for text in chosen]
    for rank, (text, base) in enumerate(given):
        if isinstance(text, str):
            flag = _parse_override(text, rank, base, faults)
        else:
            flag = _build_document(text, SourceText(SETTINGS, rank=1000 + rank, positions=False, base=base))
        if flag is not None:
            taken, flag = take_plugins(flag, Path(), faults)
            plugins += taken
            flags = merge_trees(flags, flag)
    tree = replace(merge_trees(tree, flags), place=tree.place)
    expanded = _substitute(tree, faults)
    assert isinstance(expanded, MappingNode)
    return Composed(expanded, _drop_repeated(plugins, faults))


def _drop_repeated(plugins: Sequence[Plugin], faults: list[Fault]) -> tuple[Plugin, ...]:
    """Each plug-in once. Two files of one name are a fault: a run directory keeps its plug-ins side by side."""
    by_name: dict[str, Plugin] = {}
    for plugin in plugins:
        first = by_name.setdefault(plugin.path.name, plugin)
        if first.path != plugin.path:
            message = f"two plug-ins are called {plugin.path.name}: this and '{first.shown}'; rename one"
            faults.append(Fault(plugin.place, message))
    return tuple(by_name.values())


def _build_document(tree: Mapping[str, Any], source: SourceText) -> MappingNode:
    node = build_tree(tree, source)
    assert isinstance(node, MappingNode)
    return node


def _read_chain(path: Written, faults: list[Fault]) -> list[tuple[str, MappingNode]] | None:
    """The file's tree, then its parent's, and so on, each without its `extends` and with its name in messages.

    None where one of them is at fault: whatever it was to hold would be reported as missing.
    """
    chain: list[tuple[str, MappingNode]] = []
    shown, asked_at = (GIVEN if isinstance(path, Mapping) else str(path)), None
    seen: dict[Path, str] = {}
    while True:
        seen[Path(shown).resolve()] = shown
        document: MappingNode | None
        if isinstance(path, Mapping) and not chain:
            document = _build_document(path, SourceText(GIVEN, positions=False, base=Base(Path.cwd())))
        else:
            document = read_document(Path(shown), shown, len(chain), faults, asked_at=asked_at)
        if document is None:
            return None
        entries = dict(document.entries)
        parent = entries.pop("extends", None)
        chain.append((shown, replace(document, entries=entries)))
        if parent is None:
            return chain
        named = _read_file_name(parent.node, "extends", faults)
        if named is None:
            return None
        beside = Path(os.path.normpath(Path(shown).parent / named))
        shown, asked_at = str(beside if beside.is_file() else find_shipped(named) or beside), parent.node.place
        if Path(shown).resolve() in seen:
            circle = " -> ".join([*seen.values(), shown])
            faults.append(Fault(asked_at, f"the files extend each other in a circle: {circle}"))
            return None


def _read_file_name(node: Node, key: str, faults: list[Fault], references: bool = True) -> str | None:
    node = _substitute(node, faults) if references else node
    if isinstance(node, ScalarNode) and node.value is not None and node.text.strip():
        return node.text
    faults.append(Fault(node.place, f"{key} must name a file, found {describe_node(node)}"))
    return None


def take_plugins(
    tree: MappingNode, folder: Path, faults: list[Fault], references: bool = True
) -> tuple[list[Plugin], MappingNode]:
    """The plug-ins that one source names, relative to `folder`, and its tree without them.

    With `references`, ``${env:NAME}`` is replaced in them.
    """
    entries = dict(tree.entries)
    pair = entries.pop("plugins", None)
    if pair is None:
        return [], tree
    plugins: list[Plugin] = []
    if not isinstance(pair.node, ListNode):
        faults.append(Fault(pair.node.place, f"plugins must be a list of file names, found {describe_node(pair.node)}"))
    else:
        for item in pair.node.items:
            named = _read_file_name(item, "a plug-in", faults, references)
            if named is not None and not named.endswith(".py"):
                faults.append(Fault(item.place, f"a plug-in is a .py file, found '{clip_text(named)}'"))
            elif named is not None:
                shown = os.path.normpath(folder / named)
                plugins.append(Plugin(Path(shown).absolute(), shown, item.place))
    return plugins, replace(tree, entries=entries)


def expand_choice(node: Node) -> Node:
    """A choice's shorthand ``model: lenet`` as the mapping ``{name: lenet}``; any other node as it is."""
    if isinstance(node, ScalarNode) and node.value is not None:
        return MappingNode(node.place, {"name": Pair(node.place, node)})
    return node


def expand_address(tree: MappingNode) -> MappingNode:
    """`weights.init_from: {url: ADDRESS, sha256: HASH}` as the text ADDRESS#sha256=HASH; any other tree as it is."""
    section = tree.entries.get("weights")
    if section is None or not isinstance(section.node, MappingNode) or "init_from" not in section.node.entries:
        return tree
    given = section.node.entries["init_from"]
    parts = given.node.entries if isinstance(given.node, MappingNode) else {}
    url, digest = (parts[name].node if name in parts else None for name in ("url", "sha256"))
    if len(parts) != 2 or not isinstance(url, ScalarNode) or not isinstance(digest, ScalarNode):
        return tree
    text = f"{url.text}#sha256={digest.text}"
    expanded = replace(given, node=ScalarNode(url.place, text, plain=False, value=text))
    node = replace(section.node, entries={**section.node.entries, "init_from": expanded})
    return replace(tree, entries={**tree.entries, "weights": replace(section, node=node)})


def merge_trees(parent: MappingNode, child: MappingNode, top: bool = True) -> MappingNode:
    """`child` over `parent`: mappings merge key by key, anything else is replaced.

    A section that chooses another name than its parent's replaces it, since the options of the one mean nothing to
    the other.
    """
    entries = dict(parent.entries)
    for key, pair in child.entries.items():
        above = entries.get(key)
        old, new = (None if above is None else above.node), pair.node
        if top and key in CHOICES:
            old, new = (None if old is None else expand_choice(old)), expand_choice(new)
        if (
            isinstance(old, MappingNode)
            and isinstance(new, MappingNode)
            and not (top and _chooses_another(key, old, new))
        ):
            new = merge_trees(old, new, top=False)
        entries[key] = Pair(pair.key_place, new)
    return MappingNode(child.place, entries)


def _chooses_another(key: str, old: MappingNode, new: MappingNode) -> bool:
    if key not in CHOICES or "name" not in new.entries:
        return False
    before, after = (each.entries.get("name") for each in (old, new))
    if before is None or after is None:
        return False
    return _get_text(before.node) != _get_text(after.node)


def _get_text(node: Node) -> str | None:
    return node.text if isinstance(node, ScalarNode) else None


def _parse_override(flag: str, rank: int, base: Base, faults: list[Fault]) -> MappingNode | None:
    """The tree of one ``--set`` flag; None where it is at fault."""
    shown = f"{FLAG} {flag}"
    source = SourceText(FLAG, tuple(shown.splitlines()), rank=1000 + rank, positions=False, base=base)
    start = Place(source, 1, len(FLAG) + 2)
    path, equals, value = flag.partition("=")
    if not equals:
        message = f"'{clip_text(flag)}' sets nothing; write {FLAG} section.option=VALUE"
        faults.append(Fault(start.shift(len(flag)), message))
        return None
    keys = path.split(".")
    wrong = next((number for number, key in enumerate(keys) if not key or key != key.strip()), None)
    if wrong is not None:
        place = start.shift(sum(len(key) + 1 for key in keys[:wrong]))
        faults.append(Fault(place, f"a name is missing here; write {FLAG} section.option=VALUE"))
        return None
    if keys[0] == "extends":
        faults.append(Fault(start, f"extends belongs in a file, not in {FLAG}"))
        return None
    after = start.shift(len(path) + 1)
    try:
        node = parse_document(value, source, faults, offset=after.column - 1)
    except Refused as refused:
        faults.append(refused.fault)
        return None
    return nest_value(path, start, node or ScalarNode(after, "", True, None))


def nest_value(path: str, place: Place, node: Node) -> MappingNode:
    """A tree with one value at a dotted path, which is written at `place`."""
    key, dot, rest = path.partition(".")
    inner = nest_value(rest, place.shift(len(key) + 1), node) if dot else node
    return MappingNode(place, {key: Pair(place, inner)})


_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)\}?")
_ENVIRONMENT = re.compile(r"env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:(?P<default>((?!\$\{).)*))?", re.DOTALL)


def _substitute(node: Node, faults: list[Fault], environment: Mapping[str, str] = os.environ) -> Node:
    """The tree with each ``${env:NAME}`` replaced; what had no quotes is then resolved again."""
    if isinstance(node, ListNode):
        return replace(node, items=tuple(_substitute(item, faults, environment) for item in node.items))
    if isinstance(node, MappingNode):
        nodes = {key: _substitute(pair.node, faults, environment) for key, pair in node.entries.items()}
        return replace(node, entries={key: replace(node.entries[key], node=each) for key, each in nodes.items()})
    if "${" not in node.text:
        return node

    place = node.place

    def value(match: re.Match[str]) -> str:
        nonlocal place
        if match["inside"] is None:
            return "${"
        found, is_default = _look_up_variable(match[0], match["inside"], node.place, faults, environment=environment)
        if not is_default:  # given on the command line, so to say: a path starts from the working directory
            place = replace(place, source=replace(place.source, base=Base(Path.cwd())))
        return found

    text = _REFERENCE.sub(value, node.text)
    return replace(node, place=place, text=text, value=resolve_scalar(text) if node.plain else text)


def _look_up_variable(
    written: str, inside: str, place: Place, faults: list[Fault], environment: Mapping[str, str]
) -> tuple[str, bool]:
    """What a reference stands for, and whether that is its default."""
    reference = _ENVIRONMENT.fullmatch(inside)
    if reference is None or not written.endswith("}"):
        message = f"'{clip_text(written)}' is not a reference; write $${{ for the two characters themselves"
        faults.append(Fault(place, message, "${env:NAME}, ${env:NAME:default}"))
        return written, True
    name, default = reference["name"], reference["default"]
    value = environment.get(name, default)
    if value is None:
        message = f"the environment variable {name} is not set; set it, or write ${{env:{name}:default}}"
        faults.append(Fault(place, message, nearest=find_nearest(name, environment)))
        return written, True
    return value, name not in environment
