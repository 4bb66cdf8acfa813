"""FLOPs of convolutions against the multiplications that their definition has, one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from dltrain.core.summary import Ledger


def count_multiplications(layer: nn.Conv2d | nn.ConvTranspose2d, inputs: torch.Size, outputs: torch.Size) -> int:
    """How often a weight meets a number, padding included, from the definition: one output or input after another."""
    count = 0
    transposed = isinstance(layer, nn.ConvTranspose2d)
    batch, channels, height, width = inputs if transposed else outputs
    partners = (layer.out_channels if transposed else layer.in_channels) // layer.groups
    for _ in itertools.product(range(batch), range(channels), range(height), range(width)):
        count += partners * layer.kernel_size[0] * layer.kernel_size[1]
    return count


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 12, 3),
        nn.Conv2d(8, 12, 3, groups=4, padding=1),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.Conv2d(8, 16, (3, 1), groups=8, dilation=2, bias=False),
        nn.ConvTranspose2d(8, 6, 3, stride=2),
        nn.ConvTranspose2d(8, 12, 3, groups=4),
    ],
    ids=str,
)
def test_a_grouped_convolution_costs_twice_its_multiplications_in_each_direction(
    layer: nn.Conv2d | nn.ConvTranspose2d,
) -> None:
    inputs = torch.randn(2, 8, 7, 6, requires_grad=True)
    forward = Ledger(layer)
    with forward:
        outputs = layer(inputs)
    expected = 2 * count_multiplications(layer, inputs.shape, outputs.shape)
    assert forward.flops == expected
    for needed, times in ((inputs, 2), (inputs.detach(), 1)):  # the first layer needs no gradient of its inputs
        result, backward = layer(needed), Ledger(layer)
        with backward:
            result.sum().backward()
        assert backward.flops == times * expected
