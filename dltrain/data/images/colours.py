"""Changes of the colours of a whole batch of images, each image by its own number.

Images are (N, C, H, W) float32 with pixels in 0..1, grey (C = 1) or red, green and blue (C = 3); results are too. They
are those of torchvision's functions of the same names, which take one number for a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (0.2989, 0.587, 0.114)
"""What red, green and blue count in grey (ITU-R BT.601)."""
_SHARPNESS_KERNEL = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))


def change_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply each image by its factor, (N,): 0 is black, 1 changes nothing."""
    return (images * spread(factors)).clamp_(0, 1)


def change_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Move each image away from its mean grey by a factor, (N,): 0 leaves that alone, 1 changes nothing."""
    return _blend(images, to_grey(images).mean((1, 2, 3), keepdim=True), factors)


def change_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Move each image away from its grey one by a factor, (N,): 0 is grey, 1 changes nothing, as for a grey image."""
    return images if images.shape[1] == 1 else _blend(images, to_grey(images), factors)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of each image by a share of the colour circle, (N,); a grey image stays."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    chroma = value - lowest
    width = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(value == green, (blue - red) / width + 2, (red - green) / width + 4)
    sector = torch.where(value == red, (green - blue) / width, sector)  # 0 red, 2 green, 4 blue, and all between
    sector = sector + 6 * turns.view(-1, 1, 1)
    channels = []
    for start in (5, 3, 1):
        place = (sector + start) % 6
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, 1)


def change_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Move each image away from a smoothed one by a factor, (N,): 0 smooths, 1 changes nothing; the border stays."""
    if min(images.shape[2:]) <= 2:
        return images
    kernel = images.new_tensor(_SHARPNESS_KERNEL)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 3, 3)
    smoothed = images.clone()
    smoothed[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel, groups=images.shape[1])
    return _blend(images, smoothed, factors)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper `bits` (N,) of each pixel's eight."""
    step = spread(2 ** (8 - bits))
    return (to_bytes(images).div(step, rounding_mode="floor") * step).clamp_(0, 255) / 255


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the pixels that are as bright as the image's threshold, (N,), or brighter."""
    return torch.where(images >= spread(thresholds), 1 - images, images)


def stretch_contrast(images: Tensor) -> Tensor:
    """Stretch each channel to 0..1; one of a single value stays."""
    lowest, highest = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = highest <= lowest
    return torch.where(flat, images, (images - lowest) / torch.where(flat, 1.0, highest - lowest))


def equalize(images: Tensor) -> Tensor:
    """Make the brightness of each channel nearly uniform, by the histogram of its 256 values, as Pillow does."""
    rows = to_bytes(images).long().flatten(0, 1).flatten(1)  # (N * C, pixels)
    histogram = torch.zeros(len(rows), 256, dtype=torch.int64).scatter_add_(1, rows, torch.ones_like(rows))
    below = histogram.cumsum(1)
    brightest = histogram.gather(1, rows.amax(1, keepdim=True))
    step = (rows.shape[1] - brightest).div(255, rounding_mode="floor")  # (N * C, 1)
    divisor = step.clamp(min=1)
    table = (below + step // 2).div(divisor, rounding_mode="floor").clamp(0, 255)
    table = functional.pad(table, (1, 0))[:, :-1]
    found = torch.where(step > 0, table.gather(1, rows), rows)
    return found.view(images.shape).to(images.dtype) / 255


def to_grey(images: Tensor) -> Tensor:
    """The brightness of images, (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def to_bytes(images: Tensor) -> Tensor:
    """Pixels in 0..1 as whole numbers 0..255, still float32."""
    return (images * 255).round_()


def spread(numbers: Tensor) -> Tensor:
    """A number for each image, (N,), over its pixels: (N, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    share = spread(factors)
    return (share * images + (1 - share) * others).clamp_(0, 1)
