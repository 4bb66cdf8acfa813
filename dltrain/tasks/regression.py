"""Rows of a table to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import torch
from torch import Tensor, nn

import dltrain.tasks.losses
import dltrain.tasks.metrics  # noqa: F401  (registers them)
from dltrain.batch import Examples
from dltrain.capabilities import Baseline
from dltrain.errors import UsageError
from dltrain.functions import Loss, Metrics
from dltrain.goal import Goal
from dltrain.models.mlp import LinearModel
from dltrain.options import NumberLoss, NumberMetrics, PositiveFloat
from dltrain.registry import BoundFunction, bind_function, losses, tasks
from dltrain.task import Counts, Score, Step
from dltrain.tasks.baselines import average_targets, make_constant_baseline, make_linear_baseline, to_full_precision
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

FEWEST_DIGITS = 7
"""Significant digits of a number that float32 holds."""


WEIGHTED_PREFIX = "row_weighted_"
ERRORS = ("rmse", "mse", "mae", "r2")
"""The metrics of numbers that may decide which epoch is the best, beside the loss."""


@tasks.register(
    "regression",
    data="table",
    target="numbers",
    sizes=("inputs", "outputs"),
    metrics=(*ERRORS, "pinball_loss", "loss", *(f"{WEIGHTED_PREFIX}{name}" for name in ERRORS)),
)
class Regression:
    """One number or several for each row; the best epoch has the lowest validation rmse.

    Reports rmse (root of the mean squared error), mse, mae (mean absolute error) and r2 (1 - squared errors / squares
    around the split's own mean; 1 or 0 for a target that never changes, as scikit-learn's `force_finite`), in the
    data's own units and averaged over the targets; and loss, what is trained on, which counts in the target's standard
    deviations where the data standardises it. Where rows have weights (data.weight), training and loss are weighted,
    and row_weighted_rmse, row_weighted_mse, row_weighted_mae and row_weighted_r2 are reported too.

    With `quantiles` the median is the number of these metrics, and reported are also pinball_loss (its mean, in units,
    not weighted), which decides, and of each interval, such as the one from 0.1 to 0.9, coverage_80 (the share of rows
    in it) and width_80.

    Options:
        loss: what is trained on: mse (squared error), mae (absolute error), huber (squared where small; Huber 1964),
            poisson (of counts; with data.normalize_target: none), or another registered loss of outputs and targets
            (N, numbers), by its name or with its options.
        huber_delta: the error up to which huber is squared, in the units of the loss; another way to write
            loss: {huber: DELTA}.
        metrics: registered metrics to report beside the task's own, in the data's units, each by its name or with its
            options.
        quantiles: learn these quantiles by the pinball loss (Koenker and Bassett 1978), such as [0.1, 0.5, 0.9], in
            place of one number by `loss`; the median is one of them.
    """

    goal = Goal("rmse", "min")

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        loss: NumberLoss = "mse",
        huber_delta: PositiveFloat = 1.0,
        quantiles: Quantiles | None = None,
        metrics: NumberMetrics | None = None,
    ) -> None:
        if labels := assets.get("labels"):
            raise UsageError(
                f"task 'regression' needs a numeric target, but '{assets['target']['columns'][0]}' is categorical: "
                f"{', '.join(labels[:10])}{', ...' if len(labels) > 10 else ''}",
                advice="set data.target_holds: numbers if these are numbers, or use a classification task",
            )
        target = assets["target"]
        self._assets, self.quantiles = assets, check_quantiles(quantiles)
        if self.quantiles:
            self.goal = Goal("pinball_loss", "min")
        self.numbers: Sequence[str] = tuple(target["columns"])
        self.outputs: Sequence[str] = name_quantiles(self.numbers, self.quantiles or (MEDIAN,))
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": len(self.outputs)}
        self.means = torch.tensor(target["mean"], dtype=torch.float64)
        self.standardized = target["normalize"] == "standard"
        self.deviations = torch.tensor(target["std"], dtype=torch.float64)
        digits = count_digits(self.means, self.deviations) if self.standardized else [FEWEST_DIGITS] * len(self.numbers)
        self.digits = [each for each in digits for _ in self.quantiles or (MEDIAN,)]
        self.loss, self.metrics = Loss(set_huber_delta(loss, huber_delta)), Metrics(metrics)
        self.gives_logarithms = not self.quantiles and self.loss.facts.get("link") == "log"
        if self.gives_logarithms and self.standardized:
            raise UsageError(
                f"task.loss: {self.loss.name} needs the target's own numbers, and data.normalize_target is standard",
                advice="set data.normalize_target: none",
            )

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        quantiles = check_quantiles(options.get("quantiles")) or (MEDIAN,)
        return {"inputs": assets["inputs"], "outputs": name_quantiles(assets["target"]["columns"], quantiles)}

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        outputs = to_full_precision(model(*batch.arguments))
        return Step(self._losses(outputs, batch.targets, batch.weights).mean())

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        outputs = model(*batch.arguments).float()  # (N, outputs)
        losses, intervals = self._measure_rows(outputs, batch.targets), {}
        weighted = None if batch.weights is None else self._weigh(losses, outputs, batch.targets, batch.weights)
        if self.quantiles:
            rising = sort_quantiles(outputs, len(self.numbers), self.quantiles).cpu().double()
            intervals = count_intervals(rising, batch.targets.cpu().double(), self.quantiles)
            outputs = rising[..., self.quantiles.index(MEDIAN)]
        truth, estimates = self._in_units(batch.targets), self._read_outputs(outputs)
        errors = estimates - truth
        around = truth - self.means  # of the numbers themselves the squares would cancel in the end
        counts: dict[str, Any] = {
            "examples": torch.tensor(len(truth)),
            **_sum_rows(losses, errors, around),
            **intervals,
        }
        counts |= self.metrics.collect(predictions=estimates, targets=truth, weights=batch.weights)
        if batch.weights is not None:
            weights = batch.weights.cpu().double()
            assert weighted is not None
            sums = _sum_rows(weighted, errors, around, weights)
            counts |= {"weighted_examples": weights.sum(), **{f"weighted_{name}": part for name, part in sums.items()}}
        return Score(counts)

    def report(self, counts: Counts) -> dict[str, float]:
        reported = self._report_own(counts)
        return {**reported, **self.metrics.report(counts, reported)}

    def _report_own(self, counts: Counts) -> dict[str, float]:
        metrics = _divide(counts, "")
        if self.quantiles:
            scale = self.deviations if self.standardized else torch.ones_like(self.deviations)
            loss = metrics.pop("loss")
            metrics |= {**report_intervals(counts, self.quantiles, int(counts["examples"]), scale), "loss": loss}
        if "weighted_examples" not in counts:
            return metrics
        weighted = _divide(counts, "weighted_")
        loss = weighted.pop("loss")
        return {**metrics, **{f"{WEIGHTED_PREFIX}{name}": value for name, value in weighted.items()}, "loss": loss}

    def estimates(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        if not self.quantiles:
            return self._read_outputs(model(*inputs).float())
        return self.estimate_quantiles(model, *inputs).flatten(1)

    def recover_outputs(self, predictions: Tensor) -> Tensor:
        numbers = predictions.cpu().double().reshape(len(predictions), len(self.numbers), -1)
        if self.standardized:
            numbers = (numbers - self.means[:, None]) / self.deviations[:, None]
        elif self.gives_logarithms:
            numbers = take_logarithms(numbers)
        return numbers.flatten(1)

    def estimate_quantiles(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """Rising quantiles of each number in units, (N, numbers, quantiles) float64."""
        return self._in_units(sort_quantiles(model(*inputs).float(), len(self.numbers), self.quantiles).mT).mT

    def compare_numbers(self, model: nn.Module, batch: Examples) -> tuple[Tensor, Tensor]:
        """The estimates, of quantiles the medians, and the truth, (N, numbers) each."""
        estimates = self.estimates(model, *batch.arguments)
        if self.quantiles:
            estimates = estimates[:, self.quantiles.index(MEDIAN) :: len(self.quantiles)]
        return estimates, self._in_units(batch.targets)

    @property
    def why_not_convex(self) -> str | None:
        if self.quantiles:
            return "task.quantiles"
        return self.loss.why_not_convex

    def baselines(self) -> dict[str, Baseline]:
        """The mean of the training targets, and linear regression on squared errors, unless `loss` has a logarithm.

        Then it is linear in the logarithm, and trained on that loss: Poisson regression for `poisson`.
        """
        if self.gives_logarithms:
            return {
                "mean": make_constant_baseline(
                    len(self.numbers), lambda *each: take_logarithms(average_targets(*each))
                ),
                "linear": make_linear_baseline(LinearModel, self),
            }
        squared = Regression(self._assets)
        return {
            "mean": make_constant_baseline(len(self.numbers), average_targets),
            "linear": make_linear_baseline(LinearModel, squared),
        }

    def _losses(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The loss of each number, (N, numbers), of each row, or their mean, with the rows' weights (N,)."""
        if not self.quantiles:
            return self.loss.measure(outputs, targets, weights)
        rising = sort_quantiles(outputs, len(self.numbers), self.quantiles)
        losses = compute_pinball_losses(rising, targets, self.quantiles).mean(-1)
        return losses if weights is None else losses * weights[:, None]

    def _measure_rows(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of each row, (N,) float64 on the CPU."""
        losses = self._losses(outputs, targets, weights).cpu().double()
        return losses.expand(len(outputs)) if losses.ndim == 0 else losses.reshape(len(outputs), -1).mean(1)

    def _weigh(self, losses: Tensor, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The `losses` of rows (N,) with their weights (N,), by the loss itself where it takes these."""
        if self.loss.takes_weights and not self.quantiles:
            return self._measure_rows(outputs, targets, weights)
        return weights.cpu().double() * losses

    def _read_outputs(self, outputs: Tensor) -> Tensor:
        """A model's outputs (N, numbers) as numbers in the data's own units, float64 on the CPU."""
        return outputs.cpu().double().exp() if self.gives_logarithms else self._in_units(outputs)

    def _in_units(self, numbers: Tensor) -> Tensor:
        """Numbers (..., numbers) in the data's own units, float64 on the CPU."""
        exact = numbers.cpu().double()
        return exact * self.deviations + self.means if self.standardized else exact


def take_logarithms(numbers: Tensor) -> Tensor:
    """Logarithms of numbers from 0 on; that of 0 is finite."""
    return numbers.clamp_min(torch.finfo(torch.float32).tiny).log()


def set_huber_delta(loss: BoundFunction | str, delta: float) -> BoundFunction | str:
    """The chosen `loss`, where it is huber with this `delta`, unless its own options give one."""
    chosen = bind_function(loss, losses)
    if chosen.name != "huber" or delta == 1:
        return chosen
    if chosen.options.get("delta", 1.0) not in (1.0, delta):
        raise ValueError(
            f"huber_delta is {delta:g}, and the loss's own delta {chosen.options['delta']:g}; give one of them"
        )
    return replace(chosen, options={"delta": delta})


def _sum_rows(losses: Tensor, errors: Tensor, around: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Sums over the rows of (N, outputs) each, times the rows' weights (N,), which `losses` (N,) have already."""
    parts = {
        "squared": errors.square(),
        "absolute": errors.abs(),
        "around": around,
        "around_squared": around.square(),
    }
    if weights is not None:
        parts = {name: (weights * part.mT).mT for name, part in parts.items()}
    return {"losses": losses.sum(), **{name: part.sum(0) for name, part in parts.items()}}


def _divide(counts: Counts, prefix: str) -> dict[str, float]:
    """The metrics and the loss from the sums whose names have a prefix; NaN where all weights are 0."""
    total, squared = float(counts[f"{prefix}examples"]), counts[f"{prefix}squared"]  # (outputs,)
    around = counts[f"{prefix}around"], counts[f"{prefix}around_squared"]
    mse = squared / total
    return {
        "rmse": float(mse.sqrt().mean()),
        "mse": float(mse.mean()),
        "mae": float((counts[f"{prefix}absolute"] / total).mean()),
        "r2": compute_r2(squared, *around, int(counts["examples"]), total=total),
        "loss": float(counts[f"{prefix}losses"] / total),
    }


def compute_r2(
    squared_errors: Tensor, around: Tensor, around_squared: Tensor, examples: int, total: float | None = None
) -> float:
    """The coefficient of determination, averaged over the outputs; NaN for fewer than two examples.

    `around` and `around_squared` (outputs,) are the sums of the target's distances from some number, and of their
    squares; the nearer to the target's mean it is, the less is rounded off. `total` is the sum of the examples' weights
    if they have any, and the other sums are weighted then.
    """
    if examples < 2:
        return nan
    squares = around_squared - around.square() / (examples if total is None else total)
    constant = squares <= 1e-12 * around_squared
    return float(torch.where(constant, (squared_errors == 0).double(), 1 - squared_errors / squares).mean())


def count_digits(means: Tensor, deviations: Tensor) -> list[int]:
    """Count the significant digits of numbers (outputs,) that float32 holds as distances from their mean.

    They are those of float32, and one more for each tenfold of the mean's ratio to the standard deviation, from 100 on.
    """
    more = (means.abs() / deviations).clamp(min=1).log10().floor().long() - 1
    return [min(FEWEST_DIGITS + max(each, 0), 17) for each in more.tolist()]
