"""Networks written down as a list of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.architecture import layers as written
from dltrain.architecture.layers import Layers, to_pair
from dltrain.architecture.plan import PlacedLayer, find_projection, lay_out
from dltrain.architecture.shapes import Dimension, Shape, SlidingWindow
from dltrain.models.crnn import index_reversed
from dltrain.models.layers import ACTIVATIONS, NOT_MONOTONE, Features, mark_valid
from dltrain.registry import models

Lengths = Tensor | None
"""How many steps of each sequence are its own, (N,); None where all are."""

RECURRENT: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@models.register("sequential", check="dltrain.architecture.plan")
class Sequential(nn.Module):
    """Layers one after the other, as the config lists them; the shapes between them are inferred.

    It reads images (channels, height, width), the rows of a table (features), windows of a series (steps, channels) and
    texts (tokens, of any length; begin with embedding). The last layer must give what the task takes: `dense: classes`,
    `dense: outputs`, or of a reconstruction the image. Where a number of units or filters is wanted, the name of a size
    that the task provides may stand, such as classes, outputs or image_channels.

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


class OverTime(nn.Module):
    """A layer that minds where sequences end: called with inputs and lengths, it gives both as they are after it."""


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
    """The layers as they are called: to the same values, and faster.

    A maximum is taken before a monotone activation, and layers in a row that oneDNN knows share its layout.
    """
    order = list(layers)
    for place, (first, second) in enumerate(pairwise(layers)):
        if isinstance(first, MONOTONE) and isinstance(second, nn.MaxPool2d):
            order[place : place + 2] = second, first
    calls: list[nn.Module] = []
    for known, group in groupby(order, lambda layer: isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.ReLU)):
        run = list(group)
        together = known and any(isinstance(layer, nn.Conv2d) for layer in run)
        calls += [Features(*run)] if together else run
    return calls


