"""Forecasts that need no model: the last value, the value a season ago, and the last value with a drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.capabilities import Baseline
from dltrain.data.series.scaling import count_rows


class RepeatedRows(nn.Module):
    """Repeats the last `season` rows, plus `drift` (targets,) for each step.

    Windows (N, rows, channels) to (N, horizon * targets), step after step.
    """

    drift: Tensor

    def __init__(self, targets: Sequence[int], horizon: int, season: int, drift: Tensor) -> None:
        super().__init__()
        self.targets = list(targets)
        self.rows = [step % season - season for step in range(horizon)]
        steps = torch.arange(1, horizon + 1, dtype=torch.float64)
        self.register_buffer("drift", (steps[:, None] * drift).float(), persistent=False)  # (horizon, targets)

    def forward(self, windows: Tensor) -> Tensor:
        repeated: Tensor = windows[:, self.rows][..., self.targets] + self.drift.to(windows.dtype)
        return repeated.flatten(1)


def build_naive_baselines(assets: Mapping[str, Any]) -> dict[str, Baseline]:
    """The last value; the value a season ago, if the window reaches back so far; the last value with a drift.

    The drift is the mean change of the training rows, as in Hyndman and Athanasopoulos (2021), chapter 5.2.
    """
    targets = [assets["columns"].index(name) for name in assets["targets"]]
    horizon, still = assets["horizon"], torch.zeros(len(targets), dtype=torch.float64)
    found = {"last value": Baseline(RepeatedRows(targets, horizon, 1, still))}
    season = assets.get("season")
    if season and season <= count_rows(assets):
        found[f"value {season} steps ago"] = Baseline(RepeatedRows(targets, horizon, season, still))
    if "drift" in assets:
        deviations = torch.tensor(assets["std"], dtype=torch.float64)[targets]
        drift = torch.tensor(assets["drift"], dtype=torch.float64) / deviations
        found["drift"] = Baseline(RepeatedRows(targets, horizon, 1, drift))
    return found
