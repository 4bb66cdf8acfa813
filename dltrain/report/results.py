"""The sections about what was found on a split: classes, numbers, forecasts, examples, samples, clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dltrain.report.charts import Chart, ChartSeries
from dltrain.report.contents import RunContents
from dltrain.report.markup import (
    Markup,
    escape,
    format_score,
    make_fold,
    make_grid,
    make_note,
    make_section,
    make_table,
)

MATRIX = 30
"""Classes up to which the confusion matrix is shown."""


def build_results(contents: RunContents) -> Iterator[Markup]:
    """The sections of the test split, or of the validation split as long as it was not tested."""
    if not contents.findings:
        return
    split, found = next(iter(contents.findings.items()))
    if "probabilities" in found:
        yield make_section("classes", f"Classes, {split} split", *describe_classes(found))
    if "numbers" in found:
        yield make_section("numbers", f"Estimates, {split} split", *describe_numbers(found["numbers"]))
    if "forecast" in found:
        charts = (draw_forecast(one).draw() for one in found["forecast"])
        yield make_section("forecast", f"Forecast, {split} split", make_grid(charts))
    if found.get("reconstructions"):
        yield make_section("reconstructions", f"Reconstructions, {split} split", show_reconstructions(found))
    if found.get("samples"):
        texts = "".join(f"<pre>{escape(text.replace(' | ', chr(10)))}</pre>" for text in found["samples"])
        yield make_section("samples", "Samples: what the model writes", texts)
    if "clips" in found:
        yield make_section("clips", f"Worst clips, {split} split", *show_clips(found))
    if found.get("worst_examples"):
        yield make_section("worst", f"Worst examples, {split} split", show_worst(found["worst_examples"]))


def describe_classes(found: Mapping[str, Any]) -> Iterator[str]:
    """Confusion matrix, curves, and the scores by class."""
    confusion, by_class = found.get("confusion"), found.get("classes")
    classes = found["probabilities"]
    labels = classes["labels"]
    if confusion is not None and len(labels) <= MATRIX:
        yield make_grid(draw_matrix(confusion, labels, shares=shares) for shares in (False, True))
    elif confusion is not None:
        pairs = [
            (count, labels[row], labels[column])
            for row, counts in enumerate(confusion)
            for column, count in enumerate(counts)
            if row != column and count
        ]
        rows = [[truth, given, f"{count:,}"] for count, truth, given in sorted(pairs, reverse=True)[:20]]
        yield "<h3>Most frequent confusions</h3>" + make_table(["true", "predicted", "examples"], rows, left=(0, 1))
    yield make_grid(chart.draw() for chart in list_class_charts(classes))
    if by_class:
        rows = [
            [
                label,
                *(format_score(scores.get(name)) for name in ("precision", "recall", "f1")),
                f"{int(scores['examples']):,}",
            ]
            for label, scores in by_class.items()
        ]
        table = make_table(["class", "precision", "recall", "F1", "examples"], rows)
        yield table if len(rows) <= 12 else make_fold(f"Scores of {len(rows)} classes", table)


def list_class_charts(classes: Mapping[str, Any]) -> Iterator[Chart]:
    curves, unit = classes.get("curves", []), (0.0, 1.0)
    left_out = classes.get("curves_left_out")
    note = f"the {len(curves)} classes with the smallest areas; {left_out} more have larger ones" if left_out else ""
    if curves:
        roc = [
            ChartSeries(
                x=one["roc"][0], y=one["roc"][1], label=f"{one['label']}, area {one['roc_auc']:.4f}", colour=index
            )
            for index, one in enumerate(curves)
        ]
        chance = ChartSeries(x=unit, y=unit, label="chance", style="guide")
        titles = ("ROC: each class against the others" if len(classes["labels"]) > 2 else "ROC"), "precision and recall"
        spans: dict[str, Any] = {"x_span": unit, "y_span": (0.0, 1.02), "note": note}
        yield Chart(title=titles[0], x="false positive rate", y="true positive rate", series=[*roc, chance], **spans)
        precision = [
            ChartSeries(
                x=one["precision_recall"][0],
                y=one["precision_recall"][1],
                label=f"{one['label']}, average precision {one['average_precision']:.4f}",
                colour=index,
            )
            for index, one in enumerate(curves)
        ]
        yield Chart(title=titles[1], x="recall", y="precision", series=precision, **spans)
    calibration = classes["calibration"]
    series = [
        ChartSeries(x=unit, y=unit, label="perfect", style="guide"),
        ChartSeries(x=calibration["predicted"], y=calibration["observed"], label="observed share"),
    ]
    note = (
        f"expected calibration error {calibration['error']:.4f}; {classes['examples']:,} examples in intervals of 0.1"
    )
    axis = f"{classes['calibrated']}, mean of the interval"
    yield Chart(
        title="calibration", x=axis, y="observed share", series=series, x_span=unit, y_span=(0.0, 1.02), note=note
    )


def draw_matrix(confusion: Sequence[Sequence[int]], labels: Sequence[str], *, shares: bool) -> Markup:
    """The confusion matrix as a table whose cells are shaded by their share of the row."""
    rows = []
    for label, counts in zip(labels, confusion, strict=True):
        total = sum(counts) or 1
        cells = []
        for count in counts:
            share = count / total
            text = (f"{100 * share:.1f}" if count else "") if shares else (f"{count:,}" if count else "")
            strong = " class=strong" if share > 0.55 else ""
            cells.append(f'<td{strong} style="background:rgba(var(--heat),{0.03 + 0.87 * share:.2f})">{text}</td>')
        rows.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    title = "confusion matrix, % of each true class" if shares else "confusion matrix, examples"
    return Markup(
        f"<figure><figcaption>{title}</figcaption><p class=small>rows: true, columns: predicted</p>"
        f"<div class=scroll><table class=matrix><tr><th></th>{head}</tr>{''.join(rows)}</table></div></figure>"
    )


def describe_numbers(numbers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Predicted against true values and the residuals, number by number."""
    charts = []
    for one in numbers:
        name, every = one["name"], one["every"]
        values = [*one["truth"], *one["estimate"]]
        low, high = min(values), max(values)
        room = 0.03 * (high - low) or 0.5
        span = (low - room, high + room)
        line = ChartSeries(x=span, y=span, label="equal", style="guide")
        points = ChartSeries(x=one["truth"], y=one["estimate"], style="points")
        note = (
            f"{len(one['truth']):,} of {one['examples']:,} examples" if every > 1 else f"{one['examples']:,} examples"
        )
        spans: dict[str, Any] = {"x_span": span, "y_span": span, "note": note}
        title = f"{name}: predicted against true"
        charts.append(Chart(title=title, x="true", y="predicted", series=[line, points], **spans).draw())
        residuals = [estimate - truth for truth, estimate in zip(one["truth"], one["estimate"], strict=True)]
        zero = ChartSeries(x=span, y=(0.0, 0.0), style="guide")
        points = ChartSeries(x=one["truth"], y=residuals, style="points", colour=1)
        title = f"{name}: residuals (predicted minus true)"
        charts.append(Chart(title=title, x="true", y="residual", series=[zero, points], x_span=span).draw())
        bars = ChartSeries(x=one["edges"], y=one["counts"], style="bars", colour=1)
        note = f"mean {one['mean_error']:.4g}, standard deviation {one['deviation']:.4g}, "
        note += f"median size {one['median_absolute_error']:.4g}"
        marks = [(0.0, "")] if one["edges"][0] < 0 < one["edges"][-1] else []
        title, around = f"{name}: distribution of the residuals", (one["edges"][0], one["edges"][-1])
        spans = {"marks": marks, "x_span": around, "note": note}
        charts.append(Chart(title=title, x="residual", y="examples", series=[bars], **spans).draw())
    yield make_grid(charts)


