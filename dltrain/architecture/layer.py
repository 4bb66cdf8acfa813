"""What every layer that a config can list has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Predicate
from typing_extensions import Doc

from dltrain.architecture.shapes import UNKNOWN, Dimension, ExampleShape
from dltrain.options import PositiveInt

Size = PositiveInt | Annotated[str, Predicate(str.isidentifier), Doc("the name of a size")]


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
