"""Weights that are found at once, before training: of a model that is linear in its weights, with a convex loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

from dltrain.batch import Batch
from dltrain.capabilities import HasConvexLoss, LinearInWeights
from dltrain.core.schedules import Moment, Schedule
from dltrain.core.solving import Unsolvable, solve_linear
from dltrain.runs.building import Training
from dltrain.stream import Stream

COUPLED = SGD, Adam, RMSprop, Adagrad
"""Optimizers whose weight decay is the gradient of a penalty, unless the group says that it is decoupled."""


@dataclass(frozen=True, kw_only=True)
class AtRest(Schedule):
    """The learning rate of a run whose weights have been found: 0, so that its epoch measures and changes nothing."""

    def __call__(self, moment: Moment) -> float:
        return 0.0


def solve_weights(training: Training, batches: Stream[Batch]) -> str | None:
    """Set the model's weights to the optimum where that can be computed; how that was done, or None.

    Why it could not be done is added to the training's notes, if the model is one that could be.
    """
    model, task, weights = training.state.model, training.task, training.experiment.weights
    if not isinstance(model, LinearInWeights) or not model.solve:
        return None
    reason = None if isinstance(task, HasConvexLoss) else f"task {training.experiment.task.name}"
    if isinstance(task, HasConvexLoss):
        reason = task.why_not_convex
    for setting in ("init_from", "freeze"):
        if value := getattr(weights, setting):
            reason = f"weights.{setting}: {value}"
    if reason is None:
        try:
            return solve_with_decay(model, task, batches, training.state.optimizer)
        except Unsolvable as error:
            reason = str(error)
    training.notes.append(f"not solved at once but trained, because of {reason}")
    return None


def solve_with_decay(model: LinearInWeights, task: Any, batches: Stream[Batch], optimizer: Optimizer) -> str:
    """Solve with the penalty that the optimizer's weight decay stands for; how that was done. Raises Unsolvable."""
    layer = model.output_layer
    weight_decay, is_penalty = read_weight_decay(optimizer, layer.weight)
    bias_decay = 0.0 if layer.bias is None else read_weight_decay(optimizer, layer.bias)[0]
    if not is_penalty:
        weight_decay = bias_decay = 0.0
    solution = solve_linear(model, task, batches.epoch(0), weight_decay=weight_decay, bias_decay=bias_decay)
    left_out = "" if is_penalty else "; the optimizer's decoupled weight decay belongs to no objective and is left out"
    return f"{solution}{left_out}"


def read_weight_decay(optimizer: Optimizer, parameter: Tensor) -> tuple[float, bool]:
    """The weight decay of a parameter, and whether it is a penalty: half of it times the squares, in the loss."""
    for group in optimizer.param_groups:
        if any(each is parameter for each in group["params"]):
            decay = float(group.get("weight_decay", 0.0))
            coupled = isinstance(optimizer, COUPLED) and not group.get("decoupled_weight_decay", False)
            return decay, coupled or decay == 0
    return 0.0, True
