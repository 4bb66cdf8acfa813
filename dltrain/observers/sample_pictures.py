"""Pictures of examples as PNG files: contact sheets of images, spectrograms with transcripts, windows of series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.observers.pictures import draw_captioned_picture, make_figure, save_picture

if TYPE_CHECKING:
    from torch import Tensor

_CAPTION = 100
"""Characters of a transcript above its spectrogram."""


def draw_images(images: Sequence[Tensor], captions: Sequence[str], title: str, path: Path) -> None:
    """Draw images (C, H, W), pixels in 0..1, each below its class."""
    import torch

    draw_captioned_picture(torch.stack(list(images)), captions, title, path)


def draw_spectrograms(spectrograms: Sequence[Tensor], captions: Sequence[str], title: str, path: Path) -> None:
    """Draw features (T, bands) below each other, low frequencies at the bottom, each with its transcript."""
    figure = make_figure(9, 0.6 + 1.6 * len(spectrograms), title)
    rows = figure.subplots(len(spectrograms), 1, squeeze=False)
    for (axes,), features, caption in zip(rows, spectrograms, captions, strict=True):
        axes.imshow(features.T.numpy(), origin="lower", aspect="auto", cmap="magma", interpolation="nearest")
        axes.set_title(caption[:_CAPTION], fontsize=9)
        axes.set_ylabel("band")
    rows[-1][0].set_xlabel("frame")
    save_picture(figure, path)


def draw_windows(windows: Sequence[Tensor], captions: Sequence[str], title: str, path: Path) -> None:
    """Draw windows (T, columns), a line for each column, two beside each other."""
    rows = -(-len(windows) // 2)
    figure = make_figure(9, 0.6 + 1.8 * rows, title)
    cells = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes, window, caption in zip(cells, windows, captions, strict=False):
        axes.plot(window.numpy(), linewidth=1)
        axes.set_title(caption, fontsize=9)
        axes.grid(alpha=0.3)
    for axes in cells[len(windows) :]:
        axes.set_axis_off()
    save_picture(figure, path)
