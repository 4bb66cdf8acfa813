"""Shapes, parameter counts by hand, and the order of pooling and activation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dltrain.models.cnn import CNN, LeNet
from dltrain.models.layers import Features
from dltrain.models.mlp import MLP

DIGITS = (1, 28, 28, 10)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "count"),
    [
        # conv 32 - pool - conv 64 - pool - dense 64 - dense 10
        (CNN(*DIGITS), (9 + 1) * 32 + (9 * 32 + 1) * 64 + (64 * 5 * 5 + 1) * 64 + 65 * 10),
        # conv 32 pad 1 - pool - linear
        (CNN(*DIGITS, channels=[32], padding=1, hidden=None), (9 + 1) * 32 + (32 * 14 * 14 + 1) * 10),
        # 61,706 in the paper's layout of full connections on 32 x 32
        (LeNet(*DIGITS, padding=2), 61706),
        (LeNet(*DIGITS), 44426),
        (MLP(*DIGITS), 785 * 128 + 129 * 10),
        (MLP(*DIGITS, hidden=[32], dropout=0.5), 785 * 32 + 33 * 10),
        (MLP(*DIGITS, hidden=[16, 8], batch_norm=True), 785 * 16 + 32 + 17 * 8 + 16 + 9 * 10),
        (CNN(*DIGITS, channels=[8, 8], convolutions=2, padding=1, batch_norm=True, hidden=None),
         9 * 8 + 3 * 9 * 64 + 4 * 16 + (8 * 49 + 1) * 10),
    ],
)  # fmt: skip
def test_parameters_are_those_of_the_architecture(model: nn.Module, count: int) -> None:
    assert parameters(model) == count
    assert model.eval()(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"])
def test_block_equals_activation_then_pooling(activation: str) -> None:
    torch.manual_seed(0)
    model = CNN(*DIGITS, channels=[4], activation=activation).eval()
    images = torch.randn(5, 1, 28, 28)
    convolution = model.features[0]
    act = functional.leaky_relu if activation == "leaky_relu" else getattr(torch.nn.functional, activation)
    expected = functional.max_pool2d(act(convolution(images)), 2)
    torch.testing.assert_close(model.features(images), expected)


def test_images_that_shrink_to_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="block 3 of 3 leaves an image of 0 x 0 pixels: use fewer blocks or more"):
        CNN(1, 12, 12, 10, channels=[4, 4, 4])
    with pytest.raises(ValueError, match="the two 5 x 5 convolutions leave an image of 0 x 0 pixels"):
        LeNet(1, 12, 12, 10)


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_blocked_layout_gives_the_plain_layers_outputs_and_gradients(
    size: int, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 6, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 17, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
    ]
    images = torch.randn(size, 3, 13, 11)
    blocked, plain = Features(*layers).to(memory_format=memory_format), nn.Sequential(*layers)
    found, expected = blocked(images), plain(images)
    torch.testing.assert_close(found, expected)
    weights = list(plain.parameters())
    ours = torch.autograd.grad(found.square().sum(), weights)
    for mine, plains in zip(ours, torch.autograd.grad(expected.square().sum(), weights), strict=True):
        torch.testing.assert_close(mine, plains, rtol=1e-5, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(blocked(images), expected)


def test_layers_unknown_to_onednn_and_autocast_stay_plain() -> None:
    images = torch.randn(2, 1, 8, 8)
    assert Features(nn.Conv2d(1, 2, 3), nn.Tanh())(images).shape == (2, 2, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert Features(nn.Conv2d(1, 2, 3), nn.ReLU())(images).dtype == torch.bfloat16
