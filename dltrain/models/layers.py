"""Pieces that several families share."""

from __future__ import annotations

from torch import nn

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


def pooled_activation(activation: str, pool: int) -> list[nn.Module]:
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
