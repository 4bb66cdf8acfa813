"""Multi-layer perceptrons."""

from __future__ import annotations

from torch import Tensor, nn

from dltrain.models.layers import ACTIVATIONS
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
        layers: list[nn.Module] = [nn.Flatten()]
        wide = image_channels * height * width
        for units in hidden:
            layers.append(nn.Linear(wide, units))
            if batch_norm:
                layers.append(nn.BatchNorm1d(units))
            layers.append(ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            wide = units
        self.layers = nn.Sequential(*layers, nn.Linear(wide, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
