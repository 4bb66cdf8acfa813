"""Training curves and the confusion matrix of a run as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.observers.pictures import make_figure, save_picture, set_named_ticks

if TYPE_CHECKING:
    from torch import Tensor


CURVES = Path("plots", "training.png")


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
    set_named_ticks(axes, "x", labels, rotation=45 if max(map(len, labels)) > 2 else 0)
    set_named_ticks(axes, "y", labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= 30:
        for row, column in confusion.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(int(confusion[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    save_picture(figure, path)
