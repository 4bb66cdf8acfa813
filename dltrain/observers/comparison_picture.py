"""The curves of several runs in one picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.observers.pictures import make_figure, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED = 12
"""Curves up to which the legend is inside the panel."""
Epochs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class LabelledCurves:
    """The histories of one run, or of the members of a parent, of which mean and standard deviation are drawn."""

    label: str
    histories: Sequence[Epochs]
    best_epoch: int | None = None


def draw_comparison(runs: Sequence[LabelledCurves], metric: str | None, path: Path) -> None:
    """A PNG with the loss of all runs over the epochs (validation: lines, training: dots), and their `metric`.

    Where the metric is the loss, or unknown, the second panel has the learning rate.
    """
    figure = make_figure(12 if len(runs) > LABELLED else 11, 4.6)
    loss, score = figure.subplots(1, 2)
    second = metric if metric not in (None, "loss") else "learning_rate"
    for index, run in enumerate(runs):
        colour = f"C{index}" if len(runs) <= 10 else _spread_colour(index / (len(runs) - 1))
        _draw_curve(loss, run, "training_loss", colour=colour, style=":")
        _draw_curve(loss, run, "loss", colour=colour)
        _draw_curve(score, run, second, colour=colour)
    loss.set(xlabel="epoch", ylabel="loss", title="loss (validation: lines, training: dots)")
    name = "learning rate" if second == "learning_rate" else f"validation {second}"
    score.set(xlabel="epoch", ylabel=name, title=name)
    for axes in (loss, score):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if len(runs) > LABELLED:
        figure.legend(*score.get_legend_handles_labels(), loc="outside right upper", fontsize=6)
    else:
        score.legend(fontsize=8)
    save_picture(figure, path)


def _spread_colour(share: float) -> Any:
    from matplotlib import colormaps

    return colormaps["turbo"](share)


def _draw_curve(axes: Axes, run: LabelledCurves, name: str, *, colour: Any, style: str = "-") -> None:
    """Draw a curve, of several runs their mean with a band of a standard deviation; marks the best epoch of one."""
    points = average_histories(run.histories, name)
    epochs, means = [point[0] for point in points], [point[1] for point in points]
    mark = "o" if len(epochs) == 1 else ""
    label = f" {run.label}" if run.label.startswith("_") else run.label  # which a legend leaves out
    axes.plot(epochs, means, style, marker=mark, markersize=3, color=colour, linewidth=1.3, label=label)
    if any(deviation for _, _, deviation in points):
        low = [mean - deviation for _, mean, deviation in points]
        high = [mean + deviation for _, mean, deviation in points]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
    if run.best_epoch in epochs and style == "-" and name != "learning_rate":
        axes.plot([run.best_epoch], [means[epochs.index(run.best_epoch)]], "o", color=colour, markersize=5)


def average_histories(histories: Sequence[Epochs], name: str) -> list[tuple[int, float, float]]:
    """Epoch, mean and sample standard deviation of a value, for epochs that all histories have it of."""
    columns = [
        {epoch["epoch"]: epoch[name] for epoch in history if epoch.get(name) is not None and math.isfinite(epoch[name])}
        for history in histories
    ]
    shared = sorted(set.intersection(*map(set, columns))) if columns else []
    points = []
    for epoch in shared:
        values = [column[epoch] for column in columns]
        points.append((epoch, statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0))
    return points
