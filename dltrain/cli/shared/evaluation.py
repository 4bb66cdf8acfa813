"""The results of an evaluation as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dltrain.cli.shared.speech import format_worst, list_confusion_rows
from dltrain.cli.shared.tables import format_confusion, format_table
from dltrain.data.wording import join_some
from dltrain.observers.console import format_baselines, format_metric
from dltrain.runs.evaluated_data import format_changed_data
from dltrain.runs.examples import format_worst_examples


def format_evaluation(result: Mapping[str, Any], method: object | None) -> Iterator[str]:
    """The results as lines for people; `method` names an adaptation or a decoder."""
    by = f", {method}" if method else ""
    by += f", mean of {result['views']} views" if "views" in result else ""
    seed = ", ".join(map(str, result["seed"])) if isinstance(result["seed"], list) else result["seed"]
    yield (
        f"{result['split']} split of {result['dataset']}{by}, checkpoint {result['checkpoint']}, "
        f"seed {seed}, torch {result['torch']} on {result['device']}"
    )
    if "changed_data" in result:
        yield format_changed_data(result["changed_data"])
    for name, fact in result.get("facts", {}).items():
        yield f"{name.replace('_', ' ')}: {fact}"
    width = max(map(len, result["metrics"])) + 2
    for name, value in result["metrics"].items():
        yield f"{name:<{width}}{format_metric(value)}"
    if "members" in result:
        scores = (format_metric(one["metrics"][result["goal"]]) for one in result["members"])
        yield f"{result['goal']} of the members: {', '.join(scores)}"
    if "baselines" in result:
        yield "baselines: " + format_baselines(result["baselines"], result["goal"])
    yield from (f"note: {remark}" for remark in result.get("remarks", ()))
    yield from format_worst(result)
    if result.get("confused"):
        yield "\n" + format_table(list_confusion_rows(result))
    if "classes" in result:
        yield from format_classes(result)
    if result.get("worst_examples"):
        yield "\n" + "\n".join(format_worst_examples(result["worst_examples"]))
    if pictures := [result[name] for name in ("picture", "worst_picture") if name in result]:
        yield "\n" + "\n".join(f"picture: {path}" for path in pictures)


def format_classes(result: Mapping[str, Any]) -> Iterator[str]:
    """The metrics of each class, what is special about classes, and the confusion matrix."""
    classes: Mapping[str, Mapping[str, float | None]] = result["classes"]
    rows: list[list[object]] = [["class", "precision", "recall", "f1", "examples"]]
    for label, metrics in classes.items():
        shares = ["-" if (value := metrics[name]) is None else f"{value:.4f}" for name in ("precision", "recall", "f1")]
        rows.append([label, *shares, int(metrics["examples"] or 0)])
    yield "\n" + format_table(rows)
    if absent := result["absent_classes"]:
        yield f"neither true nor predicted in this split, so left out of macro averages: {join_some(absent, 20)}"
    if missed := result["never_predicted"]:
        yield f"never predicted: {join_some(missed, 20)}"
    title = "confusion matrix (rows: true, columns: predicted)"
    yield f"\n{title}\n{format_confusion(list(classes), result['confusion'])}"
