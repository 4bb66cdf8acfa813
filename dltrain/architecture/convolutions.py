"""Convolutions, pooling and upsampling: their options and the shapes that they make. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from annotated_types import MaxLen, MinLen

from dltrain.architecture.shapes import (
    Dimension,
    ExampleShape,
    Layer,
    Size,
    SlidingWindow,
    divides,
    slide,
    to_dimension,
)
from dltrain.options import NonNegativeInt, PositiveInt

Sides = PositiveInt | Annotated[list[PositiveInt], MinLen(2), MaxLen(2)]
"""One number for height and width, or for the steps of a sequence; or height and width."""


@dataclass(frozen=True)
class Convolution(Layer):
    """Filters that slide over an image or a sequence.

    Options:
        filters: channels that come out.
        padding: zeros put on each side; same for as many as keep the size, at stride 1.
        groups: parts that the channels are divided into, each with filters of its own.
        bias: add a number to each channel.
    """

    filters: Size
    kernel: Sides = 3
    stride: Sides = 1
    padding: NonNegativeInt | Literal["same"] = 0
    dilation: PositiveInt = 1
    groups: PositiveInt = 1
    bias: bool = True
    sized = ("filters",)
    axes: ClassVar[int]

    def windows(self) -> tuple[SlidingWindow, ...]:
        """The kernel along each of the axes that it slides over; same pads all that a window spans beyond one step."""
        windows = []
        for size, stride in list(zip(to_pair(self.kernel), to_pair(self.stride), strict=True))[: self.axes]:
            alone = SlidingWindow(size, stride, 0, self.dilation)
            total = alone.span - 1 if isinstance(self.padding, str) else 2 * self.padding
            windows.append(replace(alone, padding=total))
        return tuple(windows)

    def after(self, before: ExampleShape) -> ExampleShape:
        if len(before.sizes) != self.axes + 1:
            wanted = "(channels, height, width)" if self.axes == 2 else "(steps, channels)"
            raise ValueError(f"it reads {wanted}, found {before}")
        channels, filters = before.sizes[0 if before.is_image else -1], to_dimension(self.filters)
        if not divides(self.groups, channels):
            raise ValueError(f"its {self.groups} groups do not divide the {channels} channels of {before}")
        if not divides(self.groups, filters):
            raise ValueError(f"its {self.groups} groups do not divide its {filters} filters")
        sides = slide_windows(before, self.windows(), "kernel")
        return ExampleShape((filters, *sides) if before.is_image else (*sides, filters))


@dataclass(frozen=True)
class Conv1d(Convolution):
    """Filters that slide over the steps of a sequence.

    Padding after a text's last token is read as zeros, also where a text is shorter than the kernel.

    Options:
        kernel: steps that a filter sees.
        stride: steps that a filter moves each time.
        dilation: steps from one that a filter sees to the next one.
    """

    kernel: PositiveInt = 3
    stride: PositiveInt = 1
    axes = 1


@dataclass(frozen=True)
class Conv2d(Convolution):
    """Filters that slide over an image.

    Options:
        kernel: side of a filter, or its height and width.
        stride: pixels that a filter moves each time, or down and right.
        dilation: pixels from one that a filter sees to the next one.
    """

    axes = 2


@dataclass(frozen=True)
class Pooling(Layer):
    """Windows of an image or of a sequence.

    Options:
        window: side of the window, or its height and width; of a sequence, its steps.
        stride: from one window to the next; null for windows side by side.
    """

    window: Sides = 2
    stride: Sides | None = None

    def windows(self, before: ExampleShape) -> tuple[SlidingWindow, ...]:
        """The window along each of the axes of `before` that it slides over."""
        stride = self.window if self.stride is None else self.stride
        if before.is_image:
            return tuple(SlidingWindow(*each) for each in zip(to_pair(self.window), to_pair(stride), strict=True))
        if isinstance(self.window, list) or isinstance(stride, list):
            raise ValueError(f"{before} has one axis to slide over: give one number for window and for stride")
        return (SlidingWindow(self.window, stride),)

    def after(self, before: ExampleShape) -> ExampleShape:
        if not (before.is_image or before.is_sequence):
            raise ValueError(f"it reads (channels, height, width) or (steps, channels), found {before}")
        sides = slide_windows(before, self.windows(before), "window")
        return ExampleShape((before.sizes[0], *sides) if before.is_image else (*sides, before.sizes[-1]))


@dataclass(frozen=True)
class MaxPool(Pooling):
    """The largest number within each window of an image or of a sequence, channel by channel.

    Options:
        padding: steps or pixels added on each side that never count, half a window at most.
    """

    padding: NonNegativeInt = 0

    def windows(self, before: ExampleShape) -> tuple[SlidingWindow, ...]:
        windows = tuple(replace(window, padding=2 * self.padding) for window in super().windows(before))
        if any(window.padding > window.size for window in windows):
            raise ValueError(f"its padding of {self.padding} is more than half of its window")
        return windows


@dataclass(frozen=True)
class AvgPool(Pooling):
    """The mean within each window of an image or of a sequence, channel by channel."""


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of each channel over a whole image or sequence; over a text's own tokens, not its padding."""

    def after(self, before: ExampleShape) -> ExampleShape:
        if not (before.is_image or before.is_sequence):
            raise ValueError(f"it reads (channels, height, width) or (steps, channels), found {before}")
        return ExampleShape(before.sizes[:1] if before.is_image else before.sizes[-1:])


@dataclass(frozen=True)
class GlobalMaxPool(GlobalAvgPool):
    """The largest number of each channel in a whole image or sequence; in a text's own tokens, not its padding."""


@dataclass(frozen=True)
class Upsample(Layer):
    """An image enlarged by repeating its pixels.

    Options:
        factor: how many pixels each one becomes along a side, or down and across.
    """

    factor: Sides = 2

    def after(self, before: ExampleShape) -> ExampleShape:
        if not before.is_image:
            raise ValueError(f"it reads (channels, height, width), found {before}")
        channels, *sides = before.sizes
        pairs = zip(sides, to_pair(self.factor), strict=True)
        return ExampleShape((channels, *(side * factor if isinstance(side, int) else side for side, factor in pairs)))


def to_pair(sides: int | list[int]) -> tuple[int, int]:
    """Height and width."""
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])


def slide_windows(before: ExampleShape, windows: tuple[SlidingWindow, ...], noun: str) -> tuple[Dimension, ...]:
    """Compute the axes after windows have slid over them. Raises ValueError where a window is too large."""
    axes = before.sizes[1:] if before.is_image else before.sizes[:1]
    after = tuple(map(slide, axes, windows))
    if any(isinstance(size, int) and size < 1 for size in after):
        spans = " x ".join(str(window.span) for window in windows)
        found = " x ".join(str(size) for size in axes)
        padding = max(window.padding for window in windows)
        more = f" with {padding} of padding" if padding else ""
        advice = "a smaller one, padding: same" if noun == "kernel" else "a smaller one"
        raise ValueError(
            f"its {noun} spans {spans}, and {before} has {found}{more}: use {advice}, or less pooling before"
        )
    return after
