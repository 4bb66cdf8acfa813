"""Forecasts relative to the window that they follow: for series with a trend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dltrain.capabilities import LinearInWeights

SMALLEST_SPREAD = 0.1
"""What is added, in quadrature, to the spread of a window: a window that never changes has none."""


class RelativeWindows(NamedTuple):
    """Windows as the inner model reads them, and what turns its outputs into forecasts.

    `inputs` (N, window, channels) are rounded to float32 for it; `base` (N, horizon, targets) is the forecast that an
    output of 0 means, and `scale` (N, 1, targets) what an output of 1 adds to it.
    """

    inputs: Tensor
    base: Tensor
    scale: Tensor


class RelativeForecaster(nn.Module):
    """A model of a series between two steps: windows are made relative to themselves, and forecasts put back.

    Without `lags`, the window's last row is subtracted from each of its rows, and added to each forecast. With them,
    the model reads the differences (1 - B^lag) ... of the rows, for each lag, and its outputs are added to the forecast
    that lets these differences be 0 (for lag 1, the last value). With `spread` (channels,), the typical spread of a
    window, each window is divided by its own, and so are forecasts; this is normalisation per instance (Kim et al.
    2022, "Reversible instance normalization").

    Windows (N, window + sum of lags, channels) to forecasts (N, horizon * targets * k) in the windows' units, float64
    (float32 on MPS), for a `model` with outputs (N, horizon * targets * k).
    """

    spread: Tensor | None
    extrapolation: Tensor

    def __init__(
        self, model: nn.Module, *, lags: Sequence[int], targets: Sequence[int], horizon: int, spread: Tensor | None
    ) -> None:
        super().__init__()
        self.model = model
        self.lags, self.targets, self.horizon = tuple(lags), list(targets), horizon
        self.register_buffer("spread", None if spread is None else spread.float(), persistent=False)
        self.register_buffer("extrapolation", extrapolate(self.lags or (1,), horizon), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        relative = self.relate(windows)
        return self._put_back(self.model(relative.inputs.float()), relative)

    def _put_back(self, outputs: Tensor, relative: RelativeWindows) -> Tensor:
        parts = outputs.to(relative.base.dtype).reshape(len(outputs), self.horizon, len(self.targets), -1)
        forecasts: Tensor = relative.base[..., None] + relative.scale[..., None] * parts
        return forecasts.flatten(1)

    def relate(self, windows: Tensor) -> RelativeWindows:
        rows = windows.to(torch.float32 if windows.device.type == "mps" else torch.float64)
        last = rows[:, -self.extrapolation.shape[1] :, self.targets]  # (N, reach, targets)
        base = torch.einsum("hr,nrt->nht", self.extrapolation.to(rows.dtype), last)
        changes = difference_rows(rows, self.lags) if self.lags else rows - rows[:, -1:]
        if self.spread is None:
            return RelativeWindows(changes, base, torch.ones_like(base[:, :1]))
        typical = self.spread.to(rows.dtype)
        own = (changes.square().mean(1, keepdim=True) + (SMALLEST_SPREAD * typical).square()).sqrt()  # (N, 1, channels)
        return RelativeWindows(changes / own, base, (own / typical)[..., self.targets])


class LinearRelativeForecaster(RelativeForecaster):
    """The same of a model that is linear in its weights (`dltrain.capabilities.CompletesOutputs`)."""

    @property
    def _linear(self) -> LinearInWeights:
        assert isinstance(self.model, LinearInWeights)
        return self.model

    @property
    def solve(self) -> bool:
        return self._linear.solve

    @property
    def output_layer(self) -> nn.Linear:
        return self._linear.output_layer

    def features(self, windows: Tensor) -> Tensor:
        return self._linear.features(self.relate(windows).inputs)

    def complete(self, outputs: Tensor, windows: Tensor) -> Tensor:
        return self._put_back(outputs, self.relate(windows))


def difference_rows(rows: Tensor, lags: Sequence[int]) -> Tensor:
    """Take the differences (1 - B^lag) of rows (N, T, C) for each lag, (N, T - sum of lags, C)."""
    for lag in lags:
        rows = rows[:, lag:] - rows[:, :-lag]
    return rows


def extrapolate(lags: Sequence[int], horizon: int) -> Tensor:
    """The weights (horizon, sum of lags) of a series' last rows in the forecast whose differences are 0."""
    reach = sum(lags)
    polynomial = torch.ones(1, dtype=torch.float64)
    for lag in lags:  # the coefficients of the product of (1 - B^lag)
        longer = torch.zeros(len(polynomial) + lag, dtype=torch.float64)
        longer[: len(polynomial)] += polynomial
        longer[lag:] -= polynomial
        polynomial = longer
    rows = list(torch.eye(reach, dtype=torch.float64))
    for _ in range(horizon):
        rows.append(-sum((polynomial[step] * rows[-step] for step in range(1, reach + 1)), torch.zeros(reach)))
    return torch.stack(rows[reach:])


def wrap_relative(model: nn.Module, assets: Mapping[str, Any]) -> nn.Module:
    """The model as it forecasts the series of these assets: itself where values are normalised as they are."""
    lags, own = assets.get("difference", ()), assets.get("normalize") == "window"
    if not lags and not own:
        return model
    columns = assets["columns"]
    wrapper = LinearRelativeForecaster if isinstance(model, LinearInWeights) else RelativeForecaster
    return wrapper(
        model,
        lags=lags,
        targets=[columns.index(name) for name in assets["targets"]],
        horizon=assets["horizon"],
        spread=torch.tensor(assets["spread"]) if own else None,
    )
