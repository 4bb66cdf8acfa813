"""Autoencoders: images to a short code and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dltrain.models.layers import ACTIVATIONS, Features, ImageNetwork, build_dense_layers
from dltrain.options import Activation, NonNegativeFloat, PositiveInt, Widths
from dltrain.registry import models


class Noise(nn.Module):
    """Adds Gaussian noise of a standard deviation while training, and nothing after it."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, images: Tensor) -> Tensor:
        if self.training and self.deviation > 0:
            return images + self.deviation * torch.randn_like(images)
        return images


@models.register("dense_autoencoder")
class DenseAutoencoder(ImageNetwork):
    """Dense layers over the flattened image to a code, and their mirror image back.

    Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks". Code and output are
    linear; without hidden layers the best such network spans the space of the first principal components (Bourlard and
    Kamp 1988).

    Images (N, image_channels, height, width) to images (N, output_channels, height, width).

    Options:
        hidden: units of each hidden layer between image and code; [] for none.
        code: numbers that an image is squeezed into.
        activation: the non-linearity of the hidden layers.
        noise: standard deviation of Gaussian noise on the inputs while training, in units of the normalised inputs; the
            loss is of the image without it (a denoising autoencoder, Vincent et al. 2008).
    """

    def __init__(
        self,
        image_channels: int,
        height: int,
        width: int,
        output_channels: int,
        *,
        hidden: list[PositiveInt] = [256],
        code: PositiveInt = 32,
        activation: Activation = "relu",
        noise: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        pixels = height * width
        inwards, outwards = [image_channels * pixels, *hidden, code], [code, *hidden[::-1], output_channels * pixels]
        self.encoder = nn.Sequential(Noise(noise), nn.Flatten(), *build_dense_layers(inwards, activation))
        self.decoder = nn.Sequential(
            *build_dense_layers(outwards, activation), nn.Unflatten(1, (output_channels, height, width))
        )


@models.register("conv_autoencoder")
class ConvAutoencoder(ImageNetwork):
    """Convolutions that halve the image, a dense layer to the code, and transposed convolutions back.

    Masci et al. 2011, "Stacked convolutional auto-encoders for hierarchical feature extraction", with strides in place
    of pooling. Code and output are linear.

    Images (N, image_channels, height, width), of any size, to images (N, output_channels, height, width). Raises
    ValueError where an even kernel is larger than what it finds.

    Options:
        channels: filters of each convolution, one number a convolution; each halves height and width.
        kernel: side of the square filters.
        code: numbers that an image is squeezed into.
        activation: the non-linearity.
        noise: standard deviation of Gaussian noise on the inputs while training, in units of the normalised inputs; the
            loss is of the image without it (a denoising autoencoder, Vincent et al. 2008).
    """

    def __init__(
        self,
        image_channels: int,
        height: int,
        width: int,
        output_channels: int,
        *,
        channels: Widths = [16, 32],
        kernel: PositiveInt = 3,
        code: PositiveInt = 32,
        activation: Activation = "relu",
        noise: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        down: list[nn.Module] = []
        up: list[nn.Module] = []  # from the image inwards: turned round at the end
        inputs, outputs = image_channels, output_channels
        for number, filters in enumerate(channels, 1):
            spans = [side + 2 * padding - kernel for side in (height, width)]
            if min(spans) < 0:
                raise ValueError(
                    f"convolution {number} of {len(channels)} finds an image of {height} x {width} pixels, too small "
                    f"for a kernel of {kernel}: use fewer convolutions or an odd kernel"
                )
            down += [nn.Conv2d(inputs, filters, kernel, stride=2, padding=padding), ACTIVATIONS[activation]()]
            # An odd row or column that a stride of two has stepped over is given back: the sizes match exactly.
            left_over = (spans[0] % 2, spans[1] % 2)
            enlarge = nn.ConvTranspose2d(filters, outputs, kernel, stride=2, padding=padding, output_padding=left_over)
            up += [enlarge, ACTIVATIONS[activation]()]
            inputs = outputs = filters
            height, width = (span // 2 + 1 for span in spans)
        features = inputs * height * width
        self.noise = Noise(noise)
        self.features = Features(*down)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(features, code))
        self.decoder = nn.Sequential(nn.Linear(code, features), nn.Unflatten(1, (inputs, height, width)), *up[::-1])
