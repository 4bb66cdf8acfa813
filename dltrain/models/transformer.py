"""Transformers for language."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional

from dltrain.data.text.language_model import Reading
from dltrain.models.layers import rotate
from dltrain.models.output import NextTokenModel, Softmax, build_tied_softmax
from dltrain.options import Fraction, PositiveInt
from dltrain.registry import models


class AttentionWindow(NamedTuple):
    """Who attends to whom, the same in all layers.

    `mask` is a bool (T, S) or a bias (heads, T, S), or None where each query attends to all keys or, if `causal`, to
    all up to its own. `rotation` holds the cosines and sines (S, 1, 1, width / heads / 2) of the keys' angles; queries
    are the last T of them. `remembered` is how many tokens the next reading continues from.
    """

    mask: Tensor | None
    causal: bool
    rotation: tuple[Tensor, Tensor] | None
    remembered: int


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward network, each on normalised inputs and added to what it read."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, memory: Tensor | None, window: AttentionWindow) -> tuple[Tensor, Tensor]:
        """Features (T, N, width) after this block, and the memory that the next tokens continue from."""
        attended, memory = self._attended(self.attention_norm(features), memory, window)
        features = features + self.dropout(self.attention_output(attended))
        return features + self.dropout(self.feed_forward(features)), memory

    def _attended(self, features: Tensor, memory: Tensor | None, window: AttentionWindow) -> tuple[Tensor, Tensor]:
        """Each token's mixture of values, before the output layer, and the next memory."""
        length, columns, width = features.shape
        each = self.attention(features).view(length, columns, 3, self.heads, width // self.heads)
        queries, reachable = each[:, :, 0], each[:, :, 1:]
        if memory is not None:
            reachable = torch.cat((memory, reachable))  # (S, N, 2, heads, D)
        keys, values = reachable.unbind(2)
        if window.rotation is not None:
            cosines, sines = window.rotation
            queries = rotate(queries, cosines[-length:], sines[-length:])
            keys = rotate(keys, cosines, sines)
        mixed = functional.scaled_dot_product_attention(
            queries.permute(1, 2, 0, 3),
            keys.permute(1, 2, 0, 3),
            values.to(keys.dtype).permute(1, 2, 0, 3),
            window.mask,
            is_causal=window.causal,
        )  # (N, heads, T, D)
        attended = mixed.permute(2, 0, 1, 3).reshape(length, columns, width)
        forgotten = torch.sym_max(0, len(reachable) - window.remembered)  # type: ignore[no-untyped-call]
        return attended, reachable[forgotten:]


@models.register("transformer")
class TransformerLanguageModel(NextTokenModel):
    """A decoder that normalises before each layer, as GPT-2 (Radford et al. 2019), with its initial weights.

    Each token attends to itself and the `context - 1` tokens before it, whatever passage these stood in: the state
    has their keys and values for each layer, (up to context - 1, N, 2, heads, width / heads), not yet rotated. In
    training it is a memory as in Transformer-XL (Dai et al. 2019, arXiv:1901.02860), in generation a cache.
    Positions are relative, so that both can move along a text. Raises ValueError for a width that the heads cannot
    share.

    Options:
        width: of the token vectors and of each layer's output.
        heads: attention heads; they share the width.
        layers: number of blocks.
        feed_forward: units of each feed-forward layer; null for four times the width.
        dropout: share of units dropped of the embedding's, each attention's and each feed-forward layer's output.
        positions: rotary turns queries and keys by angles (Su et al. 2021, arXiv:2104.09864); learned adds a learned
            bias for each head and distance, in all layers the same (as Raffel et al. 2020, arXiv:1910.10683).
        context: tokens that each token attends to, itself included.
        tied: use the embedding as the output layer's weights.
        output_bias: add a bias for each token in the output layer.
    """

    frequencies: Tensor

    def __init__(
        self,
        vocabulary: int,
        *,
        width: PositiveInt = 256,
        heads: PositiveInt = 4,
        layers: PositiveInt = 4,
        feed_forward: PositiveInt | None = None,
        dropout: Fraction = 0.1,
        positions: Literal["rotary", "learned"] = "rotary",
        context: Annotated[int, Ge(2)] = 128,
        tied: bool = True,
        output_bias: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width: {heads} heads cannot share {width} units: use a multiple of {heads}")
        if positions == "rotary" and width // heads % 2:
            raise ValueError(
                f"positions: rotary turns pairs of units, and each of {heads} heads has {width // heads} of the width "
                f"{width}: make it an even number, or set positions to learned"
            )
        self.heads, self.context = heads, context
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, feed_forward or 4 * width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.distance_bias = nn.Parameter(torch.zeros(heads, context)) if positions == "learned" else None
        pairs = width // heads // 2
        self.register_buffer("frequencies", 10_000.0 ** (-torch.arange(pairs) / pairs), persistent=False)
        if tied:
            self.output = build_tied_softmax(self.embedding, width, "width", output_bias)
        else:
            self.output = Softmax(width, vocabulary, output_bias)
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        """GPT-2's weights: those that end a residual branch are smaller, the more branches there are."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                ends_branch = name.endswith(("attention_output.weight", "feed_forward.3.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if ends_branch else 0.02)

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...] | None = None) -> Reading:
        features = self.dropout(self.embedding(tokens))  # (T, N, width)
        window = self._window(len(tokens), 0 if state is None else len(state[0]), features)
        following = []
        for block, before in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            features, after = block(features, before, window)
            following.append(after)
        return Reading(self.norm(features), tuple(following))

    def _window(self, length: int, remembered: int, features: Tensor) -> AttentionWindow:
        """Who attends to whom where `length` tokens follow on `remembered` ones."""
        keys = remembered + length
        places = torch.arange(keys, device=features.device)
        distances = places[remembered:, None] - places  # (T, S)
        allowed = (distances >= 0) & (distances < self.context)
        if self.distance_bias is not None:
            bias = self.distance_bias[:, distances.clamp(0, self.context - 1)]  # (heads, T, S)
            return AttentionWindow(bias.masked_fill(~allowed, -torch.inf), False, None, self.context - 1)
        angles = (places[:, None] * self.frequencies)[:, None, None]
        rotation = angles.cos(), angles.sin()
        all_reached = keys <= self.context
        if not torch.compiler.is_exporting() and all_reached and (length == 1 or remembered == 0):
            return AttentionWindow(None, length > 1, rotation, self.context - 1)
        return AttentionWindow(allowed, False, rotation, self.context - 1)
