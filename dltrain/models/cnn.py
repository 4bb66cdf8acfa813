"""Convolutional networks for images: the plain stack of blocks, and LeNet."""

from __future__ import annotations

from torch import nn

from dltrain.models.layers import Features, ImageNetwork, build_dropout_layers, build_pooled_activation
from dltrain.options import Activation, Fraction, NonNegativeInt, PositiveInt, Widths
from dltrain.registry import models


@models.register("cnn")
class CNN(ImageNetwork):
    """Blocks of convolution, activation and max-pooling, then a dense layer and the classes.

    The pattern of LeCun et al. 1998, "Gradient-based learning applied to document recognition", with the
    rectified units and max-pooling that became usual later.

    Images (N, image_channels, height, width) to logits (N, classes). Raises ValueError where the image shrinks to
    nothing before the last block.

    Options:
        channels: filters of each block, one number a block.
        kernel: side of the square filters.
        padding: zeros put around each image before a convolution.
        convolutions: convolutions in each block, all with the block's number of filters.
        pool: side of the max-pooling window that ends each block; 1 for none.
        hidden: units of the dense layer; null for none.
        batch_norm: normalise after each convolution (Ioffe and Szegedy 2015, arXiv:1502.03167).
        dropout: share of units dropped before each dense layer (Srivastava et al. 2014).
        activation: the non-linearity.
    """

    def __init__(
        self,
        image_channels: int,
        height: int,
        width: int,
        classes: int,
        *,
        channels: Widths = [32, 64],
        kernel: PositiveInt = 3,
        padding: NonNegativeInt = 0,
        convolutions: PositiveInt = 1,
        pool: PositiveInt = 2,
        hidden: PositiveInt | None = 64,
        batch_norm: bool = False,
        dropout: Fraction = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = image_channels
        for number, filters in enumerate(channels, 1):
            for convolution in range(convolutions):
                layers.append(nn.Conv2d(inputs, filters, kernel, padding=padding, bias=not batch_norm))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(filters))
                layers.extend(build_pooled_activation(activation, pool if convolution == convolutions - 1 else 1))
                inputs = filters
                height, width = (side + 2 * padding - kernel + 1 for side in (height, width))
            height, width = max(0, height // pool), max(0, width // pool)
            if min(height, width) < 1:
                raise ValueError(
                    f"block {number} of {len(channels)} leaves an image of {height} x {width} pixels: "
                    "use fewer blocks or more padding"
                )
        self.features = Features(*layers)
        features = inputs * height * width
        widths = [features, classes] if hidden is None else [features, hidden, classes]
        self.classifier = nn.Sequential(nn.Flatten(), *build_dropout_layers(widths, activation, dropout)[:-1])


@models.register("lenet")
class LeNet(ImageNetwork):
    """LeNet-5's layer sizes: 6 and 16 filters of 5 x 5, each max-pooled by 2, then 120, 84 and the classes.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", with max-pooling for its trained
    sub-sampling, every filter on every map, and a softmax for its radial units.

    Images (N, image_channels, height, width) to logits (N, classes). Raises ValueError for images that are too small.

    Options:
        padding: zeros put around the image; 2 makes 28 x 28 the 32 x 32 of the paper.
        batch_norm: normalise after each convolution (Ioffe and Szegedy 2015, arXiv:1502.03167).
        dropout: share of units dropped before each dense layer (Srivastava et al. 2014).
        activation: the non-linearity.
    """

    def __init__(
        self,
        image_channels: int,
        height: int,
        width: int,
        classes: int,
        *,
        padding: NonNegativeInt = 0,
        batch_norm: bool = False,
        dropout: Fraction = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        height, width = (max(0, ((side + 2 * padding - 4) // 2 - 4) // 2) for side in (height, width))
        if min(height, width) < 1:
            raise ValueError(
                f"the two 5 x 5 convolutions leave an image of {height} x {width} pixels: "
                "use larger images or more padding"
            )
        layers: list[nn.Module] = []
        for convolution in (nn.Conv2d(image_channels, 6, 5, padding=padding), nn.Conv2d(6, 16, 5)):
            layers.append(convolution)
            if batch_norm:
                layers.append(nn.BatchNorm2d(convolution.out_channels))
            layers += build_pooled_activation(activation, 2)
        self.features = Features(*layers)
        dense = build_dropout_layers([16 * height * width, 120, 84], activation, dropout)
        self.classifier = nn.Sequential(nn.Flatten(), *dense, nn.Linear(84, classes))
