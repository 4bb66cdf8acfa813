"""Pictures as PNG files: images, attributions, filters, forecasts, learning-rate range tests, trials of a sweep."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dltrain.escaping import show_all_controls
from dltrain.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from dltrain.config.search import Dimension
    from dltrain.core.learning_rate_range import Curve

COLUMNS = 10
"""Images side by side in a picture of many."""
_OVERLAY = 0.6  # opacity
_PANELS = 3
_MARKS = {"finished": ("o", "C0"), "pruned": ("x", "0.6")}


def make_figure(width: float, height: float, title: str | None = None) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title is not None:
        figure.suptitle(title, fontsize=10)
    return figure


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all; no version or date inside: the same numbers give the same file."""
    _show_names_literally(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def _show_names_literally(figure: Figure) -> None:
    """A dollar sign in a text starts no formula, and control characters are visible. Numbers at ticks stay formulas."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    at_ticks = {text for tick in figure.findobj(Tick) for text in tick.findobj(Text)}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in at_ticks:
            text.set_text("\n".join(map(show_all_controls, text.get_text().split("\n"))))
            text.set_parse_math(False)


def set_named_ticks(axes: Axes, which: Literal["x", "y"], names: Sequence[object], **style: Any) -> None:
    """Ticks at 0, 1, ... with these names."""
    texts = [show_all_controls(name) for name in names]
    setter = axes.set_xticks if which == "x" else axes.set_yticks
    setter(range(len(names)), texts, parse_math=False, **style)


def draw_reconstruction_picture(images: Tensor, reconstructions: Tensor, title: str, path: Path) -> None:
    """A PNG with a row of images (N, C, H, W) above a row of what became of them, pixels in 0..1."""
    figure = _make_grid(len(images), 2, title, inches=0.9)
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
    figure = _make_grid(columns, rows, title, inches=1.8)
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for axes, image, caption in zip(cells, images, captions, strict=False):
        _show_image(axes, image)
        axes.set_title(caption, fontsize=9)
    for axes in cells[len(images) :]:
        axes.set_axis_off()
    save_picture(figure, path)


def draw_attribution_picture(
    image: Tensor, attribution: Tensor, title: str, meaning: str, path: Path, *, signed: bool, overlay: bool = False
) -> None:
    """A PNG with an image (C, H, W), pixels in 0..1, and beside it what each of its pixels does, (H, W).

    Signed ones go from blue over white to red, others from black to white, over the image in grey where `overlay`;
    `meaning` says what they are.
    """
    figure = _make_grid(2, 1, title, inches=3.2)
    left, right = figure.subplots(1, 2)
    _show_image(left, image)
    left.set_title("input", fontsize=9)
    most = float(attribution.abs().max()) or 1.0
    colours = {"cmap": "RdBu_r", "vmin": -most} if signed else {"cmap": "inferno", "vmin": 0.0}
    if overlay:
        _show_image(right, image.mean(0, keepdim=True))
    shown = {"interpolation": "nearest", "alpha": _OVERLAY if overlay else 1.0}
    drawn = right.imshow(attribution.numpy(), vmax=most, **shown, **colours)
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
    figure = _make_grid(columns, rows, title, inches=max(5 / columns, 0.5))
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


def _make_grid(columns: int, rows: int, title: str, *, inches: float) -> Figure:
    """An empty figure with room for that many images of `inches` each, and for its title."""
    return make_figure(max(4.0, columns * inches + 0.5), rows * inches * 1.1 + 0.4, title)


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


def draw_forecast_picture(
    truth: Tensor,
    forecast: Tensor,
    names: Sequence[str],
    *,
    title: str,
    path: Path,
    quantiles: Sequence[float] = (),
) -> None:
    """A PNG with a row for each output: truth and forecast (N, outputs), window after window.

    With rising `quantiles` a forecast is (N, outputs, quantiles): the middle one is a line, the others are bands.
    """
    figure = make_figure(9, 0.8 + 1.8 * len(names), title)
    rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)
    for (axes,), name, true, predicted in zip(rows, names, truth.unbind(1), forecast.unbind(1), strict=True):
        axes.plot(true.numpy(), color="black", linewidth=1, label="truth")
        if quantiles:
            predicted = _draw_bands(axes, predicted.T, quantiles)
        axes.plot(predicted.numpy(), color="C1", linewidth=1, label="forecast")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    rows[0][0].legend(loc="upper right", fontsize=8)
    rows[-1][0].set_xlabel("window")
    save_picture(figure, path)


def _draw_bands(axes: Axes, rising: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Draw the intervals between quantiles (quantiles, N), and return the median."""
    steps, count = range(rising.shape[1]), len(quantiles)
    for low in range(count // 2):
        share = f"{100 * (quantiles[count - 1 - low] - quantiles[low]):.4g} %"
        axes.fill_between(
            steps, rising[low].numpy(), rising[count - 1 - low].numpy(), color="C1", alpha=0.2, linewidth=0, label=share
        )
    return rising[quantiles.index(0.5)]


def draw_range_test(curve: Curve, title: str, path: Path) -> None:
    """The losses over the rates as a PNG, with what can be read from them marked."""
    figure = make_figure(8, 4.5)
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="C0", alpha=0.3, label="each update")
    axes.plot(curve.rates, curve.smoothed, color="C0", label="smoothed")
    if curve.fault is None:
        marked = (("steepest", curve.steepest, "C3"), ("a tenth of the lowest", curve.tenth_of_lowest, "C2"))
        for name, rate, colour in marked:
            axes.axvline(rate, color=colour, linestyle="--", label=f"{name}: {rate:.2g}")
    low, high = float(curve.smoothed.min()), float(curve.smoothed.max())
    room = 0.1 * (high - low) or 1.0
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title, ylim=(low - room, high + room))
    axes.grid(alpha=0.3)
    axes.legend()
    save_picture(figure, path)


