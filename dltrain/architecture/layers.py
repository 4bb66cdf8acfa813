"""The layers that a config can write down: their options, and what each makes of a shape. No torch here.

An option of a layer is declared here alone: the check of a config, the JSON Schema, the documentation and the modules
that `dltrain.models.sequential` builds all go by these classes.

Steps come before channels, (T, C), and an image's channels before its height and width, (C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Gt, Le, MaxLen, MinLen, Predicate
from typing_extensions import Doc

from dltrain.architecture.named import Named
from dltrain.architecture.shapes import UNKNOWN, Dimension, Shape, SlidingWindow, divides, slide
from dltrain.options import Activation, Fraction, NonNegativeInt, PositiveFloat, PositiveInt

Size = PositiveInt | Annotated[str, Predicate(str.isidentifier), Doc("the name of a size")]
Sides = PositiveInt | Annotated[list[PositiveInt], MinLen(2), MaxLen(2)]
"""One number for height and width, or for the steps of a sequence; or height and width."""


@dataclass(frozen=True)
class Layer:
    """A layer as its options say. `sized` are the options that may be the name of a size."""

    sized: ClassVar[tuple[str, ...]] = ()

    def after(self, before: Shape) -> Shape:
        """The shape that comes out. Raises ValueError, in words for the config's author, where it cannot read one."""
        return before


@dataclass(frozen=True)
class Dense(Layer):
    """Every unit a weighted sum of all numbers; of a sequence, of each step's numbers.

    An image is not read: put flatten or global_avg_pool before it.

    Options:
        units: numbers that come out.
        bias: add a number to each of them.
    """

    units: Size
    bias: bool = True
    sized = ("units",)

    def after(self, before: Shape) -> Shape:
        if before.is_image:
            raise ValueError(f"it reads (features) or (steps, channels), found {before}: put flatten before it")
        return Shape((*before.sizes[:-1], to_dimension(self.units)))


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
        """The kernel along each of the axes that it slides over; same pads what a window spans beyond one place."""
        windows = []
        for size, stride in list(zip(to_pair(self.kernel), to_pair(self.stride), strict=True))[: self.axes]:
            alone = SlidingWindow(size, stride, 0, self.dilation)
            total = alone.span - 1 if isinstance(self.padding, str) else 2 * self.padding
            windows.append(replace(alone, padding=total))
        return tuple(windows)

    def after(self, before: Shape) -> Shape:
        if len(before.sizes) != self.axes + 1:
            wanted = "(channels, height, width)" if self.axes == 2 else "(steps, channels)"
            raise ValueError(f"it reads {wanted}, found {before}")
        channels, filters = before.sizes[0 if before.is_image else -1], to_dimension(self.filters)
        if not divides(self.groups, channels):
            raise ValueError(f"its {self.groups} groups do not divide the {channels} channels of {before}")
        if not divides(self.groups, filters):
            raise ValueError(f"its {self.groups} groups do not divide its {filters} filters")
        sides = slide_windows(before, self.windows(), "kernel")
        return Shape((filters, *sides) if before.is_image else (*sides, filters))


