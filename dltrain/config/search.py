"""The `search` section: which options a sweep varies, and over what.

Each value that is named here is put into the config in its turn, and the whole is checked: so it is refused for the
same reasons, and in the same words, as if it stood in its own section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge
from typing_extensions import Doc

from dltrain.config.annotations import REQUIRED, Option, find_group, list_members, list_options, split_annotated
from dltrain.config.catalogue import Catalogue
from dltrain.config.check import Check
from dltrain.config.compose import merge_trees, nest_value
from dltrain.config.document import ListNode, MappingNode, Node, Pair, ScalarNode, describe_node, format_value
from dltrain.config.faults import Fault
from dltrain.config.sections import CHOICES, GROUPS, LISTS
from dltrain.options import NonNegativeInt, PositiveFloat, PositiveInt

SECTION = "search"

_PATHS = Annotated[Any, Doc("mapping of paths to lists of values or ranges")]
SPACE = Option("space", _PATHS, REQUIRED, "the options that are varied.")
SEARCH_OPTIONS = (
    Option(
        "trials",
        PositiveInt | None,
        None,
        "how many trials the sweep is made of; null for all combinations of a grid, and else for 20. No combination is "
        "tried twice, so there are never more trials than combinations.",
    ),
    Option(
        "sampler",
        Literal["tpe", "random", "grid"],
        "tpe",
        "how values are chosen: tpe learns from the trials before (Bergstra et al. 2011, a tree of Parzen estimators; "
        "the first ten are random); grid tries every combination of lists and of ranges with a step, in the order of "
        "the space, the last option changing fastest.",
    ),
    Option(
        "pruner",
        Literal["median", "asha", "none"],
        "median",
        "which trials are stopped early: median stops one whose best validation score so far is worse than the median "
        "of the other trials' at that epoch, once five have ended; asha keeps the best share at each rung (Li et al. "
        "2020, asynchronous successive halving).",
    ),
    Option(
        "reduction",
        Annotated[int, Ge(2)],
        3,
        "of asha: after epochs e, e * reduction, e * reduction^2, ..., with e = warmup_epochs or 1, a trial continues "
        "if its best validation score so far is among the best 1/reduction of all trials up to there.",
    ),
    Option("warmup_epochs", NonNegativeInt, 0, "epochs of a trial before it may be stopped early."),
)
RANGE_OPTIONS = (
    Option("low", float, REQUIRED, "the smallest value."),
    Option("high", float, REQUIRED, "the largest value."),
    Option("log", bool, False, "draw evenly on a logarithmic scale."),
    Option("step", PositiveFloat | None, None, "only low, low + step, low + 2 * step, ... up to high."),
)

FIXED = {
    "seed": "a lucky seed is no better setting; `dltrain fit --seeds 0-4` shows what the seed does",
    "task.name": "the scores of two tasks cannot be compared",
    "task.goal": "the values of two metrics cannot be compared",
    "data.name": "scores on different data cannot be compared",
}
"""What a sweep does not vary, and why."""


@dataclass(frozen=True)
class Dimension:
    """One option of the space: the `values` to choose from, each as YAML; or, without any, a range.

    A range over integers has integers for `low`, `high` and `step`. `names` are those of its section's choices that
    have this option; None where all have it.
    """

    path: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    names: frozenset[str] | None = None

    def applies(self, values: Mapping[str, str]) -> bool:
        """Whether a trial with these values so far (path to YAML) has this option."""
        return self.names is None or values[_get_name_path(self.path)] in self.names


@dataclass(frozen=True)
class Search:
    """A sound `search` section. The dimensions that choose names come first: which others apply depends on them."""

    trials: int | None
    sampler: str
    pruner: str
    warmup_epochs: int
    dimensions: tuple[Dimension, ...]
    reduction: int = 3


def take_search(tree: MappingNode) -> tuple[Pair | None, MappingNode]:
    """The `search` section, and the tree without it; `search: null` is none."""
    entries = dict(tree.entries)
    pair = entries.pop(SECTION, None)
    return (None if pair is None or _is_null(pair.node) else pair), replace(tree, entries=entries)


def check_search_section(pair: Pair, tree: MappingNode, catalogue: Catalogue, faults: list[Fault]) -> Search | None:
    """The search over `tree`, a config without that section; None when a fault was added."""
    before = len(faults)
    search = _SearchCheck(tree, catalogue, faults).read(pair.node)
    return None if len(faults) > before else search


class _SearchCheck(Check):
    """The check of a `search` section, beside the `tree` that it varies."""

    def __init__(self, tree: MappingNode, catalogue: Catalogue, faults: list[Fault]) -> None:
        super().__init__(tree, catalogue, faults)
        plain = Check(tree, catalogue, [])
        plain.run()
        self.chosen = plain.chosen
        self.sampler: str | None = None

    def read(self, node: Node) -> Search | None:
        """The search that a section asks for; sound without faults only."""
        options = (*SEARCH_OPTIONS, SPACE)
        if not isinstance(node, MappingNode):
            message = f"search must be a mapping of options, found {describe_node(node)}"
            self._fault(node.place, message, [option.name for option in options])
            return None
        values = self._options(node, options, SECTION, "the search section")
        self.sampler = values.get("sampler")
        values.pop(SPACE.name, None)
        return Search(**values, dimensions=self._dimensions(node))

    def _dimensions(self, node: MappingNode) -> tuple[Dimension, ...]:
        asked = self._asked(node)
        self._note_choices(asked)
        sound = {path: pair for path, pair in asked.items() if self._may_vary(path, pair)}
        candidates = {path: self._candidates(path, pair.node) for path, pair in sound.items()}
        ordered = sorted((path for path in sound if candidates[path]), key=lambda path: path != _get_name_path(path))
        dimensions = [self._dimension(path, sound[path].node, candidates[path]) for path in ordered]
        for assignment in _list_assignments(dimensions, candidates):
            self._try({path: Pair(sound[path].key_place, each) for path, each in assignment.items()})
        return tuple(dimensions)

    def _asked(self, node: MappingNode) -> dict[str, Pair]:
        """The paths of the space; one whose value is null is not in it."""
        if SPACE.name not in node.entries:
            return {}
        space = node.entries[SPACE.name].node
        asked = space.entries if isinstance(space, MappingNode) else {}
        asked = {path: pair for path, pair in asked.items() if not _is_null(pair.node)}
        if not asked:
            what = f"must name options, found {describe_node(space)}"
            if isinstance(space, MappingNode):
                what = "names no option"
            example = "optimizer.learning_rate: {low: 1e-4, high: 0.1, log: true}"
            self._fault(space.place, f"search.space {what}; write {example}")
        return asked

    def _note_choices(self, asked: Mapping[str, Pair]) -> None:
        """Note which entries each section may have in a trial."""
        self.entries = {section: [entry] for section, entry in self.chosen.items()}
        for path, pair in asked.items():
            section = path.partition(".")[0]
            if section in CHOICES and path == _get_name_path(path) and isinstance(pair.node, ListNode):
                names = [item.text for item in pair.node.items if isinstance(item, ScalarNode)]
                known = (self.catalogue.find(CHOICES[section].kind, name) for name in names)
                self.entries[section] = [entry for entry in known if entry is not None]

    def _may_vary(self, path: str, pair: Pair) -> bool:
        section, _, option = path.partition(".")
        if path in FIXED:
            self._fault(pair.key_place, f"'{path}' is not searched over: {FIXED[path]}")
        elif section in ("extends", "plugins", SECTION, *LISTS):
            self._fault(pair.key_place, f"'{path}' is not searched over; name an option of another section")
        elif section in (*CHOICES, *GROUPS) and not option:
            example = list_options(GROUPS[section])[0].name if section in GROUPS else "name"
            self._fault(pair.key_place, f"'{path}' is a section; name one of its options, such as {path}.{example}")
        else:
            return True
        return False

    def _candidates(self, path: str, node: Node) -> list[Node]:
        """The nodes that the space names for a path: a list's values, a range's ends; none after a fault."""
        before, nodes = len(self.faults), []
        if isinstance(node, ListNode):
            nodes = list(node.items)
            self._check_values(path, node)
        elif isinstance(node, MappingNode):
            values = self._options(node, RANGE_OPTIONS, f"{SECTION}.{SPACE.name}.{path}", "a range")
            if len(self.faults) == before:
                nodes = [node.entries[end].node for end in ("low", "high")]
                self._check_range(path, values, node)
        else:
            allowed = "[VALUE, ...], or {low: NUMBER, high: NUMBER} with log: true or step: NUMBER"
            self._fault(node.place, f"{path} needs a list of values or a range, found {describe_node(node)}", allowed)
        return nodes if len(self.faults) == before else []

    def _check_values(self, path: str, node: ListNode) -> None:
        if not node.items:
            self._fault(node.place, f"{path} has no values to choose from")
        seen: set[str] = set()
        for item in node.items:
            text = format_value(item)
            if text in seen:
                self._fault(item.place, f"{path} has the value {text} twice")
            seen.add(text)

    def _check_range(self, path: str, values: Mapping[str, Any], node: MappingNode) -> None:
        low, high, step = values["low"], values["high"], values["step"]
        places = {name: pair.node.place for name, pair in node.entries.items()}
        kinds = self._number_kinds(path)
        if not kinds:
            self._fault(node.place, f"{path} is no number, so it has no range; list its values: [VALUE, ...]")
        if low >= high:
            self._fault(places["low"], f"the low end of {path} must be below the high end, {high:g}")
        if values["log"] and low <= 0:
            self._fault(places["low"], f"the low end of {path} must be > 0 where log is true")
        if self.sampler == "grid" and (values["log"] or (step is None and kinds != {int})):
            self._fault(node.place, f"a grid needs the values of {path}: write a list, or a range with a step")
        if values["log"] and step is not None:
            self._fault(places["step"], f"{path} has both a step and log: true; leave out one of them")
        elif step is not None and kinds == {int} and not step.is_integer():
            self._fault(places["step"], f"{path} is an integer, so its step must be one")

    def _number_kinds(self, path: str) -> set[type]:
        """Of int and float, what an option may be; both where nothing is known of it."""
        section, *inner = path.split(".")
        grouped = GROUPS.get(section)
        levels = [each.options for each in self.entries.get(section, [])]
        levels += [] if grouped is None else [list_options(grouped)]
        known = [each for options in levels for each in _list_types(options, inner)]
        return {kind for kind in (int, float) if not known or kind in known}

    def _dimension(self, path: str, node: Node, candidates: Sequence[Node]) -> Dimension:
        section, *inner = path.split(".")
        entries = self.entries.get(section, [])
        having = [entry.name for entry in entries if inner[0] in [option.name for option in entry.options]]
        names = frozenset(having) if 0 < len(having) < len(entries) else None
        if isinstance(node, ListNode):
            return Dimension(path, tuple(map(format_value, candidates)), names=names)
        assert isinstance(node, MappingNode)
        given = {name: pair.node.value for name, pair in node.entries.items() if isinstance(pair.node, ScalarNode)}
        low, high, step = given["low"], given["high"], given.get("step")
        whole = all(isinstance(value, int) or value is None for value in (low, high, step))
        if not (whole and int in self._number_kinds(path)):
            low, high, step = float(low), float(high), None if step is None else float(step)
        return Dimension(path, low=low, high=high, log=bool(given.get("log")), step=step, names=names)

    def _try(self, values: Mapping[str, Pair]) -> None:
        """Check the config with these values, as `--set` would put them there."""
        tree = self.tree
        for path, pair in values.items():
            tree = merge_trees(tree, nest_value(path, pair.key_place, pair.node))
        faults: list[Fault] = []
        Check(replace(tree, place=self.tree.place), self.catalogue, faults).run()
        self.faults += [fault for fault in faults if fault not in self.faults]


def _list_assignments(
    dimensions: Sequence[Dimension], candidates: Mapping[str, Sequence[Node]]
) -> Iterator[dict[str, Node]]:
    """Nodes by path, such that each candidate has its turn, once for each name that has its option."""
    first = {each.path: candidates[each.path][0] for each in dimensions}
    for section in dict.fromkeys(each.path.partition(".")[0] for each in dimensions):
        chooser = f"{section}.name"
        for name in candidates.get(chooser, [None]):
            start = first if name is None else {**first, chooser: name}
            values = {path: format_value(node) for path, node in start.items()}
            applying = [each.path for each in dimensions if each.applies(values)]
            start = {path: start[path] for path in applying}
            yield start
            for path in applying:
                if path.partition(".")[0] == section and path != chooser:
                    yield from ({**start, path: node} for node in candidates[path][1:])


def _get_name_path(path: str) -> str:
    """The path of the name that a path's section chooses."""
    return f"{path.partition('.')[0]}.name"


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def _list_types(options: Sequence[Option], path: Sequence[str]) -> list[Any]:
    """The types, without bounds, that the option at a path may have; none where there is no such option."""
    option = next((each for each in options if path and each.name == path[0]), None)
    if option is None:
        return []
    grouped = find_group(option.annotation)
    if grouped is not None and path[1:]:
        return _list_types(list_options(grouped), path[1:])
    return [split_annotated(member)[0] for member in list_members(option.annotation)]
