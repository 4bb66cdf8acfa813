"""The course of training as charts: losses, the deciding metric, learning rate, length of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dltrain.report.charts import Chart, ChartSeries
from dltrain.report.contents import RunContents
from dltrain.report.markup import Markup, format_score, make_grid, make_section

POINTS = 300
"""Points of a curve at most; of more steps, means are drawn."""


def build_curves(contents: RunContents) -> Markup:
    """The section of curves."""
    run = contents.run
    history = run.history
    placed, axis = place_steps(contents)
    marks = [] if run.best_epoch is None or len(history) < 2 else [(run.best_epoch, f"best: {run.best_epoch:g}")]
    ends = [entry["epoch"] for entry in history] or [float(each["step"]) for each in contents.steps]
    first = placed(contents.steps[0]["step"]) if len(contents.steps) >= 2 * len(history) and contents.steps else None
    span = None if len(ends) < 2 else (min(ends[0], first or ends[0]), ends[-1])
    around: dict[str, Any] = {"x": axis, "whole_x": True, "x_span": span, "marks": marks if axis == "epoch" else []}
    charts = [draw_losses(contents, placed, around)]
    for name in choose_metrics(contents):
        scores = [(entry["epoch"], entry.get(name)) for entry in history]
        series = [ChartSeries(x=[x for x, _ in scores], y=[y for _, y in scores], label=f"validation {name}", colour=2)]
        guide, note = draw_best_baseline(contents, name, scores)
        charts.append(Chart(title=f"validation {name}", y="", series=[*series, *guide], note=note, **around))
    rates = thin(placed, contents.steps, "learning_rate", average=False)
    if len(rates[0]) < 2 * len(history):  # fewer log lines than epochs say less
        rates = [entry["epoch"] for entry in history], [entry["learning_rate"] for entry in history]
    series = [ChartSeries(x=rates[0], y=rates[1], label="learning rate", colour=1)]
    charts.append(Chart(title="learning rate", y="", series=series, **{**around, "marks": []}))
    norms = thin(placed, contents.steps, "gradient_norm", average=True)
    if norms[0]:
        series = [ChartSeries(x=norms[0], y=norms[1], label="gradient norm", colour=4)]
        clip = run.config.get("trainer", {}).get("clip_norm")
        if clip is not None:
            limits = [norms[0][0], norms[0][-1]]
            series.append(ChartSeries(x=limits, y=[clip, clip], label=f"clipped at {clip:g}", style="guide"))
        note = "L2 norm of the gradients at each log line, before clipping"
        charts.append(Chart(title="gradient norm", y="", series=series, note=note, **{**around, "marks": []}))
    return make_section("curves", "Curves", make_grid(chart.draw() for chart in charts))


def choose_metrics(contents: RunContents) -> list[str]:
    """The metric that decides, or beside the loss the one that says most."""
    run = contents.run
    if run.metric is not None and run.metric != "loss":
        return [run.metric]
    preferred = ("accuracy", "r2", "perplexity", "mae")
    return [name for name in (*preferred, *run.validation) if name in run.validation and name != "loss"][:1]


def draw_best_baseline(
    contents: RunContents, name: str, drawn: Sequence[tuple[float, float | None]]
) -> tuple[list[ChartSeries], str]:
    """A guide at the best baseline's score, or a note where it is far from the curve; of the deciding metric alone."""
    known = [score for each in contents.baselines.values() if (score := each.get(name)) is not None]
    own = [score for _, score in drawn if score is not None]
    if name != contents.run.metric or not known or not own:
        return [], ""
    best = max(known) if contents.run.direction == "max" else min(known)
    label, room = f"best baseline: {format_score(best)}", 0.5 * (max(own) - min(own))
    if not min(own) - room <= best <= max(own) + room:
        return [], label
    return [ChartSeries(x=[drawn[0][0], drawn[-1][0]], y=[best, best], label=label, style="dashed", colour=7)], ""


def draw_losses(contents: RunContents, placed: Callable[[float], float], around: Mapping[str, Any]) -> Chart:
    """Training loss by step and by epoch, and validation loss; a few steps far above the rest are cut off."""
    history = contents.run.history
    steps, losses = thin(placed, contents.steps, "loss", average=True)
    series = []
    if len(steps) >= 2 * len(history):  # the mean over several epochs is no course within an epoch
        alone = not history
        label = "training, each log line" if alone else "training, log lines"
        series.append(ChartSeries(x=steps, y=losses, label=label, style="line" if alone else "faint"))
    epochs = [entry["epoch"] for entry in history]
    series.append(ChartSeries(x=epochs, y=[entry["training_loss"] for entry in history], label="training"))
    validation = [entry.get("loss") for entry in history]
    series.append(ChartSeries(x=epochs, y=validation, label="validation", colour=1))
    main = [value for each in series if each.style == "line" for value in each.y if value is not None]
    ordered = sorted(value for value in losses if value is not None)
    span = None
    if main and ordered:
        high, low = max(*main, ordered[int(0.97 * (len(ordered) - 1))]), min(*main, ordered[0])
        if ordered[-1] > 1.5 * high and high > low:
            span = (low - 0.04 * (high - low), high + 0.04 * (high - low))
    guide, note = draw_best_baseline(contents, "loss", list(zip(epochs, validation, strict=True)))
    return Chart(title="loss", y="", series=[*series, *guide], note=note, y_span=span, **around)


def place_steps(contents: RunContents) -> tuple[Callable[[float], float], str]:
    """From a step to its place on the axis, and the axis: epochs; steps as long as no epoch has ended."""
    ends = [(0.0, 0.0), *((float(entry["step"]), float(entry["epoch"])) for entry in contents.run.history)]
    if len(ends) == 1:
        return float, "step"

    def place(step: float) -> float:
        index = next((index for index, (end, _) in enumerate(ends) if end >= step), len(ends) - 1) or 1
        (start, first), (end, last) = ends[index - 1], ends[index]
        return first + (step - start) / max(1.0, end - start) * (last - first)

    return place, "epoch"


def thin(
    place: Callable[[float], float], steps: Sequence[Mapping[str, Any]], name: str, *, average: bool
) -> tuple[list[float], list[float | None]]:
    """A value of the log lines over its place: all of them, or of groups of them the mean, or the last one."""
    known = [(float(each["step"]), float(each[name])) for each in steps if each.get(name) is not None]
    size = -(-len(known) // POINTS)
    groups = [known[start : start + size] for start in range(0, len(known), size or 1)]
    xs = [place(group[-1][0]) for group in groups]
    if average:
        return xs, [sum(value for _, value in group) / len(group) for group in groups]
    return xs, [group[-1][1] for group in groups]
