"""The registries: a name in a YAML file becomes a class or a function.

A registered thing is one decorator, such as ``@models.register("cnn")``, above one class or function, in the package
or in a plug-in. Its docstring describes its options; docs/extending.md has examples. The parameters before ``*`` are
provided by dltrain (sizes from the task, the seed, ...); those after it are the YAML's options, and their annotations
and defaults are the only place where an option is declared. `dltrain.config.signatures` reads them. What the package
itself registers is also stored in ``dltrain/config/catalogue.json``, so that a config without plug-ins is checked
without importing torch.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dltrain.errors import DltrainError

Registered = TypeVar("Registered", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registration:
    """A registered class or function, its facts, and the module and line of its decorator."""

    kind: str
    name: str
    thing: Callable[..., Any]
    facts: Mapping[str, Any]
    module: str
    line: int


class Registry:
    """Names of one kind of thing, filled as the modules that define them are imported."""

    def __init__(self, kind: str, plural: str | None = None) -> None:
        self.kind, self.plural = kind, plural or f"{kind}s"
        self._registrations: list[Registration] = []

    def register(self, name: str, **facts: Any) -> Callable[[Registered], Registered]:
        """Return a decorator that registers a class or function under `name`.

        `facts` say what fits it, such as the kind of data that a task takes.
        """
        caller = sys._getframe(1)
        module, line = caller.f_globals["__name__"], caller.f_lineno

        def keep(thing: Registered) -> Registered:
            self._registrations.append(Registration(self.kind, name, thing, facts, module=module, line=line))
            return thing

        return keep

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._registrations)

    def find(self, name: str) -> Registration:
        """What was last registered under `name`; raises KeyError."""
        for each in reversed(self._registrations):
            if each.name == name:
                return each
        raise KeyError(name)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The thing last registered under `name`; raises KeyError."""
        return self.find(name).thing

    def forget(self, module: str) -> None:
        """Drop what a module registered, before it is executed again."""
        self._registrations = [each for each in self._registrations if each.module != module]


models = Registry("model")
datasets = Registry("dataset")
tasks = Registry("task")
optimizers = Registry("optimizer")
schedules = Registry("schedule")
observers = Registry("observer")
losses = Registry("loss", "losses")
metrics = Registry("metric")
augmentations = Registry("augmentation")

_ALL = (models, datasets, tasks, optimizers, schedules, observers, losses, metrics, augmentations)
REGISTRIES = {each.kind: each for each in _ALL}
"""The registries by the kind of thing that they hold."""


@dataclass(frozen=True)
class BoundFunction:
    """A registered function with the options that a config gives it; what it is called with, it names itself.

    `provided` are the names of its positional parameters. `place` is where it is registered, such as ``mine.py:12``.
    """

    kind: str
    name: str
    function: Callable[..., Any] = field(repr=False)
    provided: tuple[str, ...]
    options: Mapping[str, Any]
    facts: Mapping[str, Any]
    place: str

    def __call__(self, known: Mapping[str, Any]) -> Any:
        """Call it with those of the `known` values that it names."""
        return self.function(*(known[name] for name in self.provided), **self.options)

    def fault(self, found: str, advice: str) -> DltrainError:
        """The error of a function that breaks its contract: what it does, at its own place, and what to do."""
        return DltrainError(f"{self.place}: {self.kind} '{self.name}' {found}", advice=advice)

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.name} ({options})" if options else self.name


def list_taken(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What a loss or a metric takes, by its fact `takes`: one word, or several."""
    takes = facts.get("takes", ())
    return (takes,) if isinstance(takes, str) else tuple(takes)


def list_provided(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(each.name for each in inspect.signature(function).parameters.values() if each.kind in positional)


def bind_function(chosen: BoundFunction | str, registry: Registry) -> BoundFunction:
    """What a config has chosen, or what is registered under a name, with its default options."""
    if isinstance(chosen, BoundFunction):
        return chosen
    found = registry.find(chosen)
    place = f"{found.module}:{found.line}"
    provided = list_provided(found.thing)
    return BoundFunction(
        registry.kind, chosen, found.thing, provided=provided, options={}, facts=found.facts, place=place
    )
