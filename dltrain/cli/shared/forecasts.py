"""The picture of forecasts that `dltrain eval` draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

WINDOWS, OUTPUTS = 300, 4
"""The number of windows and outputs that are drawn."""


def draw_forecasts(trained: Trained, stream: Stream[Any], title: str, path: Path) -> None:
    """Draw the first windows of a split as a PNG: true values and the model's forecasts."""
    import torch

    from dltrain.batch import to_device
    from dltrain.observers.pictures import draw_forecast_picture

    task: Any = trained.task
    truth: list[Tensor] = []
    forecast: list[Tensor] = []
    with torch.inference_mode(), trained.runtime.autocast():
        for batch in stream.epoch(0):
            moved = to_device(batch, trained.runtime.device)
            forecast.append(task.estimates(trained.model, *moved.arguments))
            truth.append(task.in_units(batch.targets))
            if sum(map(len, truth)) >= WINDOWS:
                break
    true, forecasts = (torch.cat(parts)[:WINDOWS, :OUTPUTS] for parts in (truth, forecast))
    draw_forecast_picture(true, forecasts, task.outputs[:OUTPUTS], title=title, path=path)
