"""Convolutional and recurrent networks for speech, and the subsampling that other acoustic models share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dltrain.models.layers import mark_valid
from dltrain.options import Fraction, PositiveInt, Widths
from dltrain.registry import models

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Subsampling(nn.Module):
    """Convolutions over time and bands that reduce time by the factor `subsampling`, with ReLU after each.

    Every convolution halves the bands, rounded up; the first ones halve the time, or a single one reduces it by the
    whole factor. What comes after a clip's frames is zeroed before each convolution, like the convolution's padding.
    """

    def __init__(self, bands: int, subsampling: int, channels: list[int]) -> None:
        super().__init__()
        strides = [subsampling] if len(channels) == 1 else [2] * (subsampling // 2) + [1] * len(channels)
        self.strides = strides[: len(channels)]
        self.convolutions = nn.ModuleList()
        width = 1
        for filters, stride in zip(channels, self.strides, strict=True):
            kernel = max(3, 2 * stride - 1)  # each frame is seen by at least one output, T' is T / stride rounded up
            self.convolutions.append(
                nn.Conv2d(width, filters, (kernel, 3), stride=(stride, 2), padding=(kernel // 2, 1))
            )
            width, bands = filters, (bands + 1) // 2
        self.width = width * bands
        """Features of each output frame."""

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, T, F) to (N, T', width) and their frames (N,); T' = T / subsampling, rounded up."""
        maps = features[:, None] * mark_valid(frames, features.shape[1])[:, None, :, None]  # (N, 1, T, F)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            frames = (frames + stride - 1) // stride
            maps = convolution(maps).relu()
            maps = maps * mark_valid(frames, maps.shape[2])[:, None, :, None]
        return maps.transpose(1, 2).flatten(2), frames


class Bidirectional(nn.Module):
    """A forward and a backward recurrent layer, side by side.

    The backward layer starts at each clip's own last frame, so padding comes last in both directions and affects no
    real frame. Packed sequences do the same at twice the cost on a CPU.
    """

    def __init__(self, cell: str, width: int, hidden: int) -> None:
        super().__init__()
        self.forwards = CELLS[cell](width, hidden, batch_first=True)
        self.backwards = CELLS[cell](width, hidden, batch_first=True)

    def forward(self, sequence: Tensor, reversal: tuple[Tensor, Tensor]) -> Tensor:
        """(N, T, width) to (N, T, 2 * hidden); `reversal` is from `index_reversed`."""
        backwards, _ = self.backwards(sequence[reversal])
        return torch.cat([self.forwards(sequence)[0], backwards[reversal]], 2)


def index_reversed(frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The index that reverses each clip's own frames in a tensor (N, length, ...), and keeps those after them."""
    times = torch.arange(length, device=frames.device)
    turned = torch.where(times < frames[:, None], frames[:, None] - 1 - times, times)
    return torch.arange(frames.shape[0], device=frames.device)[:, None], turned


@models.register("crnn")
class CRNN(nn.Module):
    """Convolutions and bidirectional recurrent layers that give the probability of each character in each frame.

    Similar to Deep Speech 2 (Amodei et al. 2016, arXiv:1512.02595), with layer normalisation (Ba et al. 2016,
    arXiv:1607.06450) in place of batch normalisation: no clip's scores depend on the clips beside it, nor on padding.

    Features (N, T, bands) and frames (N,) to log-probabilities (N, T / subsampling rounded up, alphabet) float32 and
    their lengths (N,).

    Options:
        channels: filters of each convolution, one number per convolution; each spans 3 bands and halves their number.
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
