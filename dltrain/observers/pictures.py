"""Images as people look at them: pairs, rows with captions, attributions beside what they explain, filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.observers.png import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

COLUMNS = 10
"""Images side by side in a picture of many."""


def draw_reconstruction_picture(images: Tensor, reconstructions: Tensor, title: str, path: Path) -> None:
    """A PNG with a row of images (N, C, H, W) above a row of what became of them, pixels in 0..1."""
    figure = _make_figure(len(images), 2, title, inches=0.9)
    grid = figure.subplots(2, len(images), squeeze=False)
    for row, name, shown in ((0, "input", images), (1, "output", reconstructions)):
        for axes, image in zip(grid[row], shown, strict=True):
            _show_image(axes, image)
        grid[row][0].set_ylabel(name)
    save_picture(figure, path)


def draw_captioned_picture(images: Tensor, captions: Sequence[str], title: str, path: Path) -> None:
    """A PNG of images (N, C, H, W), pixels in 0..1, with some words above each."""
    columns = min(COLUMNS // 2, len(images))
    rows = -(-len(images) // columns)
    figure = _make_figure(columns, rows, title, inches=1.8)
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for axes, image, caption in zip(cells, images, captions, strict=False):
        _show_image(axes, image)
        axes.set_title(caption, fontsize=9, parse_math=False)
    for axes in cells[len(images) :]:
        axes.set_axis_off()
    save_picture(figure, path)


def draw_attribution_picture(
    image: Tensor, attribution: Tensor, title: str, meaning: str, path: Path, *, signed: bool
) -> None:
    """A PNG with an image (C, H, W), pixels in 0..1, and beside it what each of its pixels does, (H, W).

    Signed ones go from blue over white to red, others from black to white; `meaning` says what they are.
    """
    figure = _make_figure(2, 1, title, inches=3.2)
    left, right = figure.subplots(1, 2)
    _show_image(left, image)
    left.set_title("input", fontsize=9)
    most = float(attribution.abs().max()) or 1.0
    colours = {"cmap": "RdBu_r", "vmin": -most} if signed else {"cmap": "inferno", "vmin": 0.0}
    drawn = right.imshow(attribution.numpy(), vmax=most, interpolation="nearest", **colours)
    _hide_ticks(right)
    right.set_title(meaning, fontsize=9)
    figure.colorbar(drawn, ax=right, shrink=0.8)
    save_picture(figure, path)


def draw_filter_grid(weights: Tensor, title: str, path: Path) -> None:
    """A PNG of filters (F, C, H, W): in colour for three channels, else from blue over white to red, all to one scale.

    With neither one channel nor three, each channel of a filter is a tile of its own.
    """
    if weights.shape[1] not in (1, 3):
        weights = weights.reshape(-1, 1, *weights.shape[2:])
    columns = math.ceil(math.sqrt(len(weights)))
    rows = -(-len(weights) // columns)
    most = float(weights.abs().max()) or 1.0
    figure = _make_figure(columns, rows, title, inches=max(5 / columns, 0.5))
    axes = figure.subplots()
    if weights.shape[1] == 3:
        _show_image(axes, tile_images(0.5 + weights / (2 * most), columns, gap=1.0))
    else:
        tiles = tile_images(weights, columns, gap=math.nan)[0].numpy()
        drawn = axes.imshow(tiles, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        figure.colorbar(drawn, ax=axes, shrink=0.8, fraction=0.05)
    axes.set_axis_off()
    save_picture(figure, path)


def tile_images(tiles: Tensor, columns: int, gap: float) -> Tensor:
    """Tiles (N, C, H, W) beside and below each other, row by row, (C, ., .), with a line of `gap` between them."""
    count, channels, height, width = tiles.shape
    rows = -(-count // columns)
    whole = tiles.new_full((rows * columns, channels, height + 1, width + 1), gap)
    whole[:count, :, :height, :width] = tiles
    placed = whole.view(rows, columns, channels, height + 1, width + 1).permute(2, 0, 3, 1, 4)
    return placed.reshape(channels, rows * (height + 1), columns * (width + 1))[:, :-1, :-1]


def _make_figure(columns: int, rows: int, title: str, *, inches: float) -> Figure:
    """An empty figure with room for that many images of `inches` each, and for its title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.0, columns * inches + 0.5), rows * inches * 1.1 + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def _show_image(axes: Axes, image: Tensor) -> None:
    """Draw an image (C, H, W): in grey for one channel, in colour for three; of others the mean of the channels."""
    pixels = image.clamp(0, 1)
    if len(pixels) == 3:
        axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
    else:
        axes.imshow(pixels.mean(0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _hide_ticks(axes)


def _hide_ticks(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
