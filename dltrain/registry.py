"""The registries: a name in a YAML file becomes a class or a function.

A registered thing is one decorator, such as ``@models.register("cnn")``, above one class or function, in the package
or in a plug-in. Its docstring describes its options; docs/extending.md has examples. The parameters before ``*`` are
provided by dltrain (sizes from the task, the seed, ...); those after it are the YAML's options, and their annotations
and defaults are the only place where an option is declared. `dltrain.config.signatures` reads them. What the package
itself registers is also stored in ``dltrain/config/catalogue.json``, so that a config without plug-ins is checked
without importing torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

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

    def __init__(self, kind: str) -> None:
        self.kind = kind
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

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The thing last registered under `name`; raises KeyError."""
        for each in reversed(self._registrations):
            if each.name == name:
                return each.thing
        raise KeyError(name)

    def forget(self, module: str) -> None:
        """Drop what a module registered, before it is executed again."""
        self._registrations = [each for each in self._registrations if each.module != module]


models = Registry("model")
datasets = Registry("dataset")
tasks = Registry("task")
optimizers = Registry("optimizer")
schedules = Registry("schedule")
observers = Registry("observer")

REGISTRIES = {each.kind: each for each in (models, datasets, tasks, optimizers, schedules, observers)}
"""The registries by the kind of thing that they hold."""
