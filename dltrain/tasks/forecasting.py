"""Windows of a series to the numbers that come next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.capabilities import Baseline
from dltrain.data.series.scaling import count_rows, is_relative
from dltrain.goal import Goal
from dltrain.models.series import Autoregression
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step
from dltrain.tasks.baselines import make_linear_baseline
from dltrain.tasks.regression import ERRORS, compute_r2, count_digits
from dltrain.tasks.relative_forecasts import wrap_relative


@tasks.register(
    "sequence_regression", data="series", sizes=("channels", "window", "outputs"), metrics=(*ERRORS, "loss")
)
class SequenceRegression:
    """Squared error of the next steps' values; the best epoch has the lowest validation error.

    Reports rmse (root of the mean squared error), mse, mae (mean absolute error) and r2 (as scikit-learn's r2_score) in
    the data's own units, averaged over the outputs; naive_rmse and naive_mae, the same of a forecast that repeats each
    window's last value, which a model should beat; and loss, what is trained on: the mean squared error in standard
    deviations of the training rows.
    """

    goal = Goal("rmse", "min")

    def __init__(self, assets: Mapping[str, Any]) -> None:
        columns: list[str] = assets["columns"]
        horizon = int(assets["horizon"])
        self.outputs = tuple(f"{name}+{step}" for step in range(1, horizon + 1) for name in assets["targets"])
        self.sizes = {"channels": len(columns), "window": int(assets["window"]), "outputs": len(self.outputs)}
        if is_relative(assets):
            self.sizes["rows"] = count_rows(assets)
        self._assets = assets
        self._targets = [columns.index(name) for name in assets["targets"]]
        self._horizon = horizon
        self._mean = torch.tensor(assets["mean"], dtype=torch.float64)[self._targets].repeat(horizon)
        self._deviation = torch.tensor(assets["std"], dtype=torch.float64)[self._targets].repeat(horizon)
        self.digits = count_digits(self._mean, self._deviation)

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        steps = range(1, int(assets["horizon"]) + 1)
        outputs = [f"{name}+{step}" for step in steps for name in assets["targets"]]
        return {"channels": assets["columns"], "outputs": outputs}

    def wrap(self, model: nn.Module) -> nn.Module:
        return wrap_relative(model, self._assets)

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        return Step(functional.mse_loss(model(batch.inputs), batch.targets))

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        float_type = torch.float32 if batch.targets.device.type == "mps" else torch.float64
        targets = batch.targets.to(float_type)  # (N, outputs)
        errors = model(batch.inputs).to(float_type) - targets
        naive = batch.inputs[:, -1, self._targets].repeat(1, self._horizon).to(float_type) - targets
        counts = {
            "squared": errors.square(),
            "absolute": errors.abs(),
            "naive_squared": naive.square(),
            "naive_absolute": naive.abs(),
            "targets": targets,
            "targets_squared": targets.square(),
        }
        examples = torch.tensor(len(targets), device=targets.device)
        return Score({"examples": examples, **{name: values.sum(0) for name, values in counts.items()}})

    def report(self, counts: Counts) -> dict[str, float]:
        examples = int(counts["examples"])
        sums = {name: values.cpu().double() for name, values in counts.items() if name != "examples"}
        mse, naive_mse = ((sums[name] / examples * self._deviation.square()) for name in ("squared", "naive_squared"))
        mae, naive_mae = ((sums[name] / examples * self._deviation) for name in ("absolute", "naive_absolute"))
        return {
            "rmse": float(mse.sqrt().mean()),
            "mse": float(mse.mean()),
            "mae": float(mae.mean()),
            "r2": compute_r2(sums["squared"], sums["targets"], sums["targets_squared"], examples),
            "naive_rmse": float(naive_mse.sqrt().mean()),
            "naive_mae": float(naive_mae.mean()),
            "loss": float(sums["squared"].mean() / examples),
        }

    def estimates(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        return self.in_units(model(*inputs))

    why_not_convex = None

    def baselines(self) -> dict[str, Baseline]:
        """Linear autoregression on the whole window."""
        return {"linear": make_linear_baseline(self._build_linear, self)}

    def _build_linear(self, *, channels: int, window: int, outputs: int, rows: int | None = None) -> nn.Module:
        return self.wrap(Autoregression(channels, window, outputs))

    def in_units(self, values: Tensor) -> Tensor:
        """A model's outputs or a batch's targets (N, outputs) in the units of the data, float64 on the CPU."""
        return values.cpu().double() * self._deviation + self._mean
