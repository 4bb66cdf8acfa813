"""Training curves, the confusion matrix and report.html."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.core.checkpoint import Checkpoint, Checkpoints
from dltrain.core.verdict import list_remarks, read_baseline_scores
from dltrain.events import Event, Finished, WatchedRun
from dltrain.files import write_atomically
from dltrain.observers.data_report import format_html_table, format_section, read_data
from dltrain.observers.pictures import make_figure, save_picture
from dltrain.registry import observers

if TYPE_CHECKING:
    from torch import Tensor


CURVES = Path("plots", "training.png")


@observers.register("report")
class Report:
    """report.html and plots/training.png in the run directory, when training has ended."""

    def __init__(self, run: WatchedRun) -> None:
        self._directory = run.directory

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            last = Checkpoints(self._directory / "checkpoints").last()
            assert last is not None, "a finished run has a checkpoint"
            write_outcome(self._directory, last)


def write_outcome(directory: Path, last: Checkpoint) -> None:
    """The curves and the report of a run, from its last checkpoint."""
    record = last.record
    title = f"{record.config['model']['name']} on {record.dataset}, seed {record.config['seed']}"
    draw_curves(record.history, last.goal.metric, title, directory / CURVES)
    write_report(directory, title, last)


def summarize_outcome(last: Checkpoint) -> dict[str, Any]:
    """What was trained on what, the best epoch and its score, and the device, from the last checkpoint of a run."""
    record, goal = last.record, last.goal
    history, config = record.history, record.config
    facts: dict[str, Any] = {"data": record.dataset, "model": config["model"]["name"], "seed": config["seed"]}
    if record.solved is not None:
        facts["solved at once"] = record.solved
    best = history.best(goal)
    if best is None and history.metrics():
        facts["best epoch"] = f"none has a validation {goal.metric}; the last one counts"
    elif best is not None:
        facts["best epoch"] = f"{best + 1} of {len(history)}"
        facts[f"validation {goal.metric}"] = round(history[best][goal.metric], 6)
    facts |= {name.replace("_", " "): value for name, value in record.facts.items()}
    facts["device"] = f"{record.signature['device']}, torch {record.signature['torch']}"
    return facts


def draw_curves(history: Sequence[Mapping[str, Any]], metric: str, title: str, path: Path) -> None:
    """Loss and the goal's metric over the epochs, with the learning rate below, as a PNG."""
    epochs = [record["epoch"] for record in history]
    figure = make_figure(9, 4)
    loss, score = figure.subplots(1, 2)
    mark = "o" if len(epochs) < 30 else ""
    loss.plot(epochs, [record["training_loss"] for record in history], marker=mark, label="training")
    if any("loss" in record for record in history):
        loss.plot(epochs, [record.get("loss") for record in history], marker=mark, label="validation")
    loss.set(xlabel="epoch", ylabel="loss", title="loss")
    loss.legend()
    if metric != "loss" and any(metric in record for record in history):
        score.plot(epochs, [record.get(metric) for record in history], marker=mark, color="C1")
        score.set(xlabel="epoch", ylabel=metric, title=f"validation {metric}")
    else:
        score.plot(epochs, [record["learning_rate"] for record in history], marker=mark, color="C2")
        score.set(xlabel="epoch", ylabel="learning rate", title="learning rate")
    for axes in (loss, score):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    save_picture(figure, path)


def draw_confusion_picture(confusion: Tensor, labels: Sequence[str], title: str, path: Path) -> None:
    """The confusion matrix (classes, classes) as a PNG: rows the truth, columns the prediction."""
    side = max(4.0, 0.55 * len(labels) + 1.5)
    figure = make_figure(side, side)
    axes = figure.subplots()
    shares = confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=45 if max(map(len, labels)) > 2 else 0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= 30:
        for row, column in confusion.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(int(confusion[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    save_picture(figure, path)


def _format_cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def write_report(directory: Path, title: str, last: Checkpoint) -> None:
    """report.html: what was trained on what, its baselines, the history as a table, and the pictures in plots/."""
    history, notice = last.record.history, last.record.notice
    notices = [*([notice] if notice else []), *list_remarks(directory, last.record, last.goal, read_data(directory))]
    warning = "".join(f"<p class=notice>{html.escape(each)}</p>" for each in notices)
    baselines = read_baseline_scores(directory)
    measured = list(next(iter(baselines.values()), {}))
    beside = [[name, *(_format_cell(scores.get(each)) for each in measured)] for name, scores in baselines.items()]
    compared = format_html_table(beside, ("baseline, validation", *measured)) if beside else ""
    columns = list(history[0]) if history else []
    data = read_data(directory)
    section = "" if data is None else format_section(data)
    plots = sorted((directory / "plots").glob("*.png"))
    pictures = "".join(f'<p><img src="plots/{path.name}" alt="{path.stem}"></p>' for path in plots)
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;margin:1rem 0}}
td,th{{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}}
.notice{{background:#fff3cd;border:1px solid #cc9a06;padding:.7rem}}img{{max-width:100%}}</style>
<h1>{html.escape(title)}</h1>
{warning}
{format_html_table(list(summarize_outcome(last).items()), ("fact", "value"))}
{compared}
{section}
{pictures}
{format_html_table([[_format_cell(record.get(name, "")) for name in columns] for record in history], columns)}
</html>
"""
    write_atomically(directory / "report.html", page.encode())
