"""Rows of a table to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.options import PositiveFloat
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step


@tasks.register("regression", data="table", sizes=("inputs", "outputs"))
class Regression:
    """One number or several for each row; the best epoch has the lowest validation rmse.

    Reports rmse (root of the mean squared error), mse, mae (mean absolute error) and r2 (1 - squared errors / squares
    around the split's own mean; 1 or 0 for a target that never changes, as scikit-learn's `force_finite`), in the
    data's own units and averaged over the targets; and loss, what is trained on, which counts in the target's standard
    deviations where the data standardises it.

    Options:
        loss: mse (squared error), mae (absolute error), or huber (squared where small; Huber 1964).
        huber_delta: the error up to which huber is squared, in the units of the loss.
    """

    goal = Goal("rmse", "min")

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        loss: Literal["mse", "mae", "huber"] = "mse",
        huber_delta: PositiveFloat = 1.0,
    ) -> None:
        if labels := assets.get("labels"):
            raise UsageError(
                f"task 'regression' needs a numeric target, but '{assets['target']['columns'][0]}' is categorical: "
                f"{', '.join(labels[:10])}{', ...' if len(labels) > 10 else ''}",
                advice="set data.target_holds: numbers if these are numbers, or use a classification task",
            )
        target = assets["target"]
        self.outputs: Sequence[str] = tuple(target["columns"])
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": len(self.outputs)}
        self.means = torch.tensor(target["mean"], dtype=torch.float64)
        self.standardized = target["normalize"] == "standard"
        self.deviations = torch.tensor(target["std"], dtype=torch.float64)
        self.loss, self.huber_delta = loss, huber_delta

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        return Step(self._losses(model(*batch.arguments).float(), batch.targets).mean())

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        outputs = model(*batch.arguments).float()  # (N, outputs)
        losses = self._losses(outputs, batch.targets).cpu().double()
        truth = self._in_units(batch.targets)
        errors = self._in_units(outputs) - truth
        around = truth - self.means  # of the numbers themselves the squares would cancel in the end
        return Score(
            {
                "examples": torch.tensor(len(truth)),
                "losses": losses.mean(1).sum(),
                "squared": errors.square().sum(0),
                "absolute": errors.abs().sum(0),
                "around": around.sum(0),
                "around_squared": around.square().sum(0),
            }
        )

    def report(self, counts: Counts) -> dict[str, float]:
        examples = int(counts["examples"])
        squared = counts["squared"]  # (outputs,)
        mse = squared / examples
        return {
            "rmse": float(mse.sqrt().mean()),
            "mse": float(mse.mean()),
            "mae": float((counts["absolute"] / examples).mean()),
            "r2": compute_r2(squared, counts["around"], counts["around_squared"], examples),
            "loss": float(counts["losses"] / examples),
        }

    def estimates(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        return self._in_units(model(*inputs).float()).float()

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each number, (N, outputs)."""
        if self.loss == "mse":
            return functional.mse_loss(outputs, targets, reduction="none")
        if self.loss == "mae":
            return functional.l1_loss(outputs, targets, reduction="none")
        return functional.huber_loss(outputs, targets, reduction="none", delta=self.huber_delta)

    def _in_units(self, numbers: Tensor) -> Tensor:
        """A model's outputs (N, outputs) in the data's own units, float64 on the CPU."""
        exact = numbers.cpu().double()
        return exact * self.deviations + self.means if self.standardized else exact


def compute_r2(squared_errors: Tensor, around: Tensor, around_squared: Tensor, examples: int) -> float:
    """The coefficient of determination, averaged over the outputs; NaN for fewer than two examples.

    `around` and `around_squared` (outputs,) are the sums of the target's distances from some number, and of their
    squares; the nearer to the target's mean it is, the less is rounded off.
    """
    if examples < 2:
        return nan
    squares = around_squared - around.square() / examples
    constant = squares <= 1e-12 * around_squared
    perfect = (squared_errors == 0).double()
    return float(torch.where(constant, perfect, 1 - squared_errors / squares).mean())
