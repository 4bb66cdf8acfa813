"""Windows of a series to the numbers that come next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.capabilities import Baseline
from dltrain.data.series.scaling import count_rows, is_relative
from dltrain.errors import UsageError
from dltrain.functions import Loss, Metrics
from dltrain.goal import Goal
from dltrain.models.series import Autoregression
from dltrain.options import NumberLoss, NumberMetrics
from dltrain.registry import tasks
from dltrain.task import Counts, Each, Score, Step
from dltrain.tasks.baselines import make_linear_baseline, to_full_precision
from dltrain.tasks.naive_forecasts import build_naive_baselines
from dltrain.tasks.quantiles import (
    MEDIAN,
    Quantiles,
    check_quantiles,
    compute_pinball_losses,
    count_intervals,
    name_quantiles,
    report_intervals,
    sort_quantiles,
)
from dltrain.tasks.regression import ERRORS, compute_r2, count_digits
from dltrain.tasks.relative_forecasts import wrap_relative


@tasks.register(
    "sequence_regression",
    data="series",
    sizes=("channels", "window", "outputs"),
    metrics=(*ERRORS, "mase", "pinball_loss", "loss"),
)
class SequenceRegression:
    """Squared error of the next steps' values, or quantiles of them; the best epoch has the lowest validation error.

    Reports rmse (root of the mean squared error), mse, mae (mean absolute error) and r2 (as scikit-learn's r2_score) in
    the data's own units, averaged over the outputs; mase (mae divided by the mean absolute change from one training row
    to the next; Hyndman and Koehler 2006: below 1 it is better than repeating the last value would have been there, one
    step ahead); naive_rmse and naive_mae, those of a forecast that repeats each window's last value, which a model
    should beat; and loss, what is trained on, in the data's standard deviations (in those of the changes, where it
    forecasts changes).

    With `quantiles` the median is the forecast of these metrics, the model gives an output for each quantile, and
    reported are also pinball_loss (its mean, in units), which decides, and of each interval, such as the one
    from 0.1 to 0.9, coverage_80 (the share of values in it, 0.8 if it is right) and width_80.

    Options:
        quantiles: learn these quantiles by the pinball loss (Koenker and Bassett 1978), such as [0.1, 0.5, 0.9], in
            place of the mean by the loss; the median is one of them.
        loss: what is trained on: a registered loss of outputs (N, numbers) and targets (N, numbers), by its name or
            with its options.
        metrics: registered metrics to report beside the task's own, in the data's units, each by its name or with its
            options.
    """

    goal = Goal("rmse", "min")

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        quantiles: Quantiles | None = None,
        loss: NumberLoss = "mse",
        metrics: NumberMetrics | None = None,
    ) -> None:
        self.loss, self.metrics = Loss(loss), Metrics(metrics)
        if "link" in self.loss.facts:
            raise UsageError(
                f"task.loss: {self.loss.name} is for the task 'regression', which reads outputs as logarithms",
                advice="choose another loss: dltrain list losses",
            )
        columns: list[str] = assets["columns"]
        horizon = int(assets["horizon"])
        self.quantiles = check_quantiles(quantiles)
        if self.quantiles:
            self.goal = Goal("pinball_loss", "min")
        self.numbers = tuple(f"{name}+{step}" for step in range(1, horizon + 1) for name in assets["targets"])
        self.outputs = name_quantiles(self.numbers, self.quantiles or (MEDIAN,))
        self.sizes = {"channels": len(columns), "window": int(assets["window"]), "outputs": len(self.outputs)}
        if is_relative(assets):
            self.sizes["rows"] = count_rows(assets)
        self._assets = assets
        self._targets = [columns.index(name) for name in assets["targets"]]
        self._horizon = horizon
        self._mean = torch.tensor(assets["mean"], dtype=torch.float64)[self._targets].repeat(horizon)
        self._deviation = torch.tensor(assets["std"], dtype=torch.float64)[self._targets].repeat(horizon)
        change = torch.tensor(assets.get("change", [nan] * len(self._targets)), dtype=torch.float64)
        self._change = torch.where(change > 0, change, nan).repeat(horizon)
        digits = count_digits(self._mean, self._deviation)
        self.digits = [each for each in digits for _ in self.quantiles or (MEDIAN,)]

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        steps = range(1, int(assets["horizon"]) + 1)
        numbers = [f"{name}+{step}" for step in steps for name in assets["targets"]]
        outputs = name_quantiles(numbers, check_quantiles(options.get("quantiles")) or (MEDIAN,))
        return {"channels": assets["columns"], "outputs": outputs}

    def wrap(self, model: nn.Module) -> nn.Module:
        return wrap_relative(model, self._assets)

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        outputs = model(batch.inputs)
        if not self.quantiles and self.loss.name == "mse":
            return Step(functional.mse_loss(outputs, batch.targets))
        if not self.quantiles:
            return Step(self.loss.measure(to_full_precision(outputs), batch.targets).mean())
        rising = sort_quantiles(outputs.to(batch.targets.dtype), len(self.numbers), self.quantiles)
        return Step(compute_pinball_losses(rising, batch.targets, self.quantiles).mean())

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        float_type = torch.float32 if batch.targets.device.type == "mps" else torch.float64
        targets = batch.targets.to(float_type)  # (N, numbers)
        outputs = model(batch.inputs).to(float_type)
        intervals: dict[str, Any] = {}
        if self.quantiles:
            rising = sort_quantiles(outputs, len(self.numbers), self.quantiles)
            intervals = count_intervals(rising, targets, self.quantiles)
            outputs = rising[..., self.quantiles.index(MEDIAN)]
        elif self.loss.name != "mse":
            intervals = {"losses": self.loss.measure_examples(outputs, targets).to(float_type).sum()}
        intervals |= self.metrics.collect(predictions=self.in_units(outputs), targets=self.in_units(targets))
        errors = outputs - targets
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
        return Score({"examples": examples, **{name: values.sum(0) for name, values in counts.items()}, **intervals})

    def report(self, counts: Counts) -> dict[str, float]:
        reported = self._report_own({name: count for name, count in counts.items() if not isinstance(count, Each)})
        return {**reported, **self.metrics.report(counts, reported)}

    def _report_own(self, counts: Counts) -> dict[str, float]:
        examples = int(counts["examples"])
        sums = {name: values.cpu().double() for name, values in counts.items() if name != "examples"}
        mse, naive_mse = ((sums[name] / examples * self._deviation.square()) for name in ("squared", "naive_squared"))
        mae, naive_mae = ((sums[name] / examples * self._deviation) for name in ("absolute", "naive_absolute"))
        found = {
            "rmse": float(mse.sqrt().mean()),
            "mse": float(mse.mean()),
            "mae": float(mae.mean()),
            "r2": compute_r2(sums["squared"], sums["targets"], sums["targets_squared"], examples),
            "naive_rmse": float(naive_mse.sqrt().mean()),
            "naive_mae": float(naive_mae.mean()),
        }
        if "change" in self._assets:
            found["mase"] = float((mae / self._change).mean())
        if not self.quantiles:
            losses = sums["losses"] if "losses" in sums else sums["squared"].mean()
            return {**found, "loss": float(losses / examples)}
        intervals = report_intervals(sums, self.quantiles, examples, self._deviation)
        return {**found, **intervals, "loss": float(sums["pinball"].mean() / examples)}

    def estimates(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        if not self.quantiles:
            return self.in_units(model(*inputs))
        return self.estimate_quantiles(model, *inputs).flatten(1)

    def recover_outputs(self, predictions: Tensor) -> Tensor:
        numbers = predictions.cpu().double().reshape(len(predictions), len(self.numbers), -1)
        return ((numbers - self._mean[:, None]) / self._deviation[:, None]).flatten(1)

    def estimate_quantiles(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """Rising quantiles of each number in units, (N, numbers, quantiles) float64."""
        rising = sort_quantiles(model(*inputs), len(self.numbers), self.quantiles)
        return rising.cpu().double() * self._deviation[:, None] + self._mean[:, None]

    def compare_numbers(self, model: nn.Module, batch: Examples) -> tuple[Tensor, Tensor]:
        """The forecasts, of quantiles the medians, and the truth, (N, numbers) each."""
        forecasts = self.estimates(model, *batch.arguments)
        if self.quantiles:
            forecasts = forecasts[:, self.quantiles.index(MEDIAN) :: len(self.quantiles)]
        return forecasts, self.in_units(batch.targets)

    @property
    def why_not_convex(self) -> str | None:
        return "task.quantiles" if self.quantiles else self.loss.why_not_convex

    def baselines(self) -> dict[str, Baseline]:
        """Forecasts without a model, and linear autoregression on the whole window, by least squares."""
        points = SequenceRegression(self._assets)
        return {**build_naive_baselines(self._assets), "linear": make_linear_baseline(points.build_linear, points)}

    def build_linear(self, *, channels: int, window: int, outputs: int, rows: int | None = None) -> nn.Module:
        return self.wrap(Autoregression(channels, window, outputs))

    def in_units(self, values: Tensor) -> Tensor:
        """A model's outputs or a batch's targets (N, numbers) in the units of the data, float64 on the CPU."""
        return values.cpu().double() * self._deviation + self._mean
