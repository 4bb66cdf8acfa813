"""A tree against the catalogue: every section and option checked, every fault with its place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from dltrain.config.annotations import (
    REQUIRED,
    Option,
    describe_type,
    find_group,
    find_listed_named,
    find_listed_registered,
    find_registered,
    list_options,
    takes_null,
)
from dltrain.config.catalogue import Catalogue, Entry
from dltrain.config.compose import expand_choice
from dltrain.config.document import ListNode, MappingNode, Node, ScalarNode, build_tree, describe_node, get_source
from dltrain.config.faults import Fault, Place, find_nearest, join_names
from dltrain.config.paths import Base, locate_paths
from dltrain.config.sections import CHOICES, DECIDING, GROUPS, METRICS, NAMES, SETTINGS, Section
from dltrain.config.values import FunctionChoice, find_misfits, read_named, read_value, unfold_choice
from dltrain.goal import get_current_name
from dltrain.options import Named, Registered
from dltrain.registry import REGISTRIES, list_taken

DEFAULT = "default"
"""The origin of a value that nobody set."""


class Check:
    """One check of one tree. `faults` and `origins` (dotted path to where a value comes from) fill as it goes."""

    def __init__(self, tree: MappingNode, catalogue: Catalogue, faults: list[Fault]) -> None:
        self.tree, self.catalogue, self.faults = tree, catalogue, faults
        self.origins: dict[str, str] = {}
        self.places: dict[str, Any] = {}
        """Where the paths of a section's options are, by dotted path."""
        self.folders: set[str] = set()
        self.warnings: list[str] = []
        self.chosen: dict[str, Entry] = {}
        self.numbers: list[int] = []
        """Where the check is within lists of things chosen by name, each counted from 1."""

    def _fault(
        self, place: Place, message: str, allowed: str | Sequence[str] | None = None, word: str | None = None
    ) -> None:
        """Add a fault. Of the names in `allowed` the report suggests the nearest to `word`."""
        nearest = None if allowed is None or word is None else find_nearest(word, allowed)
        if allowed is not None and not isinstance(allowed, str):
            allowed = join_names(allowed)
        self.faults.append(Fault(place, message, allowed, nearest))

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
        if section.kind:
            return self._choice(section.name, node, self.chosen.get(section.name))
        pair = self.tree.entries.get(section.name)
        if section.group is not None:
            given = MappingNode(self.tree.place) if pair is None else pair.node
            return self._group(given, section.group, section.name, f"the {section.name} section")
        assert section.option is not None
        self.origins[section.name] = DEFAULT if pair is None else str(pair.node.place)
        option = section.option
        return option.default if pair is None else self._value(pair.node, option.annotation, section.name)

    def _unknown_sections(self) -> None:
        for key, pair in self.tree.entries.items():
            if key not in (each.name for each in SETTINGS):
                self._refuse_key(key, pair.key_place, problem="not a section of a config", path="", names=NAMES)

    def _choice_node(self, section: Section) -> MappingNode | None:
        """The section as a mapping, its entry noted in `chosen`; None where it is absent or at fault."""
        pair = self.tree.entries.get(section.name)
        if pair is None and not section.default:
            top = Place(self.tree.place.source, *((1, 1) if self.tree.place.line else (0, 0)))
            self._fault(top, f"the section '{section.name}' is missing", self.catalogue.names(section.kind))
            return None
        return self._choose(section, section.name, MappingNode(self.tree.place) if pair is None else pair.node)

    def _choose(
        self, section: Section, path: str, node: Node, names: Sequence[str] | None = None
    ) -> MappingNode | None:
        """A node that names a registered thing, as a mapping, the entry noted in `chosen`; None after a fault.

        `names` are those that are allowed, if not all of the kind.
        """
        node, names = expand_choice(node), self.catalogue.names(section.kind) if names is None else names
        if not isinstance(node, MappingNode):
            message = f"{path} must be a name, or a mapping with a name and options, found {describe_node(node)}"
            self._fault(node.place, message, names)
            return None
        named = node.entries.get("name")
        if named is None and (section.several or not section.default):
            self._fault(node.place, f"{path}.name is missing", names)
            return None
        self.origins[f"{path}.name"] = DEFAULT if named is None else str(named.node.place)
        name = build_tree(section.default[0], node.place.source) if named is None else named.node
        if not isinstance(name, ScalarNode) or name.value is None:
            self._fault(name.place, f"{path}.name must be a name, found {describe_node(name)}", names)
        elif (entry := self.catalogue.find(section.kind, name.text)) is None:
            nearest, allowed = find_nearest(name.text, names), join_names(names)
            message = f"{section.kind} '{name.text}' is not known"
            held = self.catalogue.find_value(section.kind, name.text)
            if held is not None:
                holder, option = held
                message += f", but {holder.name} has it as {option.name}"
                nearest = f"{section.name}: {{name: {holder.name}, {option.name}: {name.text}}}"
            if any(fault.cause for fault in self.faults):
                allowed = f"{allowed}; a plug-in with a fault, reported above, may register it"
            elif nearest is None:
                allowed = f"{allowed}; or what a file listed under plugins: registers"
            self.faults.append(Fault(name.place, message, allowed, nearest))
        else:
            self.chosen[path] = entry
        return node

    def _list(self, section: Section) -> list[tuple[str, dict[str, Any]] | None]:
        """The (name, options) of each item of a section that is a list."""
        pair, origins = self.tree.entries.get(section.name), self.origins
        origins[section.name] = DEFAULT if pair is None else str(pair.node.place)
        node = build_tree(section.default, self.tree.place.source) if pair is None else pair.node
        if not isinstance(node, ListNode):
            message = f"{section.name} must be a list of names, or of mappings with a name and options"
            names = self.catalogue.names(section.kind)
            self._fault(node.place, f"{message}, found {describe_node(node)}", names)
            return []
        self.origins = {}  # the list has one origin, as a whole
        items = []
        for index, item in enumerate(node.items):
            path = f"{section.name}[{index}]"
            given = self._choose(section, path, item)
            items.append(self._choice(path, given, self.chosen.get(path)))
        self.origins = origins
        return items

    def _choice(self, path: str, node: MappingNode | None, entry: Entry | None) -> tuple[str, dict[str, Any]] | None:
        if node is None or entry is None:
            return None
        given = MappingNode(node.place, {key: pair for key, pair in node.entries.items() if key != "name"})
        options = self._extend_goal(entry, given) if entry.kind == "task" else entry.options
        return entry.name, self._options(given, options, path, f"{entry.kind} '{entry.name}'")

    def _extend_goal(self, task: Entry, node: MappingNode) -> Sequence[Option]:
        """The options of a task, whose goal may also be a metric chosen beside its own, or go by a former name."""
        pair, own = node.entries.get(METRICS), tuple(task.facts.get("metrics", ()))
        listed = pair.node.items if pair is not None and isinstance(pair.node, ListNode) else ()
        items = (expand_choice(unfold_choice(item, ())) for item in listed)
        named = [item.entries.get("name") for item in items if isinstance(item, MappingNode)]
        more = [each.node.text for each in named if each is not None and isinstance(each.node, ScalarNode)]
        chosen = node.entries.get(DECIDING)
        if own and chosen is not None and isinstance(chosen.node, ScalarNode):
            former = chosen.node.text
            more += [former] if get_current_name(former, own) != former else []
        if not own or not more:
            return task.options
        allowed = (*own, *more)
        goal: Any = Literal[allowed] | None
        return [replace(each, annotation=goal) if each.name == DECIDING else each for each in task.options]

    def _fit_together(self) -> None:
        """Whether the data and the model are of the task's kind."""
        task, data, model = (self.chosen.get(section) for section in ("task", "data", "model"))
        if task is None:
            return
        if data is not None and data.facts["data"] != task.facts["data"]:
            holds, takes = data.facts["data"], task.facts["data"]
            fitting = [each.name for each in self.catalogue.of("dataset") if each.facts["data"] == takes]
            message = f"dataset '{data.name}' holds {holds}, but task '{task.name}' takes {takes}"
            self._fault(self._name_place("data"), message, fitting)
        sizes = tuple(task.facts["sizes"])
        if model is not None and not model.takes(sizes):
            lacking = join_names([each for each in model.provided if each not in sizes])
            fitting = [each.name for each in self.catalogue.of("model") if each.takes(sizes)]
            message = f"model '{model.name}' needs {lacking}, but task '{task.name}' provides {join_names(sizes)}"
            self._fault(self._name_place("model"), message, fitting)

    def _check_model(self, checked: Mapping[str, Mapping[str, Any]]) -> None:
        """What a model's own check finds in its options, checked one by one before."""
        model, task, options = self.chosen.get("model"), self.chosen.get("task"), checked.get("model")
        if model is None or task is None or options is None:
            return
        sizes = self._sizes(task, checked.get("data"))
        self.faults += find_misfits(expand_choice(self.tree.entries["model"].node), model, sizes, options)

    def _sizes(self, task: Entry, options: Mapping[str, Any] | None) -> dict[str, int | None]:
        """The task's sizes as far as the dataset's fact `sizes` gives them: a number, or the name of its own option."""
        stated = self.chosen["data"].facts.get("sizes", {}) if "data" in self.chosen else {}
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
                problem = f"not an option of {owner}"
                self._refuse_key(key, pair.key_place, problem=problem, path=path, names=names)
        before, values = len(self.faults), {}
        for option in options:
            inner = f"{path}.{option.name}"
            given = node.entries.get(option.name)
            if given is not None:
                self.origins[inner] = str(given.node.place)
                values[option.name] = self._value(given.node, option.annotation, inner)
            elif option.default is REQUIRED:
                message = f"{owner} needs the option '{option.name}': {describe_type(option.annotation)}"
                self._fault(node.place, message)
            else:
                values[option.name] = self._default(option)
                self._note_defaults(option, inner)
        if path in (*CHOICES, *GROUPS) and len(self.faults) == before:
            return self._locate(node, options, path, values)
        return values

    def _locate(
        self, node: MappingNode, options: Sequence[Option], path: str, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The options of a section, where their paths are noted in `places`."""
        working = Base(Path.cwd())
        bases = {name: get_source(pair.node).base or working for name, pair in node.entries.items()}
        default = self.tree.place.source.base or working
        located = locate_paths(path, options, values, bases=bases, default=default)
        self.places |= {f"{path}.{name}": place for name, place in located.places.items()}
        self.folders |= {f"{path}.{name}" for name in located.folders}
        self.warnings += located.warnings
        return dict(located.values)

    def _default(self, option: Option) -> Any:
        """The value of an option that is not given; of a registered function with its own options."""
        registered = find_registered(option.annotation)
        entry = None if registered is None else self.catalogue.find(registered.kind, str(option.default))
        if registered is None or entry is None:
            return copy.deepcopy(option.default)
        return FunctionChoice(entry.name, {each.name: self._default(each) for each in entry.options}, registered.kind)

    def _note_defaults(self, option: Option, path: str) -> None:
        self.origins[path] = DEFAULT
        grouped = find_group(option.annotation)
        if grouped is not None and option.default is not None:
            for each in list_options(grouped):
                self._note_defaults(each, f"{path}.{each.name}")

    def _refuse_key(self, key: str, place: Place, *, problem: str, path: str, names: Sequence[str]) -> None:
        """Report an unknown key, and where it does belong or the nearest known one."""
        message, nearest = f"'{key}' is {problem}", find_nearest(key, names)
        homes = [name for name in (*GROUPS, *CHOICES) if name != path and key in self._known_options(name)]
        if key in NAMES and path:
            message = f"{message}; '{key}' is a section of its own, at the left margin"
        elif homes:
            message = f"{message}; '{key}' belongs to '{homes[0]}'"
        elif nearest is not None:
            self.faults.append(Fault(place, message, join_names(names), nearest))
            return
        elif path in CHOICES:
            entries = self.catalogue.of(CHOICES[path].kind)
            others = [each.name for each in entries if any(option.name == key for option in each.options)]
            message += f"; it is one of {join_names(others)}" if others else ""
            nearest = None if others else self._find_path(key)
        else:
            nearest = self._find_path(key)
        self.faults.append(Fault(place, message, join_names(names), nearest))

    def _find_path(self, key: str) -> str | None:
        """The path of the option that is nearest to `key`, in any section."""
        paths = {name: f"{home}.{name}" for home in (*CHOICES, *GROUPS) for name in self._known_options(home)}
        near = find_nearest(key, paths)
        return None if near is None else paths[near]

    def _known_options(self, section: str) -> list[str]:
        if section in GROUPS:
            return [each.name for each in fields(GROUPS[section])]
        return [option.name for option in self.chosen[section].options] if section in self.chosen else []

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
        if (registered := find_registered(annotation)) is not None:
            return self._function(node, registered, path)
        is_null = isinstance(node, ScalarNode) and node.value is None
        if (registered := find_listed_registered(annotation)) is not None and not is_null:
            return self._functions(node, registered, path)
        value, faults = read_value(node, annotation, path)
        self.faults += faults
        return None if faults else value

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

    def _functions(self, node: Node, registered: Registered, path: str) -> list[FunctionChoice]:
        """A list of registered functions, without those that are at fault; each may be there once."""
        if not isinstance(node, ListNode):
            plural = REGISTRIES[registered.kind].plural
            message = f"{path} must be a list of {plural}, found {describe_node(node)}"
            self._fault(node.place, message, self._fitting(registered))
            return []
        chosen: list[FunctionChoice] = []
        for index, item in enumerate(node.items):
            one = self._function(item, registered, f"{path}[{index}]")
            if one is not None and one.name in [each.name for each in chosen]:
                self._fault(item.place, f"{path} lists {registered.kind} '{one.name}' twice")
            elif one is not None:
                chosen.append(one)
        return chosen

    def _function(self, node: Node, registered: Registered, path: str) -> FunctionChoice | None:
        """The registered function that a node chooses, with its options; None after a fault."""
        node = self._drop_replaced(node, registered.kind)
        name = next(iter(node.entries), "") if isinstance(node, MappingNode) else ""
        known = self.catalogue.find(registered.kind, name)
        node = unfold_choice(node, () if known is None else known.options)
        if path.startswith(f"task.{METRICS}") and (reported := self._find_reported(node)) is not None:
            task = self.chosen["task"].name
            self._fault(node.place, f"task '{task}' reports {reported} already; leave it out here")
            return None
        origins, self.origins = self.origins, {}  # the option has one: where it begins
        given = self._choose(
            Section(name=path, kind=registered.kind, several=True), path, node, self._fitting(registered)
        )
        entry = self.chosen.pop(path, None)
        if entry is not None and registered.takes not in (None, *list_taken(entry.facts)):
            takes = " and ".join(list_taken(entry.facts))
            message = f"{entry.kind} '{entry.name}' takes {takes}, but {path} needs one of {registered.takes}"
            self._fault(node.place, message, self._fitting(registered))
            entry = None
        choice = self._choice(path, given, entry)
        self.origins = origins
        return None if choice is None else FunctionChoice(*choice, registered.kind)

    def _drop_replaced(self, node: Node, kind: str) -> Node:
        """A mapping that names a function twice, since `--set` or a child's file is merged with another: the later."""
        if not isinstance(node, MappingNode):
            return node
        choosers = [key for key in node.entries if key == "name" or self.catalogue.find(kind, key) is not None]
        sources = {node.entries[key].key_place.source for key in choosers}
        if len(sources) < 2:
            return node
        kept = node.entries if choosers[-1] == "name" else {choosers[-1]: node.entries[choosers[-1]]}
        return MappingNode(node.place, {key: pair for key, pair in kept.items() if key not in choosers[:-1]})

    def _fitting(self, registered: Registered) -> list[str]:
        """The names of the functions that an option may choose from."""
        entries = self.catalogue.of(registered.kind)
        return [each.name for each in entries if registered.takes in (None, *list_taken(each.facts))]

    def _find_reported(self, node: Node) -> str | None:
        """The metric that a node names, where the task reports it anyway."""
        given = expand_choice(node)
        pair = given.entries.get("name") if isinstance(given, MappingNode) else None
        name = pair.node.text if pair is not None and isinstance(pair.node, ScalarNode) else None
        return name if "task" in self.chosen and name in self.chosen["task"].facts.get("metrics", ()) else None

    def _group(self, node: Node, grouped: type, path: str, owner: str) -> Any:
        """The dataclass of an option group; None after a fault."""
        options = list_options(grouped)
        if not isinstance(node, MappingNode):
            message = f"{path} must be a mapping of options, found {describe_node(node)}"
            self._fault(node.place, message, [option.name for option in options])
            return None
        before = len(self.faults)
        values = self._options(node, options, path, owner)
        if len(self.faults) > before:
            return None
        try:
            return grouped(**values)
        except ValueError as error:
            self._fault(node.place, f"{path}: {error}")
            return None