def draw_forecast(one: Mapping[str, Any]) -> Chart:
    """True values and forecasts of the first windows, with the interval between the outer quantiles."""
    steps = list(range(len(one["truth"])))
    series = []
    if "low" in one:
        share = 100 * (one["quantiles"][-1] - one["quantiles"][0])
        series.append(
            ChartSeries(x=steps, y=one["high"], low=one["low"], label=f"{share:.4g} % interval", style="band", colour=1)
        )
    series.append(ChartSeries(x=steps, y=one["truth"], label="true", colour=7))
    series.append(ChartSeries(x=steps, y=one["estimate"], label="forecast", colour=1))
    return Chart(title=one["name"], x="window", y="", series=series, note=f"the first {len(steps)} windows")


def show_reconstructions(found: Mapping[str, Any]) -> Markup:
    figures = "".join(
        f'<figure><img src="{escape(one["input"])}" alt="input">'
        f'<img src="{escape(one["output"])}" alt="output"></figure>'
        for one in found["reconstructions"]
    )
    return Markup(f"<p class=small>above: input, below: output</p><div class=pictures>{figures}</div>")


def show_worst(worst: Sequence[Mapping[str, Any]]) -> Markup:
    """The examples by name, with the picture, the text or the row that was read."""
    if any("picture" in one for one in worst):
        figures = []
        for one in worst:
            name = str(one.get("name", f"example {one['example']}"))
            short = "/".join(name.split("/")[-2:])
            figures.append(
                f'<figure title="{escape(name)}"><img src="{escape(one.get("picture", ""))}" alt="{escape(name)}">'
                f"{describe_mistake(one)}<span class=small>{escape(short)}</span></figure>"
            )
        return Markup(f"<div class=pictures>{''.join(figures)}</div>")
    parts = []
    for one in worst:
        name = one.get("name", f"example {one['example']}")
        more = f" and {one['read_more']} more" if "read_more" in one else ""
        cells = "; ".join(f"{key} {value}" for key, value in one.get("read", {}).items())
        read = f"<p class=small>{escape(cells + more)}</p>" if cells else ""
        parts.append(f"<div class=example><p><b>{escape(name)}</b></p>{describe_mistake(one)}{read}</div>")
    return Markup("".join(parts))


