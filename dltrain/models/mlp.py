"""Multi-layer perceptrons."""

from __future__ import annotations

from torch import Tensor, nn

from dltrain.models.layers import build_dense_layers
from dltrain.options import Activation, Fraction, Widths
from dltrain.registry import models


@models.register("mlp")
class MLP(nn.Module):
    """Dense layers over the flattened image (Rumelhart, Hinton and Williams 1986).

    Images (N, image_channels, height, width) to logits (N, classes).

    Options:
        hidden: units of each hidden layer, one number a layer.
        batch_norm: normalise before each activation (Ioffe and Szegedy 2015, arXiv:1502.03167).
        dropout: share of units dropped after each activation (Srivastava et al. 2014).
        activation: the non-linearity.
    """

    def __init__(
        self,
        image_channels: int,
        height: int,
        width: int,
        classes: int,
        *,
        hidden: Widths = [128],
        batch_norm: bool = False,
        dropout: Fraction = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        widths = [image_channels * height * width, *hidden, classes]
        self.layers = nn.Sequential(nn.Flatten(), *build_dense_layers(widths, activation, batch_norm, dropout))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
