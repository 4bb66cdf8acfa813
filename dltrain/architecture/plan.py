"""Lays out a list of layers: the shapes before and after each one, or why they do not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dltrain.architecture.layers import LAYERS, Block, Embedding, Repeat, Residual
from dltrain.architecture.shapes import UNKNOWN, ExampleShape, Layer, Length, find_stride

Sizes = Mapping[str, int | None]
"""The sizes that the task provides, by name; None where it depends on the data."""

INPUT_SIZES: tuple[tuple[str, ...], ...] = (
    ("image_channels", "height", "width"),
    ("window", "channels"),
    ("inputs",),
    ("vocabulary",),
)
"""The sizes of the inputs of each kind of data; tokens of a vocabulary make texts of any length."""

OUTPUT_SIZES: tuple[tuple[str, ...], ...] = (("classes",), ("outputs",), ("image_channels", "height", "width"))
"""The sizes of the outputs; the first that the task provides count."""


MOST_LAYERS = 10_000


class Misfit(ValueError):
    """One fault and its path in the options: keys, indices in lists, the name of a layer."""

    def __init__(
        self, path: Sequence[int | str], message: str, allowed: Sequence[str] | None = None, near: bool = False
    ) -> None:
        """`near`: whether the text there may be a misspelling of one that is allowed."""
        super().__init__(message)
        self.path, self.message, self.allowed, self.near = tuple(path), message, allowed, near


@dataclass(frozen=True)
class PlacedLayer:
    """A layer with the shapes around it, its sizes as numbers; `inside` are the layers of a block, all repetitions."""

    number: str
    name: str
    layer: Layer
    before: ExampleShape
    after: ExampleShape
    inside: tuple[PlacedLayer, ...] = ()


@dataclass(frozen=True)
class WrittenLayer:
    """A layer as the config has it: its path, its number, its name and its options."""

    path: tuple[int | str, ...]
    number: str
    name: str
    layer: Layer
    inside: tuple[WrittenLayer, ...] = ()

    @property
    def title(self) -> str:
        return f"layer {self.number} ({self.name})"


def faults(sizes: Sizes, *, layers: Sequence[Any]) -> Iterator[Misfit]:
    """Yield the faults of layers for a task that provides these sizes, as far as they show before the data is read."""
    items = read_layers(layers)
    try:
        before = find_input_shape(sizes)
    except Misfit as misfit:
        yield misfit
        return
    misnamed = list(_find_misnamed(items, sizes))
    yield from misnamed
    if not misnamed:
        try:
            _lay_out_items(items, before, sizes)
        except Misfit as misfit:
            yield misfit


def lay_out(sizes: Sizes, layers: Sequence[Any]) -> tuple[PlacedLayer, ...]:
    """Lay out the layers of a model for a task that provides these sizes. Raises Misfit.

    A layer is {name: {option: value, ...}}, its name alone, or {name: value of its first option}.
    """
    items, before = read_layers(layers), find_input_shape(sizes)
    for misfit in _find_misnamed(items, sizes):
        raise misfit
    return _lay_out_items(items, before, sizes)


def _lay_out_items(items: Sequence[WrittenLayer], before: ExampleShape, sizes: Sizes) -> tuple[PlacedLayer, ...]:
    count = _count(items)
    if count > MOST_LAYERS:
        raise Misfit(("layers",), f"layers: {count} of them with all repetitions; {MOST_LAYERS} are the most")
    placed = chain_layers(items, before, sizes)
    names = next(each for each in OUTPUT_SIZES if set(each) <= set(sizes))
    wanted, last = _make_shape(names, sizes), placed[-1]
    if not last.after.fits(wanted):
        advice = f"dense: {names[0]}" if len(names) == 1 else f"reshape: [{', '.join(names)}]"
        takes = _format_sizes(names, wanted)
        message = f"{items[-1].title}: it gives {last.after}, and the task takes {takes}: end with {advice}"
        raise Misfit(items[-1].path, message)
    return placed


def find_input_shape(sizes: Sizes) -> ExampleShape:
    """Find the shape of the task's examples. Raises Misfit where layers in a row cannot serve the task."""
    names = next((each for each in INPUT_SIZES if set(each) <= set(sizes)), None)
    if names is None or not any(set(each) <= set(sizes) for each in OUTPUT_SIZES):
        reads, ends = (" or ".join(f"({', '.join(each)})" for each in known) for known in (INPUT_SIZES, OUTPUT_SIZES))
        raise Misfit((), f"layers in a row need a task that provides {reads} to read, and {ends} to end in; "
                         f"this one provides {', '.join(sizes)}")  # fmt: skip
    if names == ("vocabulary",):
        return ExampleShape((Length(),), tokens=True)
    return _make_shape(names, sizes)


def _make_shape(names: Sequence[str], sizes: Sizes) -> ExampleShape:
    return ExampleShape(tuple(UNKNOWN if (size := sizes[name]) is None else size for name in names))


