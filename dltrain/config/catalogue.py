"""What can be named in a config: the stored catalogue of the package, and what plug-ins register.

``make docs`` reads the signatures of everything that the package registers and stores them in ``catalogue.json``
(`dltrain.config.generate`), so that a config without plug-ins is checked without importing torch. Plug-ins are
imported (`dltrain.config.plugins`).
"""

from __future__ import annotations

import functools
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin

import annotated_types

import dltrain
from dltrain.config.annotations import REQUIRED, Option, find_listed_named, get_summary, list_values
from dltrain.config.faults import Fault, Place, Refused, SourceText
from dltrain.options import Location, OrAuto, Registered
from dltrain.registry import REGISTRIES

STORED = Path(__file__).with_name("catalogue.json")

ALL_SIZES = ("sizes",)
"""What is provided to a model that takes all of the task's sizes: one mapping."""


@dataclass(frozen=True)
class Entry:
    """One registered class or function.

    `provided` are the positional parameters, which dltrain fills: of a model sizes of the task by name, or one
    parameter `sizes` for all of them. `options` are the keyword-only ones, which a config sets. `module` is the dotted
    name to import, or the plug-in's path; `thing` is what a plug-in registered.
    """

    kind: str
    name: str
    facts: Mapping[str, Any]
    module: str
    place: Place
    provided: tuple[str, ...]
    options: tuple[Option, ...]
    doc: str
    thing: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    @property
    def summary(self) -> str:
        return get_summary(self.doc)

    def takes(self, sizes: Iterable[str]) -> bool:
        """Whether a model needs nothing but these sizes; one that takes all of them checks them itself."""
        return self.provided == ALL_SIZES or set(self.provided) <= set(sizes)

    def load(self) -> Callable[..., Any]:
        """The registered class or function; imports its module."""
        if self.thing is not None:
            return self.thing
        import_module(self.module)
        registrations = REGISTRIES[self.kind]
        return next(each.thing for each in registrations if (each.module, each.name) == (self.module, self.name))


class Catalogue:
    """All entries, by kind and name. Raises Refused for two of one kind and name."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = tuple(entries)
        self._by_name: dict[tuple[str, str], Entry] = {}
        for entry in self.entries:
            first = self._by_name.setdefault((entry.kind, entry.name), entry)
            if first is not entry:
                message = f"{entry.kind} '{entry.name}' is already registered, at {first.place}; rename it"
                raise Refused(Fault(entry.place, message))

    def find(self, kind: str, name: str) -> Entry | None:
        return self._by_name.get((kind, name))

    def of(self, kind: str) -> list[Entry]:
        """The entries of a kind, by name."""
        return sorted((entry for entry in self.entries if entry.kind == kind), key=lambda entry: entry.name)

    def names(self, kind: str) -> list[str]:
        return [entry.name for entry in self.of(kind)]

    def find_value(self, kind: str, word: str) -> tuple[Entry, Option] | None:
        """The entry of a kind that has `word` among the values of an option, and that option; None without one."""
        pairs = ((entry, option) for entry in self.of(kind) for option in entry.options)
        return next((pair for pair in pairs if word in list_values(pair[1].annotation)), None)


@functools.cache
def load_package_catalogue() -> Catalogue:
    """What dltrain itself registers, as stored."""
    return Catalogue(map(_decode_entry, json.loads(STORED.read_text(encoding="utf-8"))))


def encode_catalogue(catalogue: Catalogue) -> str:
    """The text of ``catalogue.json``: JSON with one entry a line."""
    entries = sorted(catalogue.entries, key=lambda entry: (entry.kind, entry.name))
    lines = [json.dumps(_encode_entry(entry), ensure_ascii=False) for entry in entries]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _encode_entry(entry: Entry) -> dict[str, Any]:
    kept = {name: getattr(entry, name) for name in ("kind", "name", "facts", "module", "provided", "doc")}
    options = [
        {**vars(each), "annotation": format_expression(each.annotation), "default": format_expression(each.default)}
        for each in entry.options
    ]
    return {**kept, "options": options}


def _decode_entry(stored: Mapping[str, Any]) -> Entry:
    options = []
    for each in stored["options"]:
        expressions = {key: evaluate_expression(each[key]) for key in ("annotation", "default")}
        options.append(Option(**{**each, **expressions}))
    facts = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in stored["facts"].items()}
    rest = {"facts": facts, "provided": tuple(stored["provided"]), "options": tuple(options)}
    return Entry(**{**stored, **rest}, place=locate_module(stored["module"]))


LAYERS = "dltrain.architecture.layers.Layers"
"""The one type that holds things chosen by name. It is stored by its own name."""


def format_expression(thing: Any) -> str:
    """The type or the default of an option as a Python expression with full names."""
    if find_listed_named(thing) is not None:
        return LAYERS
    if isinstance(thing, type) and get_origin(thing) is None:
        return f"{thing.__module__}.{thing.__qualname__}".removeprefix("builtins.")
    return f"{type(thing).__module__}.{thing!r}" if is_dataclass(thing) else repr(thing)


@functools.cache
def evaluate_expression(text: str) -> Any:
    """The type or the default that `format_expression` wrote; a group's module is imported."""
    for module in re.findall(r"dltrain(?:\.\w+)+(?=\.[A-Z])", text):
        import_module(module)
    names = {
        "Location": Location,
        "OrAuto": OrAuto,
        "Registered": Registered,
        "typing": typing,
        "dltrain": dltrain,
        "NoneType": type(None),
        "REQUIRED": REQUIRED,
    }
    return eval(text, {**vars(annotated_types), **names})


def locate_module(module: str) -> Place:
    """The file of one of dltrain's own modules."""
    return Place(SourceText(f"{module.replace('.', '/')}.py"))