def draw_trials(trials: Sequence[Mapping[str, Any]], dimensions: Sequence[Dimension], title: str, path: Path) -> None:
    """A PNG of the scored ones of a sweep's `trials`: the score by number, and over each option that was varied."""
    scored = [trial for trial in trials if "score" in trial]
    rows = -(-(1 + len(dimensions)) // _PANELS)
    figure = make_figure(4 * _PANELS, 3.2 * rows)
    axes = list(figure.subplots(rows, _PANELS, squeeze=False).flat)
    _draw_by_number(axes[0], scored)
    for panel, dimension in zip(axes[1:], dimensions, strict=False):
        _draw_by_value(panel, scored, dimension)
    for spare in axes[1 + len(dimensions) :]:
        spare.remove()
    for state, (mark, colour) in _MARKS.items():
        axes[0].scatter([], [], marker=mark, color=colour, label=state)
    axes[0].legend()
    figure.suptitle(title)
    save_picture(figure, path)


def _draw_points(axes: Axes, trials: Sequence[Mapping[str, Any]], positions: Sequence[float]) -> None:
    for state, (mark, colour) in _MARKS.items():
        chosen = [pair for pair in zip(positions, trials, strict=True) if pair[1]["state"] == state]
        scores = [trial["score"] for _, trial in chosen]
        axes.scatter([position for position, _ in chosen], scores, marker=mark, color=colour)
    axes.set_ylabel(f"validation {trials[0]['metric']}" if trials else "")
    axes.grid(alpha=0.3)


def _draw_by_number(axes: Axes, trials: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    _draw_points(axes, trials, [trial["number"] for trial in trials])
    finished = [trial for trial in trials if trial["state"] == "finished"]
    if finished:
        better = max if finished[0]["direction"] == "max" else min
        best = list(accumulate((trial["score"] for trial in finished), better))
        axes.step([trial["number"] for trial in finished], best, where="post", color="C1", label="best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_by_value(axes: Axes, trials: Sequence[Mapping[str, Any]], dimension: Dimension) -> None:
    from matplotlib.ticker import NullFormatter

    having = [trial for trial in trials if dimension.path in trial["values"]]
    values = [trial["values"][dimension.path] for trial in having]
    if dimension.values:
        _draw_points(axes, having, [dimension.values.index(value) for value in values])
        set_named_ticks(axes, "x", dimension.values)
    else:
        _draw_points(axes, having, [float(value) for value in values])
    if dimension.log:
        axes.set_xscale("log")
        axes.set_xlim(dimension.low, dimension.high)  # the whole range: half a decade alone has no labels
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(dimension.path)
