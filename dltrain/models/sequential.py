"""Networks that a config lists layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from itertools import groupby, pairwise
from typing import Any

from torch import Tensor, nn

from dltrain.architecture import convolutions
from dltrain.architecture import layers as written
from dltrain.architecture.convolutions import to_pair
from dltrain.architecture.layers import Layers
from dltrain.architecture.plan import PlacedLayer, find_projection, lay_out
from dltrain.architecture.shapes import Dimension, ExampleShape, Layer
from dltrain.models.layers import ACTIVATIONS, NOT_MONOTONE, Features
from dltrain.models.sequence_layers import (
    ChannelsFirst,
    GlobalPooling,
    Lengths,
    OverTime,
    RecurrentModule,
    ReshapeModule,
    SequenceConvolution,
    SequencePooling,
    SubsampledLinear,
    split_padding,
)
from dltrain.registry import models

RECURRENT: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@models.register("sequential", check="dltrain.architecture.plan")
class Sequential(nn.Module):
    """Layers one after the other, as the config lists them; the shapes between them are inferred.

    It reads images (channels, height, width), the rows of a table (features), windows of a series (steps, channels) and
    texts (tokens, of any length; begin with embedding). The last layer must give what the task takes: `dense: classes`,
    `dense: outputs`, or of a reconstruction the image. A number of units or filters may be the name of a size that the
    task provides, such as classes, outputs or image_channels.

    Raises ValueError, naming the layer and the shapes, where layers do not fit together.

    Options:
        layers: the layers, each its name, {name: value of its first option} or {name: {option: value, ...}}.
    """

    def __init__(self, sizes: Mapping[str, int], *, layers: Layers) -> None:
        super().__init__()
        self.layers = Stack(lay_out(sizes, layers), sizes)

    def forward(self, inputs: Tensor, lengths: Lengths = None) -> Tensor:
        """Inputs (N, ...), of texts with their `lengths` (N,), to (N, ...) as the last layer gives them."""
        outputs: Tensor = self.layers(inputs, lengths)[0]
        return outputs


class Stack(OverTime):
    """Layers one after the other, each called after its number and its name."""

    def __init__(self, placed: Sequence[PlacedLayer], sizes: Mapping[str, int]) -> None:
        super().__init__()
        for number, each in enumerate(placed, 1):
            self.add_module(f"{number}_{each.name}", build_layer(each.layer, each, sizes))
        self._runs = arrange_calls(list(self.children()))

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        for run in self._runs:
            if isinstance(run, OverTime):
                inputs, lengths = run(inputs, lengths)
            else:
                inputs = run(inputs)
        return inputs, lengths


MONOTONE = tuple(kind for name, kind in ACTIVATIONS.items() if name not in NOT_MONOTONE)


def arrange_calls(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Arrange the layers for faster calls that give the same values.

    A maximum is taken before a monotone activation, and layers in a row that oneDNN knows share its layout.
    """
    order = list(layers)
    for index, (first, second) in enumerate(pairwise(layers)):
        if isinstance(first, MONOTONE) and isinstance(second, nn.MaxPool2d):
            order[index : index + 2] = second, first
    calls: list[nn.Module] = []
    for known, group in groupby(order, lambda layer: isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.ReLU)):
        run = list(group)
        together = known and any(isinstance(layer, nn.Conv2d) for layer in run)
        calls += [Features(*run)] if together else run
    return calls


