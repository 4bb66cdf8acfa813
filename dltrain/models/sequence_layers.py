"""Layers of sequences of different lengths, which padding does not change, and others that torch does not have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.architecture.shapes import SlidingWindow
from dltrain.models.crnn import index_reversed
from dltrain.models.layers import mark_valid

Lengths = Tensor | None
"""How many steps of each sequence are its own, (N,); None where all are."""


class OverTime(nn.Module):
    """A layer that respects where sequences end: it takes inputs and lengths and returns both."""


def split_padding(window: SlidingWindow) -> tuple[int, int]:
    """Split a window's padding into before and behind; an odd one is larger behind, as in torch."""
    return window.padding // 2, window.padding - window.padding // 2


def pad_to_window(window: SlidingWindow, steps: int, lengths: Lengths) -> tuple[int, int]:
    """The padding before and behind; batches of sequences get enough of it for one window at least."""
    before, behind = split_padding(window)
    if lengths is not None:
        behind = torch.sym_max(behind, window.span - before - steps)  # type: ignore[no-untyped-call]
    return before, behind


class SequenceConvolution(OverTime):
    """A convolution over steps: (N, T, C) to (N, T', C'). Padding is read as zeros."""

    def __init__(self, window: SlidingWindow, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.window, self.convolution = window, convolution

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        if lengths is not None:
            inputs = inputs * mark_valid(lengths, inputs.shape[1])[:, :, None]
        padding = pad_to_window(self.window, inputs.shape[1], lengths)
        outputs = self.convolution(functional.pad(inputs.transpose(1, 2), padding))
        return outputs.transpose(1, 2), count_windows(self.window, lengths)


def count_windows(window: SlidingWindow, lengths: Lengths) -> Lengths:
    """Count the windows of each sequence; a short one has a window too."""
    if lengths is None:
        return None
    windows = (lengths + window.padding - window.span).div(window.stride, rounding_mode="floor") + 1
    return windows.clamp(min=1)


class SequencePooling(OverTime):
    """The largest number or the mean in each window of steps: (N, T, C) to (N, T', C), of a sequence's own steps."""

    def __init__(self, window: SlidingWindow, largest: bool) -> None:
        super().__init__()
        self.window, self.largest = window, largest

    def forward(self, inputs: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        steps = inputs.shape[1]
        own = inputs.new_ones(inputs.shape[0], steps)
        if lengths is not None:
            own = mark_valid(lengths, steps).to(inputs.dtype)
        padding = pad_to_window(self.window, steps, lengths)
        own = functional.pad(own[:, None], padding)  # (N, 1, T)
        values = functional.pad(inputs.transpose(1, 2), padding)  # (N, C, T)
        size, stride = self.window.size, self.window.stride
        shares = functional.avg_pool1d(own, size, stride)
        if self.largest:
            pooled = functional.max_pool1d(values.masked_fill(own == 0, -torch.inf), size, stride)
        else:
            pooled = functional.avg_pool1d(values * own, size, stride) / shares.clamp(min=1 / size)
        # Windows behind a sequence's end hold nothing; an infinity there would make the gradients undefined.
        return pooled.masked_fill(shares == 0, 0.0).transpose(1, 2), count_windows(self.window, lengths)


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


class ChannelsFirst(nn.Module):
    """A layer that reads (N, C, T), for sequences (N, T, C)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.transpose(1, 2))
        return outputs.transpose(1, 2)


class ReshapeModule(nn.Module):
    """Examples in another shape."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], *self.shape)


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


class SubsampledLinear(nn.Linear):
    """A linear layer on every `stride`-th step of sequences (N, T, C)."""

    def __init__(self, width: int, units: int, stride: int) -> None:
        super().__init__(width, units)
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs[:, :: self.stride])
