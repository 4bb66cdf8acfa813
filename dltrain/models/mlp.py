"""Linear models and multi-layer perceptrons, for rows of numbers and for images."""

from __future__ import annotations

from torch import Tensor, nn

from dltrain.models.layers import ImageNetwork, build_dense_layers
from dltrain.options import Activation, Fraction, Widths
from dltrain.registry import models


@models.register("linear")
class LinearModel(nn.Module):
    """A weighted sum of the inputs: linear regression, or, for labels, logistic regression (Cox 1958).

    Rows (N, inputs) to numbers or logits (N, outputs).

    Options:
        bias: add a constant to the sum.
        solve: set the weights to the optimum at once, by least squares or Newton's method; false: train them.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, solve: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs, bias=bias)
        self.solve = solve

    @property
    def output_layer(self) -> nn.Linear:
        return self.layer

    def features(self, rows: Tensor) -> Tensor:
        return rows

    def forward(self, rows: Tensor) -> Tensor:
        result: Tensor = self.layer(rows)
        return result


@models.register("dense")
class DenseNetwork(nn.Module):
    """Dense layers: a multi-layer perceptron (Rumelhart, Hinton and Williams 1986).

    Rows (N, inputs) to numbers or logits (N, outputs).

    Options:
        hidden: units of each hidden layer, one number a layer.
        activation: the non-linearity.
        batch_norm: normalise before each activation (Ioffe and Szegedy 2015, arXiv:1502.03167).
        dropout: share of units dropped after each activation (Srivastava et al. 2014).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: Widths = [64, 64],
        activation: Activation = "relu",
        batch_norm: bool = False,
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*build_dense_layers([inputs, *hidden, outputs], activation, batch_norm, dropout))

    def forward(self, rows: Tensor) -> Tensor:
        result: Tensor = self.layers(rows)
        return result


@models.register("mlp")
class MLP(ImageNetwork):
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
