"""The combinations of values that a search space has: of lists, and of ranges of integers or with a step.

An option that only some of a section's names have is varied with those names alone, so it multiplies the combinations
of those only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from dltrain.config.document import format_value
from dltrain.config.search import Dimension

Values = Mapping[str, str]
"""A value for each path that applies, as YAML."""


def count_values(dimension: Dimension) -> int | None:
    """How many values a dimension has; None for a continuous range."""
    if dimension.values:
        return len(dimension.values)
    step = find_step(dimension)
    if step is None:
        return None
    return int((Decimal(str(dimension.high)) - Decimal(str(dimension.low))) // step) + 1


def find_step(dimension: Dimension) -> Decimal | None:
    """The step of a range, of integers at least 1; None for a continuous one."""
    if dimension.step is not None:
        return Decimal(str(dimension.step))
    return Decimal(1) if isinstance(dimension.low, int) and isinstance(dimension.high, int) else None


def list_values(dimension: Dimension) -> Iterator[str]:
    """The values of a dimension that is not continuous, as YAML: the decimal numbers that a person would write."""
    if dimension.values:
        yield from dimension.values
        return
    step, count = find_step(dimension), count_values(dimension)
    assert step is not None
    assert count is not None
    for number in range(count):
        yield _format_number(dimension, Decimal(str(dimension.low)) + number * step)


def _format_number(dimension: Dimension, value: Decimal) -> str:
    return str(int(value)) if isinstance(dimension.low, int) else format_value(float(value))


def round_to_step(dimension: Dimension, text: str) -> str:
    """A sampled value as `list_values` writes it: 0.1 + 2 * 0.1 is 0.30000000000000004 in binary."""
    step = find_step(dimension)
    if dimension.values or step is None or isinstance(dimension.low, int):
        return text
    low = Decimal(str(dimension.low))
    return _format_number(dimension, low + round((Decimal(text) - low) / step) * step)


def count_combinations(dimensions: Sequence[Dimension]) -> int | None:
    """How many combinations there are; None where a range is continuous."""
    if any(count_values(each) is None for each in dimensions):
        return None
    total = 1
    for section in dict.fromkeys(each.path.partition(".")[0] for each in dimensions):
        own = [each for each in dimensions if each.path.partition(".")[0] == section]
        chooser = next((each for each in own if each.path == f"{section}.name"), None)
        starts: list[dict[str, str]] = [{}] if chooser is None else [{chooser.path: name} for name in chooser.values]
        total *= sum(
            math.prod(count_values(each) or 1 for each in own if each is not chooser and each.applies(start))
            for start in starts
        )
    return total


def list_combinations(dimensions: Sequence[Dimension]) -> Iterator[dict[str, str]]:
    """All combinations, the last dimension varying fastest. No dimension may be continuous."""
    yield from _extend({}, dimensions)


def _extend(values: dict[str, str], dimensions: Sequence[Dimension]) -> Iterator[dict[str, str]]:
    if not dimensions:
        yield values
        return
    first, rest = dimensions[0], dimensions[1:]
    if not first.applies(values):
        yield from _extend(values, rest)
        return
    for value in list_values(first):
        yield from _extend({**values, first.path: value}, rest)
