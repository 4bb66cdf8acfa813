"""Layers that several model families share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

NOT_MONOTONE = {"gelu", "silu"}
"""A maximum may not be taken before these: the activation of the largest input is not the largest output."""


def build_pooled_activation(activation: str, pool: int) -> list[nn.Module]:
    """Activation followed by max-pooling, in the cheaper order that gives the same values.

    A monotone activation commutes with a maximum, and after pooling there are pool**2 times fewer values to pass
    through it.
    """
    chosen = ACTIVATIONS[activation]()
    if pool == 1:
        return [chosen]
    if activation in NOT_MONOTONE:
        return [chosen, nn.MaxPool2d(pool)]
    return [nn.MaxPool2d(pool), chosen]


def build_dense_layers(
    widths: Sequence[int], activation: str, batch_norm: bool = False, dropout: float = 0.0
) -> list[nn.Module]:
    """Linear layers from each width to the next; normalisation, activation and dropout follow all but the last."""
    layers: list[nn.Module] = []
    for inputs, units in pairwise(widths[:-1]):
        layers.append(nn.Linear(inputs, units))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(ACTIVATIONS[activation]())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
    return [*layers, nn.Linear(widths[-2], widths[-1])]


def build_dropout_layers(widths: Sequence[int], activation: str, dropout: float) -> list[nn.Module]:
    """Dropout, a linear layer and an activation from each width to the next."""
    layers: list[nn.Module] = []
    for inputs, units in pairwise(widths):
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(inputs, units), ACTIVATIONS[activation]()]
    return layers


def mark_valid(lengths: Tensor, steps: int) -> Tensor:
    """Mark the steps that belong to each sequence, (N, steps) bool, by the sequences' lengths (N,)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def rotate(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate vectors (..., D) by angles (..., D / 2), whose pairs of elements are half a vector apart.

    Rotary positions (Su et al. 2021, arXiv:2104.09864): the product of two vectors depends on the difference of their
    positions alone.
    """
    first, second = vectors.chunk(2, -1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), -1)


class Features(nn.Sequential):
    """Convolution, pooling and activation layers, run in oneDNN's blocked layout where that is possible.

    In that layout convolutions work on 16 channels at a time, and max-pooling's backward pass needs neither 64-bit
    indices nor a scatter into zeros: about a tenth off a training step on a CPU, with the same gradients. It serves
    float32 on a CPU, and layers of which oneDNN knows the forward and the backward pass.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self._known_to_onednn = all(isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.ReLU) for layer in layers)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to maps (N, C', H', W')."""
        blocked = (
            self._known_to_onednn
            and images.device.type == "cpu"
            and images.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        )
        maps: Tensor = super().forward(images.to_mkldnn() if blocked else images)  # type: ignore[no-untyped-call]
        return maps.to_dense() if blocked else maps


class ImageNetwork(nn.Sequential):
    """A network for images: the parts that a constructor assigns run one after the other, in that order."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return outputs