def _format_sizes(names: Sequence[str], shape: ExampleShape) -> str:
    said = f"({', '.join(names)})"
    return said if UNKNOWN in shape.sizes else f"{said} = {shape}"


def read_layers(
    layers: Sequence[Any], path: tuple[int | str, ...] = ("layers",), number: str = ""
) -> tuple[WrittenLayer, ...]:
    """Read layers from plain values, with their positions. Raises Misfit for an unknown name or option."""
    items = []
    for index, plain in enumerate(layers):
        here, numbered = (*path, index), f"{number}{index + 1}"
        name, options = (plain, {}) if isinstance(plain, str) else next(iter(plain.items()))
        if name not in LAYERS:
            raise Misfit(here, f"layer {numbered}: '{name}' is not a layer", list(LAYERS))
        kind = LAYERS[name]
        known = [each.name for each in fields(kind)]
        options = options if isinstance(options, Mapping) else {known[0]: options}
        inside = options.get("layers", ()) if issubclass(kind, Block) else ()
        try:
            layer = kind(**options)
        except TypeError as error:
            raise Misfit(here, f"layer {numbered} ({name}): {error}", known) from None
        inner = read_layers(inside, (*here, name, "layers"), f"{numbered}.")
        items.append(WrittenLayer(path=here, number=numbered, name=name, layer=layer, inside=inner))
    return tuple(items)


def _count(items: Sequence[WrittenLayer]) -> int:
    """Count all layers, repetitions included."""
    times = [item.layer.times if isinstance(item.layer, Repeat) else 1 for item in items]
    return sum(1 + number * _count(item.inside) for number, item in zip(times, items, strict=True))


def _find_misnamed(items: Sequence[WrittenLayer], sizes: Sizes) -> Iterator[Misfit]:
    """Yield the names that should be sizes of the task and are not."""
    for item in items:
        for option in item.layer.sized:
            value = getattr(item.layer, option)
            for index, size in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(size, str) and size not in sizes:
                    place = (*item.path, item.name, option, *([index] if isinstance(value, list) else []))
                    message = f"{item.title}.{option}: '{size}' is not a size that the task provides"
                    yield Misfit(place, message, list(sizes), near=True)
        yield from _find_misnamed(item.inside, sizes)


def chain_layers(items: Sequence[WrittenLayer], before: ExampleShape, sizes: Sizes) -> tuple[PlacedLayer, ...]:
    """Lay out layers one after the other, whatever comes out. Raises Misfit."""
    placed = []
    for item in items:
        placed.append(_place_layer(item, before, sizes))
        before = placed[-1].after
    return tuple(placed)


def _place_layer(item: WrittenLayer, before: ExampleShape, sizes: Sizes) -> PlacedLayer:
    layer = _resolve_sizes(item.layer, sizes)
    if before.tokens and not isinstance(layer, Embedding):
        raise Misfit(item.path, f"{item.title}: it reads numbers, found {before}: put embedding before it")
    inside: tuple[PlacedLayer, ...] = ()
    for _ in range(layer.times if isinstance(layer, Repeat) else isinstance(layer, Residual)):
        inside += chain_layers(item.inside, inside[-1].after if inside else before, sizes)
    try:
        after = inside[-1].after if inside else layer.after(before)
        if isinstance(layer, Residual):
            find_projection(before, after)
    except ValueError as error:
        raise Misfit(item.path, f"{item.title}: {error}") from None
    return PlacedLayer(item.number, item.name, layer, before=before, after=after, inside=inside)


def _resolve_sizes(layer: Layer, sizes: Sizes) -> Layer:
    """Replace the sizes that a layer names by numbers, as far as they are known."""

    def number(value: Any) -> Any:
        known = sizes[value] if isinstance(value, str) else None
        return value if known is None else known

    given = {name: getattr(layer, name) for name in layer.sized}
    return replace(layer, **{
        name: list(map(number, value)) if isinstance(value, list) else number(value) for name, value in given.items()
    })  # fmt: skip


def find_projection(before: ExampleShape, after: ExampleShape) -> tuple[int, ...] | None:
    """Find the strides of a projection that brings the input of a residual block to the shape of its output.

    None where it has that shape already. Raises ValueError where there is no way.
    """
    if before.fits(after):
        return None
    if len(before.sizes) != len(after.sizes):
        raise ValueError(f"its layers make {after} of {before}, which cannot be added")
    image = before.is_image
    axes = (before.sizes[1:], after.sizes[1:]) if image else (before.sizes[:-1], after.sizes[:-1])
    strides = [find_stride(*pair) for pair in zip(*axes, strict=True)]
    known = [stride for stride in strides if stride is not None]
    if len(known) < len(strides):
        raise ValueError(
            f"its layers make {after} of {before}, which no stride gives: use padding: same in the convolutions"
        )
    return tuple(known)
