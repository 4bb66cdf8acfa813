"""Convolutions and recurrent layers for speech, and what other acoustic models share with them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dltrain.options import Fraction, PositiveInt, Widths
from dltrain.registry import models

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


def inside(frames: Tensor, length: int) -> Tensor:
    """Which of `length` frames belong to each clip, (N, length) bool, by the clips' `frames` (N,)."""
    return torch.arange(length, device=frames.device) < frames[:, None]


class Subsampling(nn.Module):
    """Convolutions over time and bands that make `subsampling` frames one, with ReLU after each.

    Every block halves the bands, rounded up; the first ones shorten the time, by 2 each, or by all of it where there
    is one block only. What lies after a clip's frames is zeroed before each convolution, so that it is read as the
    convolution's own padding.
    """

    def __init__(self, bands: int, subsampling: int, channels: list[int]) -> None:
        super().__init__()
        strides = [subsampling] if len(channels) == 1 else [2] * (subsampling // 2) + [1] * len(channels)
        self.strides = strides[: len(channels)]
        self.convolutions = nn.ModuleList()
        wide = 1
        for filters, stride in zip(channels, self.strides, strict=True):
            kernel = max(3, 2 * stride - 1)  # each frame is seen by at least one output, T' is T / stride rounded up
            self.convolutions.append(nn.Conv2d(wide, filters, (kernel, 3), (stride, 2), (kernel // 2, 1)))
            wide, bands = filters, (bands + 1) // 2
        self.width = wide * bands
        """Numbers in each frame that comes out."""

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, T, F) to (N, T', width) and their frames (N,); T' = T / subsampling, rounded up."""
        maps = features[:, None] * inside(frames, features.shape[1])[:, None, :, None]  # (N, 1, T, F)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            frames = (frames + stride - 1) // stride
            maps = convolution(maps).relu()
            maps = maps * inside(frames, maps.shape[2])[:, None, :, None]
        return maps.transpose(1, 2).flatten(2), frames


class Bidirectional(nn.Module):
    """One recurrent layer read forwards and one read backwards, side by side.

    The backward one reads each clip from its own last frame on, so that padding comes last in both directions and no
    real frame ever sees it. That is what packed sequences are for, at half their cost on a CPU.
    """

    def __init__(self, cell: str, width: int, hidden: int) -> None:
        super().__init__()
        self.forwards = CELLS[cell](width, hidden, batch_first=True)
        self.backwards = CELLS[cell](width, hidden, batch_first=True)

    def forward(self, sequence: Tensor, reversal: tuple[Tensor, Tensor]) -> Tensor:
        """(N, T, width) to (N, T, 2 * hidden); `reversal` is `reversed_within`'s."""
        backwards, _ = self.backwards(sequence[reversal])
        return torch.cat([self.forwards(sequence)[0], backwards[reversal]], 2)


def index_reversed(frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The index that turns each clip's own frames round in a tensor (N, length, ...), and leaves those after them."""
    times = torch.arange(length, device=frames.device)
    turned = torch.where(times < frames[:, None], frames[:, None] - 1 - times, times)
    return torch.arange(frames.shape[0], device=frames.device)[:, None], turned


@models.register("crnn")
class CRNN(nn.Module):
    """Convolutions, bidirectional recurrent layers, and the probability of each character in each frame.

    In the manner of Deep Speech 2 (Amodei et al. 2016, arXiv:1512.02595), with layer normalisation (Ba et al. 2016,
    arXiv:1607.06450) in place of batch normalisation: no clip's scores depend on the clips beside it, nor on padding.

    Features (N, T, bands) and frames (N,) to log-probabilities (N, T / subsampling rounded up, alphabet) float32 and
    their lengths (N,).

    Options:
        channels: filters of each convolution, one number a convolution; each spans 3 bands and halves their number.
        cell: the recurrent unit.
        hidden: units of each recurrent layer in each direction.
        layers: recurrent layers.
        dropout: share of units dropped before each recurrent layer and before the output.
        layer_norm: normalise each frame before each recurrent layer and before the output.
    """

    def __init__(
        self,
        bands: int,
        alphabet: int,
        subsampling: int,
        *,
        channels: Widths = [32, 32],
        cell: Literal["lstm", "gru"] = "lstm",
        hidden: PositiveInt = 64,
        layers: PositiveInt = 2,
        dropout: Fraction = 0.1,
        layer_norm: bool = True,
    ) -> None:
        super().__init__()
        self.subsampling = Subsampling(bands, subsampling, channels)
        widths = [self.subsampling.width] + [2 * hidden] * layers
        self.norms = nn.ModuleList(nn.LayerNorm(width) if layer_norm else nn.Identity() for width in widths)
        self.recurrent = nn.ModuleList(Bidirectional(cell, width, hidden) for width in widths[:-1])
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(widths[-1], alphabet)

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        hidden, frames = self.subsampling(features, frames)
        reversal = index_reversed(frames, hidden.shape[1])
        for norm, layer in zip(self.norms, self.recurrent, strict=False):
            hidden = layer(self.dropout(norm(hidden)), reversal)
        logits: Tensor = self.output(self.dropout(self.norms[-1](hidden)))
        return logits.float().log_softmax(2), frames
