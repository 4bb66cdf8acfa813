"""What `dltrain predict` asks of a kind of data: things of the user's, read and made a model's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from dltrain.errors import DataError


class Given(NamedTuple):
    """One thing to predict: what it is called in the answer, and its value, or why there is none.

    `whole_file` says that it is not one thing but a file of several, none of which could be read.
    """

    name: str
    value: Any | DataError
    whole_file: bool = False


class Reader(Protocol):
    """Reads the user's inputs for one trained model; built from the checkpoint's assets alone."""

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[Given]:
        """What the command line names, one by one; `lines` are standard input's, for the name `-`."""
        ...

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Some of the values read, as a model's arguments for that many examples, on the CPU."""
        ...

    def notes(self) -> Sequence[str]:
        """What the user should know about all that was read."""
        ...
