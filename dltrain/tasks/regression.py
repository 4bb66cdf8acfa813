"""Rows of a table to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.capabilities import Baseline
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.models.mlp import LinearModel
from dltrain.options import PositiveFloat
from dltrain.registry import tasks
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
        loss: mse (squared error), mae (absolute error), or huber (squared where small; Huber 1964).
        huber_delta: the error up to which huber is squared, in the units of the loss.
        quantiles: learn these quantiles by the pinball loss (Koenker and Bassett 1978), such as [0.1, 0.5, 0.9], in
            place of one number by `loss`; the median is one of them.
    """

    goal = Goal("rmse", "min")

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        loss: Literal["mse", "mae", "huber"] = "mse",
        huber_delta: PositiveFloat = 1.0,
        quantiles: Quantiles | None = None,
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
        self.loss, self.huber_delta = loss, huber_delta

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        quantiles = check_quantiles(options.get("quantiles")) or (MEDIAN,)
        return {"inputs": assets["inputs"], "outputs": name_quantiles(assets["target"]["columns"], quantiles)}

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        losses = self._losses(to_full_precision(model(*batch.arguments)), batch.targets)
        return Step((losses if batch.weights is None else losses * batch.weights[:, None]).mean())

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        outputs = model(*batch.arguments).float()  # (N, outputs)
        losses, intervals = self._losses(outputs, batch.targets).cpu().double(), {}
        if self.quantiles:
            rising = sort_quantiles(outputs, len(self.numbers), self.quantiles).cpu().double()
            intervals = count_intervals(rising, batch.targets.cpu().double(), self.quantiles)
            outputs = rising[..., self.quantiles.index(MEDIAN)]
        truth = self._in_units(batch.targets)
        errors = self._in_units(outputs) - truth
        around = truth - self.means  # of the numbers themselves the squares would cancel in the end
        counts = {"examples": torch.tensor(len(truth)), **_sum_rows(losses, errors, around), **intervals}
        if batch.weights is not None:
            weights = batch.weights.cpu().double()
            sums = _sum_rows(losses, errors, around, weights)
            counts |= {"weighted_examples": weights.sum(), **{f"weighted_{name}": part for name, part in sums.items()}}
        return Score(counts)

    def report(self, counts: Counts) -> dict[str, float]:
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
            return self._in_units(model(*inputs).float())
        return self.estimate_quantiles(model, *inputs).flatten(1)

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
        return "task.loss: mae" if self.loss == "mae" else None

    def baselines(self) -> dict[str, Baseline]:
        """The mean of the training targets, and linear regression on squared errors, whatever `loss` is."""
        squared = Regression(self._assets)
        return {
            "mean": make_constant_baseline(len(self.numbers), average_targets),
            "linear": make_linear_baseline(LinearModel, squared),
        }

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each number, (N, numbers)."""
        if self.quantiles:
            rising = sort_quantiles(outputs, len(self.numbers), self.quantiles)
            return compute_pinball_losses(rising, targets, self.quantiles).mean(-1)
        if self.loss == "mse":
            return functional.mse_loss(outputs, targets, reduction="none")
        if self.loss == "mae":
            return functional.l1_loss(outputs, targets, reduction="none")
        return functional.huber_loss(outputs, targets, reduction="none", delta=self.huber_delta)

    def _in_units(self, numbers: Tensor) -> Tensor:
        """Numbers (..., numbers) in the data's own units, float64 on the CPU."""
        exact = numbers.cpu().double()
        return exact * self.deviations + self.means if self.standardized else exact


def _sum_rows(losses: Tensor, errors: Tensor, around: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Sums over the rows of (N, outputs) each, times the rows' weights (N,)."""
    parts = {
        "losses": losses.mean(1),
        "squared": errors.square(),
        "absolute": errors.abs(),
        "around": around,
        "around_squared": around.square(),
    }
    if weights is not None:
        parts = {name: (weights * part.mT).mT if part.ndim > 1 else weights * part for name, part in parts.items()}
    return {name: part.sum() if name == "losses" else part.sum(0) for name, part in parts.items()}


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