@dataclass(frozen=True)
class Conv1d(Convolution):
    """Filters that slide over the steps of a sequence.

    What lies after a text's last token is read as zeros, and a text shorter than the kernel as if zeros followed it.

    Options:
        kernel: steps that a filter sees.
        stride: steps from one place of a filter to the next.
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
        stride: pixels from one place of a filter to the next, or down and right.
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

    def windows(self, before: Shape) -> tuple[SlidingWindow, ...]:
        """The window along each of the axes of `before` that it slides over."""
        stride = self.window if self.stride is None else self.stride
        if before.is_image:
            return tuple(SlidingWindow(*each) for each in zip(to_pair(self.window), to_pair(stride), strict=True))
        if isinstance(self.window, list) or isinstance(stride, list):
            raise ValueError(f"{before} has one axis to slide over: give one number for window and for stride")
        return (SlidingWindow(self.window, stride),)

    def after(self, before: Shape) -> Shape:
        if not (before.is_image or before.is_sequence):
            raise ValueError(f"it reads (channels, height, width) or (steps, channels), found {before}")
        sides = slide_windows(before, self.windows(before), "window")
        return Shape((before.sizes[0], *sides) if before.is_image else (*sides, before.sizes[-1]))


@dataclass(frozen=True)
class MaxPool(Pooling):
    """The largest number within each window of an image or of a sequence, channel by channel.

    Options:
        padding: places on each side that count for nothing, half a window at most.
    """

    padding: NonNegativeInt = 0

    def windows(self, before: Shape) -> tuple[SlidingWindow, ...]:
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

    def after(self, before: Shape) -> Shape:
        if before.is_image:
            return Shape(before.sizes[:1])
        if before.is_sequence:
            return Shape(before.sizes[-1:])
        raise ValueError(f"it reads (channels, height, width) or (steps, channels), found {before}")


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

    def after(self, before: Shape) -> Shape:
        if not before.is_image:
            raise ValueError(f"it reads (channels, height, width), found {before}")
        channels, *sides = before.sizes
        pairs = zip(sides, to_pair(self.factor), strict=True)
        return Shape((channels, *(side * factor if isinstance(side, int) else side for side, factor in pairs)))


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each channel with mean 0 and variance 1 over the batch, then scaled and shifted (Ioffe and Szegedy 2015,
    arXiv:1502.03167).

    Sequences of different lengths are not read, since their padding would count: use layer_norm.

    Options:
        momentum: share of each batch in the running mean and variance, which are used outside training.
        epsilon: added to the variance.
    """

    momentum: Annotated[float, Gt(0), Le(1)] = 0.1
    epsilon: PositiveFloat = 1e-5

    def after(self, before: Shape) -> Shape:
        _refuse_padding(before)
        return before


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Each example with mean 0 and variance 1, each step of a sequence by itself (Ba et al. 2016, arXiv:1607.06450).

    Of an image all channels and pixels count together. Then each number is scaled and shifted.

    Options:
        epsilon: added to the variance.
    """

    epsilon: PositiveFloat = 1e-5


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Each group of channels of each example with mean 0 and variance 1 (Wu and He 2018, arXiv:1803.08494).

    Sequences of different lengths are not read, since their padding would count: use layer_norm.

    Options:
        groups: into how many groups the channels are divided.
        epsilon: added to the variance.
    """

    groups: PositiveInt
    epsilon: PositiveFloat = 1e-5

    def after(self, before: Shape) -> Shape:
        _refuse_padding(before)
        channels = before.sizes[-1 if before.is_sequence else 0]
        if not divides(self.groups, channels):
            raise ValueError(f"its {self.groups} groups do not divide the {channels} channels of {before}")
        return before


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, numbers drawn at random become zero and the others larger (Srivastava et al. 2014).

    Options:
        share: probability of each number to be dropped.
    """

    share: Fraction = 0.5


@dataclass(frozen=True)
class Flatten(Layer):
    """All numbers of an example in a row."""

    def after(self, before: Shape) -> Shape:
        if before.varies:
            raise ValueError(
                f"{before} has another length in each batch, and no fixed number of features: use global_avg_pool, "
                "global_max_pool, or a recurrent layer with returns: last"
            )
        return Shape((before.count,))


@dataclass(frozen=True)
class Reshape(Layer):
    """The numbers of an example, in their order, in another shape.

    Options:
        shape: (features), (steps, channels) or (channels, height, width).
    """

    shape: Annotated[list[Size], MinLen(1), MaxLen(3)]
    sized = ("shape",)

    def after(self, before: Shape) -> Shape:
        if before.varies:
            raise ValueError(f"{before} has another length in each batch, and cannot be put into a fixed shape")
        wanted = Shape(tuple(map(to_dimension, self.shape)))
        if before.count is not UNKNOWN and wanted.count is not UNKNOWN and before.count != wanted.count:
            raise ValueError(f"{before} holds {before.count} numbers, and {wanted} needs {wanted.count}")
        return wanted


@dataclass(frozen=True)
class Embedding(Layer):
    """A vector of weights for each token of the vocabulary: the first layer of a model of texts.

    Options:
        width: numbers in each vector.
    """

    width: PositiveInt

    def after(self, before: Shape) -> Shape:
        if not before.tokens:
            raise ValueError(f"it reads tokens, found {before}")
        return Shape((*before.sizes, self.width))


@dataclass(frozen=True)
class Recurrent(Layer):
    """A recurrent layer.

    Options:
        units: numbers that come out for each step.
        bidirectional: a second one reads from the end, and its units come beside the first one's.
        returns: what comes out: the units at the last step (of the backward one at the first), or at every step.
    """

    units: Size
    bidirectional: bool = False
    returns: Literal["last", "sequence"] = "last"
    sized = ("units",)

    def after(self, before: Shape) -> Shape:
        if not before.is_sequence:
            raise ValueError(f"it reads (steps, channels), found {before}")
        units = to_dimension(self.units)
        if self.bidirectional and isinstance(units, int):
            units *= 2
        return Shape((before.sizes[0], units) if self.returns == "sequence" else (units,))


@dataclass(frozen=True)
class RNN(Recurrent):
    """A plain recurrent layer (Elman 1990). What lies after a text's last token changes nothing.

    Options:
        activation: the non-linearity.
    """

    activation: Literal["tanh", "relu"] = "tanh"


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997). What lies after a text's last token changes nothing."""


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014, arXiv:1406.1078). What lies after a text's last token changes nothing."""


