"""Shapes of one example, as far as they are known before the data is read, and the layers that change them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Predicate
from typing_extensions import Doc

from dltrain.options import PositiveInt


class UnknownSize(Enum):
    """A size that depends on the data."""

    UNKNOWN = "?"

    def __str__(self) -> str:
        return self.value


UNKNOWN: Final = UnknownSize.UNKNOWN


@dataclass(frozen=True)
class SlidingWindow:
    """How a window slides over a length; `padding` is added, before and behind together."""

    size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def span(self) -> int:
        """Steps from a window's first to its last, both included."""
        return self.dilation * (self.size - 1) + 1

    def count(self, length: int) -> int:
        """Count the windows that fit; 0 or less where the length is too small."""
        return (length + self.padding - self.span) // self.stride + 1


@dataclass(frozen=True)
class Length:
    """A length that differs from batch to batch, after the windows that slid over it."""

    windows: tuple[SlidingWindow, ...] = ()

    def __str__(self) -> str:
        return "T" if not self.windows else "T'"


Dimension = int | UnknownSize | Length


@dataclass(frozen=True)
class ExampleShape:
    """The sizes of one example: (features), (steps, channels) or (channels, height, width).

    `tokens`: it holds numbers of tokens, in place of numbers to compute with.
    """

    sizes: tuple[Dimension, ...]
    tokens: bool = False

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.sizes))}){' tokens' if self.tokens else ''}"

    @property
    def is_image(self) -> bool:
        return len(self.sizes) == 3

    @property
    def is_sequence(self) -> bool:
        return len(self.sizes) == 2

    @property
    def varies(self) -> bool:
        return any(isinstance(size, Length) for size in self.sizes)

    @property
    def count(self) -> Dimension:
        """How many numbers an example holds; UNKNOWN where a size is, or varies."""
        known = [size for size in self.sizes if isinstance(size, int)]
        return prod(known) if len(known) == len(self.sizes) else UNKNOWN

    def fits(self, other: ExampleShape) -> bool:
        """Whether the two are the same, as far as they are known."""
        return len(self.sizes) == len(other.sizes) and all(map(sizes_agree, self.sizes, other.sizes))


def sizes_agree(one: Dimension, other: Dimension) -> bool:
    return one is UNKNOWN or other is UNKNOWN or one == other


def slide(length: Dimension, window: SlidingWindow) -> Dimension:
    """Compute the length after a window has slid over it; below 1 where the length is too small for it."""
    if isinstance(length, int):
        return window.count(length)
    if isinstance(length, Length) and (window.stride, window.padding) != (1, window.span - 1):
        return Length((*length.windows, window))
    return length


def divides(part: int, whole: Dimension) -> bool:
    return not isinstance(whole, int) or whole % part == 0


def find_stride(before: Dimension, after: Dimension) -> int | None:
    """Find the stride that makes `after` steps of `before`; None where there is none."""
    if not (isinstance(before, int) and isinstance(after, int)):
        return 1 if sizes_agree(before, after) else None
    return next((stride for stride in range(1, before + 1) if -(-before // stride) == after), None)


class SizeNamePattern:
    """Metadata of the name of a size, for the JSON Schema. Editors accept a reference to the environment too."""

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^([A-Za-z_][A-Za-z0-9_]*|\$\{env:.*\})$"}


Size = PositiveInt | Annotated[str, Predicate(str.isidentifier), SizeNamePattern(), Doc("the name of a size")]


@dataclass(frozen=True)
class Layer:
    """The options of a layer. `sized` are those that may be the name of a size."""

    sized: ClassVar[tuple[str, ...]] = ()

    def after(self, before: ExampleShape) -> ExampleShape:
        """Compute the shape of the output. Raises ValueError, with a message for the config's author, if it cannot."""
        return before


def to_dimension(size: Any) -> Dimension:
    """Convert a size option to a dimension, unknown if it is a name."""
    return UNKNOWN if isinstance(size, str) else size