@singledispatch
def build_layer(layer: Layer, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    """Build the module of a layer. Its parameters are drawn from torch's generator."""
    raise NotImplementedError(f"layer '{placed.name}' cannot be built")


def require_size(size: Dimension | str) -> int:
    assert isinstance(size, int), "all sizes are known when a model is built"
    return size


def count_channels(shape: ExampleShape) -> int:
    return require_size(shape.sizes[0 if shape.is_image else -1])


@build_layer.register(written.Dense)
@build_layer.register(written.Dropout)
@build_layer.register(written.Flatten)
@build_layer.register(written.Reshape)
@build_layer.register(written.Embedding)
@build_layer.register(written.NonLinearity)
@build_layer.register(written.Repeat)
@build_layer.register(convolutions.GlobalAvgPool)
@build_layer.register(convolutions.Upsample)
def build_plain_layer(layer: Layer, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    """Build a layer for which one module is enough."""
    match layer:
        case written.Dense():
            return nn.Linear(count_channels(placed.before), require_size(layer.units), layer.bias)
        case written.Dropout():
            return nn.Dropout(layer.share)
        case written.Reshape():
            return ReshapeModule([require_size(size) for size in layer.shape])
        case written.Embedding():
            return nn.Embedding(sizes["vocabulary"], layer.width)
        case written.NonLinearity():
            return ACTIVATIONS[placed.name]()
        case written.Repeat():
            return Stack(placed.inside, sizes)
        case convolutions.GlobalAvgPool():
            return GlobalPooling(isinstance(layer, convolutions.GlobalMaxPool))
        case convolutions.Upsample():
            return nn.Upsample(scale_factor=to_pair(layer.factor))
    return nn.Flatten()


@build_layer.register
def build_conv2d(layer: convolutions.Conv2d, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    windows = layer.windows()
    padding = [split_padding(window) for window in windows]
    even = all(before == behind for before, behind in padding)
    convolution = nn.Conv2d(
        count_channels(placed.before),
        require_size(layer.filters),
        to_pair(layer.kernel),
        to_pair(layer.stride),
        padding=(padding[0][0], padding[1][0]) if even else 0,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )
    return convolution if even else nn.Sequential(nn.ZeroPad2d((*padding[1], *padding[0])), convolution)


@build_layer.register
def build_conv1d(layer: convolutions.Conv1d, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    (window,) = layer.windows()
    convolution = nn.Conv1d(
        count_channels(placed.before),
        require_size(layer.filters),
        window.size,
        window.stride,
        dilation=window.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )
    return SequenceConvolution(window, convolution)


@build_layer.register
def build_pooling(layer: convolutions.Pooling, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    windows = layer.windows(placed.before)
    largest = isinstance(layer, convolutions.MaxPool)
    if placed.before.is_sequence:
        return SequencePooling(windows[0], largest)
    size, stride = (windows[0].size, windows[1].size), (windows[0].stride, windows[1].stride)
    return nn.MaxPool2d(size, stride, windows[0].padding // 2) if largest else nn.AvgPool2d(size, stride)


@build_layer.register
def build_batch_norm(layer: written.BatchNorm, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    kind = nn.BatchNorm2d if placed.before.is_image else nn.BatchNorm1d
    norm = kind(count_channels(placed.before), layer.epsilon, layer.momentum)
    return ChannelsFirst(norm) if placed.before.is_sequence else norm


@build_layer.register
def build_layer_norm(layer: written.LayerNorm, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    shape = placed.before.sizes if placed.before.is_image else placed.before.sizes[-1:]
    return nn.LayerNorm([require_size(size) for size in shape], layer.epsilon)


@build_layer.register
def build_group_norm(layer: written.GroupNorm, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    norm = nn.GroupNorm(layer.groups, count_channels(placed.before), layer.epsilon)
    return ChannelsFirst(norm) if placed.before.is_sequence else norm


@build_layer.register
def build_recurrent(layer: written.Recurrent, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    extra = {"nonlinearity": layer.activation} if isinstance(layer, written.RNN) else {}
    width, units = count_channels(placed.before), require_size(layer.units)
    directions = [
        RECURRENT[placed.name](width, units, batch_first=True, **extra) for _ in range(1 + layer.bidirectional)
    ]
    return RecurrentModule(directions[0], directions[1] if layer.bidirectional else None, layer.returns == "last")


class ResidualModule(OverTime):
    """Layers, and their input added to what they give."""

    def __init__(self, stack: Stack, shortcut: nn.Module) -> None:
        super().__init__()
        self.stack, self.shortcut = stack, shortcut

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        outputs, lengths = self.stack(inputs, lengths)
        return outputs + self.shortcut(inputs), lengths


@build_layer.register
def build_residual(layer: written.Residual, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    strides = find_projection(placed.before, placed.after)
    width = count_channels(placed.before), count_channels(placed.after)
    shortcut: nn.Module = nn.Identity()
    if strides is not None and placed.before.is_image:
        shortcut = nn.Conv2d(*width, 1, (strides[0], strides[1]))
    elif strides is not None:
        shortcut = SubsampledLinear(*width, strides[0]) if placed.before.is_sequence else nn.Linear(*width)
    return ResidualModule(Stack(placed.inside, sizes), shortcut)