@dataclass(frozen=True)
class NonLinearity(Layer):
    """A function of each number by itself."""


@dataclass(frozen=True)
class Block(Layer):
    """Layers within a layer."""


@dataclass(frozen=True)
class Residual(Block):
    """What its layers make of their input, and the input added to it (He et al. 2016, arXiv:1512.03385).

    Where the two have different shapes, the input passes through a dense layer, or a 1 x 1 convolution with the stride
    that gives the size; where there is none, padding: same in the inner layers helps.

    Options:
        layers: the layers that the input is led past.
    """

    layers: Layers


@dataclass(frozen=True)
class Repeat(Block):
    """The same layers several times in a row, each time with weights of their own.

    Options:
        times: how often.
        layers: the layers.
    """

    times: PositiveInt
    layers: Layers


LAYERS: dict[str, type[Layer]] = {
    "dense": Dense,
    "conv1d": Conv1d,
    "conv2d": Conv2d,
    "max_pool": MaxPool,
    "avg_pool": AvgPool,
    "global_avg_pool": GlobalAvgPool,
    "global_max_pool": GlobalMaxPool,
    "upsample": Upsample,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "group_norm": GroupNorm,
    "dropout": Dropout,
    "flatten": Flatten,
    "reshape": Reshape,
    "embedding": Embedding,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    **dict.fromkeys(get_args(Activation), NonLinearity),
    "residual": Residual,
    "repeat": Repeat,
}
ABSENT = {
    "linear": "it is called dense here",
    "softmax": "the tasks take plain scores and apply it themselves; leave it out",
    "input": "the task's data says what comes in; leave it out",
}

Layers = Annotated[list[Annotated[Any, Named("layer", LAYERS, ABSENT)]], MinLen(1)]


def to_dimension(size: Any) -> Dimension:
    """A size option, names replaced, as a dimension."""
    return UNKNOWN if isinstance(size, str) else size


def to_pair(sides: int | list[int]) -> tuple[int, int]:
    """Height and width."""
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])


def slide_windows(before: Shape, windows: tuple[SlidingWindow, ...], noun: str) -> tuple[Dimension, ...]:
    """What is left of the axes that windows slide over. Raises ValueError where one is too large."""
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


def _refuse_padding(before: Shape) -> None:
    if before.varies:
        raise ValueError(f"{before} has another length in each batch, and its padding would count: use layer_norm")
