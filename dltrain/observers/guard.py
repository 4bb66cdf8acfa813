"""Observers on their own ground: an error in one of them does not end training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from dltrain.errors import DltrainError
from dltrain.events import Event, Observer


class Guarded:
    """An observer that is dropped, with a warning, once it raises an error of its own.

    OSError is not caught: where the disk is full, training has to stop as well.
    """

    def __init__(self, name: str, observer: Observer, warn: Callable[[str], None]) -> None:
        self._name, self._observer, self._warn = name, observer, warn
        self._failed = False

    def __call__(self, event: Event) -> None:
        if self._failed:
            return
        try:
            self._observer(event)
        except (OSError, DltrainError):
            raise
        except Exception as error:
            self._failed = True
            self._warn(f"observer '{self._name}' failed and is dropped: {type(error).__name__}: {error}")

    def close(self) -> None:
        close = getattr(self._observer, "close", None)
        if close is not None:
            with suppress(Exception):
                close()
