"""A tree against the catalogue: every section and option checked, every fault with its place."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from dltrain.config.annotations import (
    REQUIRED,
    Option,
    add_article,
    describe_type,
    find_group,
    find_listed_named,
    get_element_type,
    is_union,
    list_members,
    list_options,
    split_annotated,
    takes_null,
)
from dltrain.config.catalogue import Catalogue, Entry
from dltrain.config.compose import expand_choice
from dltrain.config.document import ListNode, MappingNode, Node, ScalarNode, describe_node, resolve_scalar
from dltrain.config.faults import Fault, Place, find_nearest, join_names
from dltrain.config.named import locate_within, read_named
from dltrain.config.sections import CHOICES, GROUPS, NAMES, SETTINGS, Section
from dltrain.config.values import read_value
from dltrain.options import Named

DEFAULT = "default"
"""The origin of a value that nobody set."""


class Check:
    """One check of one tree. `faults` and `origins` (dotted path to where a value comes from) fill as it goes."""

    def __init__(self, tree: MappingNode, catalogue: Catalogue, faults: list[Fault]) -> None:
        self.tree, self.catalogue, self.faults = tree, catalogue, faults
        self.origins: dict[str, str] = {}
        self.chosen: dict[str, Entry] = {}
        self.numbers: list[int] = []
        """Where the check is within lists of things chosen by name, each counted from 1."""

    def run(self) -> dict[str, Any]:
        """The checked sections: (name, options) of each choice, the seed and the plan; sound without faults only."""
        nodes = {section.name: self._choice_node(section) for section in CHOICES.values()}
        self._unknown_sections()
        checked: dict[str, Any] = {}
        sound = []
        for section in SETTINGS:
            before = len(self.faults)
            checked[section.name] = self._section(section, nodes.get(section.name))
            if section.name in ("data", "model") and len(self.faults) == before:
                sound.append(section.name)
        self._fit_together()
        self._check_model({section: checked[section][1] for section in sound if checked[section]})
        return checked

    def _section(self, section: Section, node: MappingNode | None) -> Any:
        """The checked value of one section; `node` is that of a choice."""
        if section.several:
            return self._list(section)
        if section.kind is not None:
            return self._choice(section.name, node, self.chosen.get(section.name))
        pair = self.tree.entries.get(section.name)
        if section.group is not None:
            given = MappingNode(self.tree.place) if pair is None else pair.node
            return self._group(given, section.group, section.name, f"the {section.name} section")
        assert section.option is not None
        self.origins[section.name] = DEFAULT if pair is None else str(pair.node.place)
        return (
            section.option.default if pair is None else self._value(pair.node, section.option.annotation, section.name)
        )

    def _unknown_sections(self) -> None:
        for key, pair in self.tree.entries.items():
            if key not in (each.name for each in SETTINGS):
                message, near = self._misplaced(key, "not a section of a config", "", NAMES)
                self.faults.append(Fault(pair.key_place, message, join_names(NAMES), near))

    def _choice_node(self, section: Section) -> MappingNode | None:
        """The section as a mapping, its entry noted in `chosen`; None where it is absent or at fault."""
        pair = self.tree.entries.get(section.name)
        if pair is None and not section.default:
            allowed = join_names(self.catalogue.names(str(section.kind)))
            self.faults.append(Fault(self._top(), f"the section '{section.name}' is missing", allowed))
            return None
        node = MappingNode(self.tree.place) if pair is None else pair.node
        return self._named_node(node, section.name, section)

    def _named_node(self, node: Node, path: str, section: Section) -> MappingNode | None:
        """A node that names a registered thing, as a mapping, the entry noted in `chosen`; None after a fault."""
        node, allowed = expand_choice(node), join_names(self.catalogue.names(str(section.kind)))
        if not isinstance(node, MappingNode):
            message = f"{path} must be a name, or a mapping with a name and options, found {describe_node(node)}"
            self.faults.append(Fault(node.place, message, allowed))
            return None
        named = node.entries.get("name")
        if named is not None:
            self.origins[f"{path}.name"] = str(named.node.place)
            self._choose(path, named.node.place, named.node, str(section.kind))
        elif section.default and not section.several:
            self.origins[f"{path}.name"] = DEFAULT
            self._choose(path, node.place, section.default[0], str(section.kind))
        else:
            self.faults.append(Fault(node.place, f"{path}.name is missing", allowed))
            return None
        return node

    def _list(self, section: Section) -> list[tuple[str, dict[str, Any]] | None]:
        """The (name, options) of each item of a section that is a list."""
        pair, origins = self.tree.entries.get(section.name), self.origins
        origins[section.name] = DEFAULT if pair is None else str(pair.node.place)
        self.origins = {}  # the list has one origin, as a whole
        names = (ScalarNode(self.tree.place, name, True, name) for name in section.default)
        node = ListNode(self.tree.place, tuple(names)) if pair is None else pair.node
        items: list[tuple[str, dict[str, Any]] | None] = []
        if not isinstance(node, ListNode):
            message = f"{section.name} must be a list of names, or of mappings with a name and options"
            allowed = join_names(self.catalogue.names(str(section.kind)))
            self.faults.append(Fault(node.place, f"{message}, found {describe_node(node)}", allowed))
        else:
            for index, item in enumerate(node.items):
                path = f"{section.name}[{index}]"
                given = self._named_node(item, path, section)
                items.append(self._choice(path, given, self.chosen.get(path)))
        self.origins = origins
        return items

    def _top(self) -> Place:
        return Place(self.tree.place.source, *((1, 1) if self.tree.place.line else (0, 0)))

    def _choose(self, path: str, place: Place, name: Node | str | None, kind: str) -> None:
        if isinstance(name, ScalarNode) and name.value is not None:
            name = name.text
        if not isinstance(name, str):
            what, names = "null" if name is None else describe_node(name), self.catalogue.names(kind)
            self.faults.append(Fault(place, f"{path}.name must be a name, found {what}", join_names(names)))
            return
        entry = self.catalogue.find(kind, name)
        if entry is None:
            names = self.catalogue.names(kind)
            self.faults.append(
                Fault(place, f"{kind} '{name}' is not known", join_names(names), find_nearest(name, names))
            )
        else:
            self.chosen[path] = entry

    def _choice(self, path: str, node: MappingNode | None, entry: Entry | None) -> tuple[str, dict[str, Any]] | None:
        if node is None or entry is None:
            return None
        given = MappingNode(node.place, {key: pair for key, pair in node.entries.items() if key != "name"})
        return entry.name, self._options(given, entry.options, path, f"{entry.kind} '{entry.name}'")

    def _fit_together(self) -> None:
        """Whether the data and the model are of the task's kind."""
        task = self.chosen.get("task")
        if task is None:
            return
        data, model = self.chosen.get("data"), self.chosen.get("model")
        if data is not None and data.facts["data"] != task.facts["data"]:
            fitting = [each.name for each in self.catalogue.of("dataset") if each.facts["data"] == task.facts["data"]]
            holds, takes = data.facts["data"], task.facts["data"]
            message = f"dataset '{data.name}' holds {holds}, but task '{task.name}' takes {takes}"
            self.faults.append(Fault(self._name_place("data"), message, join_names(fitting)))
        sizes = tuple(task.facts["sizes"])
        if model is not None and not model.takes(sizes):
            lacking = join_names([each for each in model.provided if each not in sizes])
            fitting = [each.name for each in self.catalogue.of("model") if each.takes(sizes)]
            message = f"model '{model.name}' needs {lacking}, but task '{task.name}' provides {join_names(sizes)}"
            self.faults.append(Fault(self._name_place("model"), message, join_names(fitting)))

    def _check_model(self, checked: Mapping[str, Mapping[str, Any]]) -> None:
        """What a model's own check finds in its options, checked one by one before."""
        model, task, options = self.chosen.get("model"), self.chosen.get("task"), checked.get("model")
        if model is None or task is None or options is None:
            return
        sizes = self._sizes(task, checked.get("data"))
        self.faults += find_misfits(expand_choice(self.tree.entries["model"].node), model, sizes, options)

    def _sizes(self, task: Entry, options: Mapping[str, Any] | None) -> dict[str, int | None]:
        """The task's sizes as far as the dataset's fact `sizes` gives them: a number, or the name of its own option."""
        data = self.chosen.get("data")
        stated = {} if data is None else data.facts.get("sizes", {})
        known = {
            size: (options or {}).get(value) if isinstance(value, str) else value for size, value in stated.items()
        }
        return {size: known.get(size) if type(known.get(size)) is int else None for size in task.facts["sizes"]}

    def _name_place(self, section: str) -> Place:
        node = expand_choice(self.tree.entries[section].node)
        assert isinstance(node, MappingNode)
        return node.entries["name"].node.place

    def _options(self, node: MappingNode, options: Sequence[Option], path: str, owner: str) -> dict[str, Any]:
        """The value of each option, defaults included."""
        names = [option.name for option in options]
        for key, pair in node.entries.items():
            if key not in names:
                message, near = self._misplaced(key, f"not an option of {owner}", path, names)
                self.faults.append(Fault(pair.key_place, message, join_names(names), near))
        values = {}
        for option in options:
            inner = f"{path}.{option.name}"
            given = node.entries.get(option.name)
            if given is not None:
                self.origins[inner] = str(given.node.place)
                values[option.name] = self._value(given.node, option.annotation, inner)
            elif option.default is REQUIRED:
                message = f"{owner} needs the option '{option.name}': {describe_type(option.annotation)}"
                self.faults.append(Fault(node.place, message))
            else:
                values[option.name] = copy.deepcopy(option.default)
                self._note_defaults(option, inner)
        return values

    def _note_defaults(self, option: Option, path: str) -> None:
        self.origins[path] = DEFAULT
        grouped = find_group(option.annotation)
        if grouped is not None and option.default is not None:
            for each in list_options(grouped):
                self._note_defaults(each, f"{path}.{each.name}")

    def _misplaced(self, key: str, problem: str, path: str, names: Sequence[str]) -> tuple[str, str | None]:
        """The message for an unknown key, which says where that key does belong, and the nearest known one."""
        message = f"'{key}' is {problem}"
        section = path.partition(".")[0]
        homes = [name for name in (*GROUPS, *CHOICES) if name != path and key in self._known_options(name)]
        if key in NAMES and path:
            return f"{message}; '{key}' is a section of its own, at the left margin", None
        if homes:
            return f"{message}; '{key}' belongs to '{homes[0]}'", None
        near = find_nearest(key, names)
        if near is None and section in CHOICES and path == section:
            entries = self.catalogue.of(str(CHOICES[section].kind))
            others = [each.name for each in entries if any(option.name == key for option in each.options)]
            if others:
                return f"{message}; it is one of {join_names(others)}", None
        return message, near

    def _known_options(self, section: str) -> set[str]:
        if section in GROUPS:
            return {each.name for each in fields(GROUPS[section])}
        entry = self.chosen.get(section)
        return set() if entry is None else {option.name for option in entry.options}

    def _value(self, node: Node, annotation: Any, path: str) -> Any:
        """The checked value; None after a fault."""
        grouped = find_group(annotation)
        if grouped is not None:
            if isinstance(node, ScalarNode) and node.value is None and takes_null(annotation):
                return None
            return self._group(node, grouped, path, path)
        choices = find_listed_named(annotation)
        if choices is not None and isinstance(node, ListNode) and node.items:
            return self._named_items(node, choices)
        value, locations = read_value(node, annotation)
        wrong = {}
        for location in locations:
            failing, expected, where = _locate_failure(node, annotation, path, location)
            wrong[where] = _explain_wrong_value(failing, expected, where)
        self.faults += wrong.values()
        return None if wrong else value

    def _named_items(self, node: ListNode, choices: Named) -> list[Any]:
        """Each item as {name: {option: value, ...}}, every option included, without those that are at fault."""
        values: list[Any] = []
        for number, item in enumerate(node.items, 1):
            self.numbers.append(number)
            title = f"{choices.noun} {'.'.join(map(str, self.numbers))}"
            chosen = read_named(item, choices, title, self.faults)
            if chosen is not None:
                name, given = chosen
                origins, self.origins = self.origins, {}  # the list has one: where it begins
                owner = f"{title} ({name})"
                values.append({name: self._options(given, list_options(choices.groups[name]), owner, owner)})
                self.origins = origins
            self.numbers.pop()
        return values

    def _group(self, node: Node, grouped: type, path: str, owner: str) -> Any:
        """The dataclass of an option group; None after a fault."""
        options = list_options(grouped)
        if not isinstance(node, MappingNode):
            message = f"{path} must be a mapping of options, found {describe_node(node)}"
            self.faults.append(Fault(node.place, message, join_names([option.name for option in options])))
            return None
        before = len(self.faults)
        values = self._options(node, options, path, owner)
        if len(self.faults) > before:
            return None
        try:
            return grouped(**values)
        except ValueError as error:
            self.faults.append(Fault(node.place, f"{path}: {error}"))
            return None


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
    if bool in expected and text.lower() in ("yes", "on", "no", "off"):
        return f" (write {'true' if text.lower() in ('yes', 'on') else 'false'})"
    return ""
