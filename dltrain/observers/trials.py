"""A picture of a sweep: the score of each trial, and over each option that was varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.config.search import Dimension
from dltrain.observers.png import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
MARKS = {"finished": ("o", "C0"), "pruned": ("x", "0.6")}


def draw_trials(trials: Sequence[Mapping[str, Any]], dimensions: Sequence[Dimension], title: str, path: Path) -> None:
    """The scored ones of `trials`, as `dltrain.sweeps.trials.plain` gives them, as a PNG."""
    from matplotlib.figure import Figure

    scored = [trial for trial in trials if "score" in trial]
    rows = -(-(1 + len(dimensions)) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.2 * rows), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    _draw_by_number(axes[0], scored)
    for panel, dimension in zip(axes[1:], dimensions, strict=False):
        _draw_by_value(panel, scored, dimension)
    for spare in axes[1 + len(dimensions) :]:
        spare.remove()
    for state, (mark, colour) in MARKS.items():
        axes[0].scatter([], [], marker=mark, color=colour, label=state)
    axes[0].legend()
    figure.suptitle(title)
    save_picture(figure, path)


def _draw_points(axes: Axes, trials: Sequence[Mapping[str, Any]], places: Sequence[float]) -> None:
    for state, (mark, colour) in MARKS.items():
        chosen = [
            (place, trial["score"]) for place, trial in zip(places, trials, strict=True) if trial["state"] == state
        ]
        axes.scatter([place for place, _ in chosen], [score for _, score in chosen], marker=mark, color=colour)
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
        axes.set_xticks(range(len(dimension.values)), dimension.values)
    else:
        _draw_points(axes, having, [float(value) for value in values])
    if dimension.log:
        axes.set_xscale("log")
        axes.set_xlim(dimension.low, dimension.high)  # the whole range: half a decade alone has no labels
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(dimension.path)
