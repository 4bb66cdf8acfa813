"""Conformers: attention over the whole clip and convolution over neighbouring frames, alternately."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.models.crnn import Subsampling
from dltrain.models.layers import mark_valid, rotate
from dltrain.options import Fraction, PositiveInt, Widths
from dltrain.registry import models

Rotation = tuple[Tensor, Tensor]


def compute_rotation(length: int, width: int, device: torch.device) -> Rotation:
    """Cosines and sines, (length, width / 2) float32 each, of rotary positions (Su et al. 2021, arXiv:2104.09864)."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(length, device=device)[:, None] * rates
    return angles.cos(), angles.sin()


class Attention(nn.Module):
    """Multi-headed self-attention over the frames of each clip, after a layer norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: Tensor, valid: Tensor, turn: Rotation) -> Tensor:
        """(N, T, width) to the same shape; `valid` (N, T) marks the frames to attend to."""
        split = self.projections(self.norm(sequence)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # (N, heads, T, width / heads) each
        attended = functional.scaled_dot_product_attention(
            rotate(queries.float(), *turn).to(queries.dtype),
            rotate(keys.float(), *turn).to(keys.dtype),
            values,
            attn_mask=valid[:, None, None, :],
            dropout_p=self.rate if self.training else 0.0,
        )
        return self.dropout(self.output(attended.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


class ConvolutionModule(nn.Module):
    """The convolution module: a gated expansion, a depthwise convolution over time, a projection."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expansion = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.middle_norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: Tensor, valid: Tensor) -> Tensor:
        """(N, T, width) to the same shape; frames outside `valid` (N, T) count as zeros."""
        gated = functional.glu(self.expansion(self.norm(sequence)), 2) * valid[:, :, None]
        mixed = self.convolution(gated.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.projection(functional.silu(self.middle_norm(mixed))))  # type: ignore[no-any-return]


class ConformerBlock(nn.Module):
    """Half a dense step, attention, convolution, half a dense step, each with a skip connection; then a layer norm."""

    def __init__(self, width: int, heads: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.SiLU(),
                nn.Dropout(dropout),
                nn.Linear(4 * width, width),
                nn.Dropout(dropout),
            )
            for _ in range(2)
        )
        self.attention = Attention(width, heads, dropout)
        self.neighbourhood = ConvolutionModule(width, kernel, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, sequence: Tensor, valid: Tensor, turn: Rotation) -> Tensor:
        sequence = sequence + 0.5 * self.first(sequence)
        sequence = sequence + self.attention(sequence, valid, turn)
        sequence = sequence + self.neighbourhood(sequence, valid)
        return self.norm(sequence + 0.5 * self.second(sequence))  # type: ignore[no-any-return]


@models.register("conformer_ctc")
class ConformerCTC(nn.Module):
    """A Conformer encoder that gives the probability of each character in each frame.

    Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition" (arXiv:2005.08100), with
    rotary positions instead of Transformer-XL's, and layer normalisation instead of batch normalisation in the
    convolution module: no clip's scores depend on the clips beside it, nor on padding. It learns poorly without a
    warm-up of the learning rate.

    Features (N, T, bands) and frames (N,) to log-probabilities (N, T / subsampling rounded up, alphabet) float32 and
    their lengths (N,). Raises ValueError for a width that is no multiple of twice the heads, and for an even kernel.

    Options:
        channels: filters of each convolution before the blocks, one number per convolution; each halves the bands.
        width: features of each frame within the blocks.
        heads: attention heads; each has width / heads of those features, which must be even.
        layers: blocks.
        kernel: frames that the depthwise convolution spans; odd.
        dropout: share of units dropped after each part of a block.
    """

    def __init__(
        self,
        bands: int,
        alphabet: int,
        subsampling: int,
        *,
        channels: Widths = [32, 32],
        width: PositiveInt = 144,
        heads: PositiveInt = 4,
        layers: PositiveInt = 4,
        kernel: PositiveInt = 15,
        dropout: Fraction = 0.1,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of {2 * heads}, twice the number of heads")
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} is even, and would shift the frames: use {kernel - 1} or {kernel + 1}")
        self.head_width = width // heads
        self.subsampling = Subsampling(bands, subsampling, channels)
        self.entry = nn.Linear(self.subsampling.width, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(ConformerBlock(width, heads, kernel, dropout) for _ in range(layers))
        self.output = nn.Linear(width, alphabet)

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        hidden, frames = self.subsampling(features, frames)
        valid = mark_valid(frames, hidden.shape[1])
        turn = compute_rotation(hidden.shape[1], self.head_width, hidden.device)
        hidden = self.dropout(self.entry(hidden))
        for block in self.blocks:
            hidden = block(hidden, valid, turn)
        logits: Tensor = self.output(hidden)
        return logits.float().log_softmax(2), frames