def describe_mistake(one: Mapping[str, Any]) -> str:
    if "estimate" in one:
        pairs = [
            f"{escape(key)}: true {value:.6g}, predicted <b>{one['estimate'][key]:.6g}</b>"
            for key, value in one["truth"].items()
        ]
        return f"<p>{'; '.join(pairs)}</p>"
    truth, chance = escape(one["truth"]), one["truth_probability"]
    if one["truth"] == one["predicted"]:
        return f"<p class=right>{truth}, recognised with {chance:.3f}</p>"
    return (
        f"<p>true: <b>{truth}</b> ({chance:.3f})<br>predicted: <b class=wrong>{escape(one['predicted'])}</b> "
        f"({one['predicted_probability']:.3f})</p>"
    )


def show_clips(found: Mapping[str, Any]) -> Iterator[str]:
    """Reference above hypothesis, word by word, and the hypothesis below the clip's spectrogram."""
    if not found["clips"]:
        yield make_note("no clip has an edit")
    for one in found["clips"]:
        name = one.get("name", f"clip {one['example']}")
        length = f" · {one['seconds']:.1f} s" if "seconds" in one else ""
        words = []
        for reference, hypothesis in one["compared"]:
            edit = " class=edit" if reference != hypothesis else ""
            upper, lower = (escape(word) if word else "∅" for word in (reference, hypothesis))
            words.append(
                f"<span{edit}><span>{upper}</span><span class={'wrong' if edit else 'right'}>{lower}</span></span>"
            )
        placed = "".join(
            f'<b style="left:{100 * first:.2f}%;width:{100 * (end - first):.2f}%" title="confidence {sure:.3f}">'
            f"{escape(text)}</b>"
            for text, first, end, sure in one.get("words", [])
        )
        yield (
            f"<div class=example><p><b>{escape(name)}</b><span class=small>{length}</span></p>"
            "<div class=words><span class=small><span>reference</span><span>hypothesis</span></span>"
            f"{''.join(words)}</div>"
            f'<div class=clip><img src="{escape(one["picture"])}" alt="spectrogram"><div>{placed}</div></div></div>'
        )
    if found.get("confused"):
        names = {"": "nothing", " ": "space"}
        rows = [
            [names.get(one["said"], one["said"]), names.get(one["understood"], one["understood"]), one["times"]]
            for one in found["confused"]
        ]
        yield "<h3>Most frequent confusions of characters</h3>"
        yield make_table(["reference", "hypothesis", "count"], rows, left=(0, 1))
