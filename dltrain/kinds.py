"""A kind of data, such as images or tables: one description, which every command asks that handles any kind.

A folder of `dltrain.data` holds one kind, described in its `kind.py`. A plug-in describes its own in one call::

    register(Kind(name="pairs", axes=(("batch",), ("batch",)), reader=PairReader, singular="pair", plural="pairs"))

Tasks and datasets name it by their fact `data="pairs"`. This module and each `kind.py` import neither torch nor numpy:
what needs them is named as "module:attribute" and imported on use. A plug-in may give the object itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from dltrain.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BATCH, LENGTH = "batch", "length"
"""Axes whose size varies: examples, and steps of a sequence."""

Late = str | Callable[..., Any]
"""A function or class, or where to import it from: "module:attribute"."""


class NamedInput(NamedTuple):
    """An input of `dltrain predict`: its name in the output, and its value, or the reason why it has none.

    `whole_file` marks a file of several inputs, none of which could be read. `kept` are the cells of the columns that
    the reader's option `keep` names.
    """

    name: str
    value: Any | DataError
    whole_file: bool = False
    kept: Mapping[str, str] = {}


class Reader(Protocol):
    """Reads inputs for one trained model; built from the checkpoint's assets and the kind's `reader_options`."""

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        """Read what the command line names, one by one; `lines` are standard input's, for the name `-`."""

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Values that `read` gave, as the model's arguments for one batch of them, on the CPU."""

    def notes(self) -> Sequence[str]:
        """Remarks on everything read so far, for the user."""


@runtime_checkable
class ReadsValues(Protocol):
    """A reader that takes what a Python program holds too, such as arrays and rows."""

    def read_values(self, values: Iterable[Any]) -> Iterator[NamedInput]:
        """Read inputs, and those in collections of them, one by one; what has no name is `input 0`, `input 1`, ..."""


class RequestForm(Protocol):
    """What a client of `dltrain serve` sends as one input; built from a checkpoint's assets."""

    text: str
    """What one input in JSON is, in a few words."""
    example: Any
    """One input in JSON."""
    suffixes: tuple[str, ...]
    """The ends of names of the files that may be sent; empty for any."""

    def convert(self, value: Any) -> Any:
        """An input in JSON as the reader's `read_values` takes it, or the bytes of a file.

        Never the name of a file: a client must not read the server's files. Raises DataError for anything else.
        """


@dataclass(frozen=True, kw_only=True)
class DataSets:
    """Data sets that `dltrain data` handles alike.

    `fetch(name, root, progress=..., **settings)` gives paths. `verify(name, root, **settings)` gives reports:
    dataclasses with a `fault` (None for a good file) and `lines()` to print.
    `check_splits(name, seed, options, output)` gives a notice, or None, and
    a report on each split of a config whose section `data` has these options.
    """

    names: tuple[str, ...]
    fetched: tuple[str, ...] = ()
    fetch: Late = ""
    verify: Late
    settings: tuple[str, ...] = ()
    check_splits: Late | None = None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What commands need to know about a kind of data.

    axes: for each tensor that a model is called with, the names of its first axes, BATCH or LENGTH, whose size varies;
        without them, the first axis of each is BATCH.
    reader: makes a `Reader` from a checkpoint's assets; without it, `predict` does not read this kind.
    reader_options: keyword parameters of `reader` that the command line may set.
    requests: makes a `RequestForm` from a checkpoint's assets; without it, `serve` takes files alone.
    singular, plural, key: what messages call inputs, and the name of an input's name in JSON.
    preparation: how to make inputs for an exported model, step by step.
    prepared_numbers: from the assets to the numbers that the preparation refers to.
    synthetic: from a task's sizes and a random generator to a batch, for exports without data.
    received: from assets and a batch to its examples, a list of `dltrain.dataset.ReceivedExample`, for `data show`.
    draw: from the pictures and captions of such examples, a title and a path to a PNG.
    pixels: from assets and inputs (N, C, H, W) to the pixels that they were, for inputs that can be drawn.
    views: from assets, the data's options, inputs, a `seed` and a number `view` to changed inputs, over which a
        classifier's probabilities may be averaged; raises UsageError where nothing can be varied.
    explainer: the class that `explain` uses, such as `dltrain.data.images.explanation.Explainer`.
    sets: data sets of this kind that `dltrain data` fetches and checks.
    """

    name: str
    axes: tuple[tuple[str, ...], ...] | None = None
    reader: Late | None = None
    reader_options: tuple[str, ...] = ()
    requests: Late | None = None
    singular: str = "input"
    plural: str = "inputs"
    key: str = "input"
    preparation: tuple[str, ...] = ("as the plug-in's dataset makes them",)
    prepared_numbers: Late | None = None
    synthetic: Late | None = None
    received: Late | None = None
    draw: Late | None = None
    pixels: Late | None = None
    views: Late | None = None
    explainer: Late | None = None
    sets: tuple[DataSets, ...] = ()


_KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> Kind:
    """Make a kind known by its name. Raises ValueError where another kind has it already."""
    if _identify(_KINDS.setdefault(kind.name, kind)) != _identify(kind):
        raise ValueError(f"the kind of data '{kind.name}' is already registered; rename it")
    _KINDS[kind.name] = kind
    return kind


def _identify(value: Any) -> Any:
    """A kind with its functions and classes by name: a plug-in may be imported again, from another path."""
    if is_dataclass(value):
        return [_identify(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, tuple):
        return list(map(_identify, value))
    return value.__qualname__ if callable(value) else value


def known_kinds() -> list[Kind]:
    """All kinds: the package's, and those of the plug-ins imported so far."""
    for folder in pkgutil.iter_modules(importlib.import_module("dltrain.data").__path__):
        if folder.ispkg:
            importlib.import_module(f"dltrain.data.{folder.name}.kind")
    return list(_KINDS.values())


def find_kind(name: str) -> Kind:
    """The kind of this name. One that nobody registered has the defaults: no reader, one batch axis."""
    return next((kind for kind in known_kinds() if kind.name == name), Kind(name=name))


def resolve_reference(reference: Late) -> Callable[..., Any]:
    """The function or class that is meant, imported if need be."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
