"""The frozen, typed result of reading a config: what to train, on what, how."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dltrain.config import trust
from dltrain.config.catalogue import Entry, load_package_catalogue
from dltrain.config.check import Check
from dltrain.config.compose import GIVEN, Composed, Written, compose, expand_address, expand_choice, take_plugins
from dltrain.config.document import MappingNode, Node, build_tree, format_yaml
from dltrain.config.faults import Fault, SourceText, build_report
from dltrain.config.paths import map_paths, shorten_path
from dltrain.config.plugins import add_plugin
from dltrain.config.search import Search, check_search_section, take_search
from dltrain.config.sections import CHOICES, SETTINGS
from dltrain.config.shipped import resolve_config
from dltrain.config.values import Choice, find_misfits, to_plain
from dltrain.options import Plan, Weights


@dataclass(frozen=True)
class Experiment:
    """A config that has been found sound. Two are equal when they mean the same, wherever they were read from."""

    task: Choice
    data: Choice
    model: Choice
    optimizer: Choice
    schedule: Choice
    weights: Weights
    trainer: Plan
    seed: int
    observers: tuple[Choice, ...] = ()
    plugins: tuple[Path, ...] = ()
    source: str = field(default="", compare=False)
    model_node: Node | None = field(default=None, compare=False, repr=False)
    """The model's section as it was written, for messages about places in it."""
    places: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Where the paths of options are: a text or a list of texts by dotted path. Absolute ones are not among them."""
    folders: frozenset[str] = field(default=frozenset(), compare=False)
    """The options that name a folder of data, by dotted path: a run may find the same data somewhere else."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Of paths that an earlier version would have found somewhere else."""

    def resolved(self) -> dict[str, Any]:
        """Every setting, defaults included, as plain dicts, lists and scalars; `load_tree` takes it back.

        Plug-ins have their absolute paths.
        """
        tree: dict[str, Any] = {}
        for section in SETTINGS:
            value = getattr(self, section.name)
            if section.several:
                tree[section.name] = [each.resolved() if each.options else each.name for each in value]
            else:
                tree[section.name] = value.resolved() if isinstance(value, Choice) else to_plain(value)
        return {**tree, "plugins": [str(path) for path in self.plugins]}

    def locate(self) -> Experiment:
        """The same with its paths as they are opened from the working directory."""
        return self._replace_paths({name: map_paths(place, shorten_path) for name, place in self.places.items()})

    def place_in(self, folder: Path) -> Experiment:
        """The same with its paths as a config in `folder` names them."""
        start = folder.resolve()
        named = {
            name: map_paths(place, lambda each: os.path.relpath(each, start)) for name, place in self.places.items()
        }
        return self._replace_paths(named)

    def _replace_paths(self, paths: Mapping[str, Any]) -> Experiment:
        sections: dict[str, Any] = {}
        for path, value in paths.items():
            section, _, option = path.partition(".")
            held = sections.get(section, getattr(self, section))
            if isinstance(held, Choice):
                sections[section] = Choice(held.name, {**held.options, option: value})
            else:
                sections[section] = replace(held, **{option: value})
        return replace(self, **sections)

    def yaml(self, folder: Path) -> str:
        """The text of a config file in `folder`; `load_experiment` takes it back."""
        return format_yaml(self.place_in(folder).resolved())


@dataclass(frozen=True)
class Loaded:
    """An experiment, where each of its values comes from, and which of them a sweep varies.

    `origins` maps a dotted path such as ``model.hidden`` to ``configs/a.yaml:3:9``, ``--set`` or ``default``.
    """

    experiment: Experiment
    origins: Mapping[str, str]
    search: Search | None = None


def load_experiment(
    path: Written, overrides: Sequence[str | Mapping[str, Any]] = (), chosen: Sequence[str] = ()
) -> Loaded:
    """The experiment of a config, its parents and overrides; these and `chosen` are as in `compose`.

    `path` may also be the name of a shipped config, or ``-`` for one on standard input. Raises ConfigError with all
    faults in one report. Executes the plug-ins; imports no torch but by them, and opens no data.
    """
    faults: list[Fault] = []
    path = path if isinstance(path, Mapping) else resolve_config(path)
    source = GIVEN if isinstance(path, Mapping) else str(path)
    composed = compose(path, overrides, faults, chosen)
    loaded = None if composed is None else _check_composed(composed, source, faults)
    if faults or loaded is None:
        raise build_report(faults, source)
    return loaded


def load_tree(tree: Mapping[str, Any], source: str) -> Experiment:
    """The experiment of a plain tree such as `Experiment.resolved` gives; `source` names it in messages.

    Strings are taken literally: no ``${env:...}``. Raises ConfigError with all faults in one report.
    """
    faults: list[Fault] = []
    node = build_tree(tree, SourceText(source, positions=False))
    assert isinstance(node, MappingNode)
    plugins, node = take_plugins(node, Path(), faults, references=False)
    loaded = _check_composed(Composed(node, tuple(plugins)), source, faults)
    if faults:
        raise build_report(faults, source)
    return loaded.experiment


def check_model(experiment: Experiment, model: Entry, sizes: Mapping[str, int]) -> None:
    """Check that the model's options fit the task's sizes, which are known only once the data has been read.

    `model` is the catalogue's entry of the model. Raises ConfigError with all faults in one report.
    """
    node = experiment.model_node
    faults = [] if node is None else list(find_misfits(node, model, sizes, experiment.model.options))
    if faults:
        raise build_report(faults, experiment.source)


def _check_trusted(composed: Composed, source: str) -> None:
    """Raises UsageError before a plug-in is executed that a run carries, unless it is trusted."""
    carried = {}
    for plugin in composed.plugins:
        base = plugin.place.source.base
        with suppress(OSError, ValueError):  # reported when it is imported
            text = plugin.path.read_text(encoding="utf-8-sig")
            if trust.is_carried(plugin.path) or (base is not None and base.of_run):
                carried[f"plugins/{plugin.path.name}"] = text
            else:
                trust.note_own(text)
    trust.check_carried(source, carried)


def _check_composed(composed: Composed, source: str, faults: list[Fault]) -> Loaded:
    """The experiment; sound only when no fault was added."""
    catalogue = load_package_catalogue()
    _check_trusted(composed, source)
    for plugin in composed.plugins:
        catalogue = add_plugin(catalogue, plugin.path, plugin.place, faults, shown=plugin.shown)
    asked, tree = take_search(composed.tree)
    tree = expand_address(tree)
    check = Check(tree, catalogue, faults)
    checked = check.run()
    choices = {section: Choice(*(checked[section] or ("", {}))) for section in CHOICES}
    if composed.plugins:
        check.origins["plugins"] = ", ".join(dict.fromkeys(str(plugin.place) for plugin in composed.plugins))
    experiment = Experiment(
        **{**checked, **choices, "observers": tuple(Choice(*each) for each in checked["observers"] if each)},
        plugins=tuple(plugin.path for plugin in composed.plugins),
        source=source,
        places=check.places,
        folders=frozenset(check.folders),
        warnings=tuple(dict.fromkeys(check.warnings)),
        model_node=expand_choice(tree.entries["model"].node) if "model" in tree.entries else None,
    )
    search = None if asked is None else check_search_section(asked, tree, catalogue, faults)
    return Loaded(experiment, check.origins, search)
