"""Forecasts beside what came, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.observers.png import save_picture

if TYPE_CHECKING:
    from torch import Tensor


def draw_forecast_picture(truth: Tensor, forecast: Tensor, names: Sequence[str], title: str, path: Path) -> None:
    """A PNG with a row for each output: truth and forecast (N, outputs), window after window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.8 + 1.8 * len(names)), layout="constrained")
    rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)
    for (axes,), name, true, predicted in zip(rows, names, truth.T, forecast.T, strict=True):
        axes.plot(true.numpy(), color="black", linewidth=1, label="truth")
        axes.plot(predicted.numpy(), color="C1", linewidth=1, label="forecast")
        axes.set_ylabel(name, parse_math=False)
        axes.grid(alpha=0.3)
    rows[0][0].legend(loc="upper right", fontsize=8)
    rows[-1][0].set_xlabel("window")
    figure.suptitle(title, fontsize=10, parse_math=False)
    save_picture(figure, path)
