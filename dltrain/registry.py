"""The registries: a name in a YAML file becomes a class or a function.

A registered thing is one decorator above one class or function, in the package or in a user's plug-in::

    @models.register("cnn")
    class CNN(nn.Module):
        '''First line: what it is.

        Options:
            hidden: units of the dense layer.
        '''
        def __init__(self, channels: int, classes: int, *, hidden: PositiveInt = 64): ...

The parameters before ``*`` are provided by dltrain (sizes from the task, the seed, ...); those after it are the
YAML's options, and their annotations and defaults are the only place where an option is declared.
`dltrain.config.catalogue` reads them from the source text, so that a config is checked without importing torch or
running anybody's code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Registered = TypeVar("Registered", bound=Callable[..., Any])


class Registry:
    """Names of one kind of thing, filled as the modules that define them are imported."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Callable[..., Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Registered], Registered]:
        """A decorator that registers a class or function under `name`.

        `facts` are literals that the catalogue reads from the source (such as the kind of data that a task
        takes); they are not kept here. Registering another thing under a known name raises ValueError.
        """

        def keep(thing: Registered) -> Registered:
            known = self._entries.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (thing.__module__, thing.__qualname__):
                first = f"{known.__module__}.{known.__qualname__}"
                raise ValueError(f"{self.kind} '{name}' is already registered, by {first}")
            self._entries[name] = thing
            return thing

        return keep

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._entries[name]


models = Registry("model")
datasets = Registry("dataset")
tasks = Registry("task")
optimizers = Registry("optimizer")
schedules = Registry("schedule")