@singledispatch
def build_layer(layer: written.Layer, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    """The module of a layer. Its parameters are drawn from torch's generator."""
    raise NotImplementedError(f"layer '{placed.name}' cannot be built")


def require_size(size: Dimension | str) -> int:
    assert isinstance(size, int), "all sizes are known when a model is built"
    return size


def count_channels(shape: Shape) -> int:
    return require_size(shape.sizes[0 if shape.is_image else -1])


@build_layer.register
def build_dense(layer: written.Dense, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return nn.Linear(count_channels(placed.before), require_size(layer.units), layer.bias)


def split_padding(window: SlidingWindow) -> tuple[int, int]:
    """A window's padding, before and behind; an odd one is larger behind, as in torch."""
    return window.padding // 2, window.padding - window.padding // 2


@build_layer.register
def build_conv2d(layer: written.Conv2d, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    windows = layer.windows()
    padding = [split_padding(window) for window in windows]
    even = all(before == behind for before, behind in padding)
    convolution = nn.Conv2d(
        count_channels(placed.before),
        require_size(layer.filters),
        to_pair(layer.kernel),
        to_pair(layer.stride),
        (padding[0][0], padding[1][0]) if even else 0,
        layer.dilation,
        layer.groups,
        layer.bias,
    )
    return convolution if even else nn.Sequential(nn.ZeroPad2d((*padding[1], *padding[0])), convolution)


class SequenceConvolution(OverTime):
    """A convolution over steps: (N, T, C) to (N, T', C'). What lies after a sequence's own steps is read as zeros."""

    def __init__(self, window: SlidingWindow, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.window, self.convolution = window, convolution

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        before, behind = split_padding(self.window)
        if lengths is not None:
            inputs = inputs * mark_valid(lengths, inputs.shape[1])[:, :, None]
            behind = torch.sym_max(behind, self.window.span - before - inputs.shape[1])  # type: ignore[no-untyped-call]
        outputs = self.convolution(functional.pad(inputs.transpose(1, 2), (before, behind)))
        return outputs.transpose(1, 2), count_windows(self.window, lengths)


def count_windows(window: SlidingWindow, lengths: Lengths) -> Lengths:
    """How many windows each sequence has; a short one has a window too."""
    if lengths is None:
        return None
    places = (lengths + window.padding - window.span).div(window.stride, rounding_mode="floor") + 1
    return places.clamp(min=1)


@build_layer.register
def build_conv1d(layer: written.Conv1d, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
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


class SequencePooling(OverTime):
    """The largest number or the mean in each window of steps: (N, T, C) to (N, T', C), of a sequence's own steps."""

    def __init__(self, window: SlidingWindow, largest: bool) -> None:
        super().__init__()
        self.window, self.largest = window, largest

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        steps = inputs.shape[1]
        own = (
            inputs.new_ones(inputs.shape[0], steps) if lengths is None else mark_valid(lengths, steps).to(inputs.dtype)
        )
        before, behind = split_padding(self.window)
        if lengths is not None:
            behind = torch.sym_max(behind, self.window.span - before - steps)  # type: ignore[no-untyped-call]
        own = functional.pad(own[:, None], (before, behind))  # (N, 1, T)
        values = functional.pad(inputs.transpose(1, 2), (before, behind))  # (N, C, T)
        size, stride = self.window.size, self.window.stride
        shares = functional.avg_pool1d(own, size, stride)
        if self.largest:
            pooled = functional.max_pool1d(values.masked_fill(own == 0, -torch.inf), size, stride)
        else:
            pooled = functional.avg_pool1d(values * own, size, stride) / shares.clamp(min=1 / size)
        # Windows behind a sequence's end hold nothing; an infinity there would make the gradients undefined.
        return pooled.masked_fill(shares == 0, 0.0).transpose(1, 2), count_windows(self.window, lengths)


@build_layer.register
def build_pooling(layer: written.Pooling, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    windows = layer.windows(placed.before)
    largest = isinstance(layer, written.MaxPool)
    if placed.before.is_sequence:
        return SequencePooling(windows[0], largest)
    size, stride = (windows[0].size, windows[1].size), (windows[0].stride, windows[1].stride)
    return nn.MaxPool2d(size, stride, windows[0].padding // 2) if largest else nn.AvgPool2d(size, stride)


class GlobalPooling(OverTime):
    """The largest number or the mean of each channel of images (N, C, H, W) or of sequences' own steps (N, T, C)."""

    def __init__(self, largest: bool) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        axes = (2, 3) if inputs.ndim == 4 else (1,)
        if lengths is None:
            return inputs.amax(axes) if self.largest else inputs.mean(axes), None
        lengths = lengths.clamp(min=1)
        own = mark_valid(lengths, inputs.shape[1])[:, :, None]
        if self.largest:
            return inputs.masked_fill(~own, -torch.inf).amax(axes), None
        return inputs.masked_fill(~own, 0.0).sum(axes) / lengths[:, None], None


@build_layer.register
def build_global_pooling(layer: written.GlobalAvgPool, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return GlobalPooling(isinstance(layer, written.GlobalMaxPool))


@build_layer.register
def build_upsample(layer: written.Upsample, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return nn.Upsample(scale_factor=to_pair(layer.factor))


class ChannelsFirst(nn.Module):
    """A layer that wants (N, C, T), for sequences (N, T, C)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.transpose(1, 2))
        return outputs.transpose(1, 2)


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
def build_dropout(layer: written.Dropout, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return nn.Dropout(layer.share)


@build_layer.register
def build_flatten(layer: written.Flatten, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return nn.Flatten()


class ReshapeModule(nn.Module):
    """Examples in another shape."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], *self.shape)


@build_layer.register
def build_reshape(layer: written.Reshape, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return ReshapeModule([require_size(size) for size in layer.shape])


@build_layer.register
def build_embedding(layer: written.Embedding, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return nn.Embedding(sizes["vocabulary"], layer.width)


class RecurrentModule(OverTime):
    """A recurrent layer, and one that reads from each sequence's own end: (N, T, C) to (N, T, units) or (N, units).

    So padding comes last in both directions, and no step of a sequence's own ever sees it.
    """

    def __init__(self, forwards: nn.RNNBase, backwards: nn.RNNBase | None, last: bool) -> None:
        super().__init__()
        self.forwards, self.backwards, self.last = forwards, backwards, last

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        steps = inputs.shape[1]
        own = inputs.new_full((inputs.shape[0],), steps, dtype=torch.int64) if lengths is None else lengths.clamp(min=1)
        outputs = [self.forwards(inputs)[0]]
        if self.backwards is not None:
            turned = index_reversed(own, steps)
            read = self.backwards(inputs[turned])[0]
            outputs.append(read if self.last else read[turned])
        if not self.last:
            return torch.cat(outputs, 2), lengths
        final = torch.arange(inputs.shape[0], device=inputs.device), own - 1
        return torch.cat([each[final] for each in outputs], 1), None


@build_layer.register
def build_recurrent(layer: written.Recurrent, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    extra = {"nonlinearity": layer.activation} if isinstance(layer, written.RNN) else {}
    width, units = count_channels(placed.before), require_size(layer.units)
    directions = [
        RECURRENT[placed.name](width, units, batch_first=True, **extra) for _ in range(1 + layer.bidirectional)
    ]
    return RecurrentModule(directions[0], directions[1] if layer.bidirectional else None, layer.returns == "last")


@build_layer.register
def build_non_linearity(layer: written.NonLinearity, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return ACTIVATIONS[placed.name]()


class SubsampledLinear(nn.Linear):
    """A linear layer on every `stride`-th step of sequences (N, T, C)."""

    def __init__(self, width: int, units: int, stride: int) -> None:
        super().__init__(width, units)
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs[:, :: self.stride])


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


@build_layer.register
def build_repeat(layer: written.Repeat, placed: PlacedLayer, sizes: Mapping[str, int]) -> nn.Module:
    return Stack(placed.inside, sizes)
