"""Weights of a linear model at the minimum of a convex loss, found at once: Newton's method in orthonormal coordinates.

For squared errors the first step is the least-squares solution by singular value decomposition. For logistic regression
the steps are those of iteratively reweighted least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.capabilities import CompletesOutputs, LinearInWeights
from dltrain.task import Task

MOST_VALUES = 2**25
"""Inputs of all training examples together: 256 MiB in float64."""
MOST_WORK = 2e10
"""Inputs of all training examples, times the smaller one of their two dimensions: a few seconds on a CPU."""
RESOLUTION = 1e-6
"""Smallest singular value that is used, as a share of the largest: inputs are float32, so what is below is rounding."""
MOST_STEPS, MOST_INNER_STEPS = 60, 400
SETTLED, GROWING, FLAT = 1e-9, 1e-2, 1e-6
ROUNDING = 1e-14

Loss = Callable[[Tensor], Tensor]
"""Outputs of all examples (N, K) to the mean loss ()."""


class Unsolvable(Exception):
    """The weights cannot be found at once; the message says why."""


class Solution(NamedTuple):
    """How weights were found: examples, inputs, Newton steps, and the L2 penalty on half the squared weights.

    `separable`: without a penalty the loss has no minimum, so that of scikit-learn's default, C = 1, was used.
    """

    examples: int
    inputs: int
    steps: int
    penalty: float
    separable: bool

    def __str__(self) -> str:
        found = f"{self.examples} examples, {self.inputs} inputs, Newton steps: {self.steps}"
        if self.separable:
            return (
                f"{found}; the inputs separate the classes, completely or in part, so the loss has no minimum: an L2 "
                "penalty keeps the weights finite (scikit-learn's C=1)"
            )
        return f"{found}, L2 penalty {self.penalty:g}" if self.penalty else found


class StandIn(nn.Module):
    """In place of a model: gives the outputs that it was made with."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self._outputs = outputs

    def forward(self, *arguments: Any) -> Tensor:
        return self._outputs


@torch.no_grad()
def solve_linear(
    model: LinearInWeights,
    task: Task[Any],
    batches: Iterable[Batch],
    *,
    weight_decay: float = 0.0,
    bias_decay: float = 0.0,
) -> Solution:
    """Set the model's weights to the minimum of the task's mean loss over all `batches`, plus the penalty.

    The penalty is half of `weight_decay` times the sum of the squared weights; `bias_decay` is that of the bias, either
    0 or the same. Everything is computed in float64 on the CPU, and rounded to the model's weights at the end. Where
    several weights give the minimum, the smallest are taken. Raises Unsolvable.
    """
    batch = join_batches(model, batches)
    layer = model.output_layer
    inputs = model.features(*batch.arguments)  # (N, F)
    if not torch.isfinite(inputs).all():
        raise Unsolvable("an input is not a finite number")

    def loss(outputs: Tensor) -> Tensor:
        whole = model.complete(outputs, *batch.arguments) if isinstance(model, CompletesOutputs) else outputs
        return task.step(StandIn(whole), batch, None).loss

    outputs, separable = layer.out_features, False
    design = make_design(inputs, layer.bias is not None, weight_decay, bias_decay)
    found = minimize(loss, design.basis, design.penalties, outputs)
    if found is None and not weight_decay:
        separable, weight_decay = True, 1 / len(inputs)
        design = make_design(inputs, layer.bias is not None, weight_decay, bias_decay)
        found = minimize(loss, design.basis, design.penalties, outputs)
    if found is None:
        raise Unsolvable("Newton's method found no minimum of the loss")
    weights, bias = design.restore(found.coordinates)
    layer.weight.copy_(weights.T)
    if layer.bias is not None:
        layer.bias.copy_(bias)
    return Solution(len(inputs), inputs.shape[1], found.steps, penalty=weight_decay, separable=separable)


def join_batches(model: LinearInWeights, batches: Iterable[Batch]) -> Any:
    """One batch of all examples on the CPU, with floating-point tensors in float64.

    Raises Unsolvable where there are too many, where there is none, and for batches that cannot be joined.
    """
    parts: list[Batch] = []
    examples = 0
    for batch in batches:
        inputs = model.features(*batch.arguments).shape[1]
        examples += batch.count
        if examples * inputs > MOST_VALUES or examples * inputs * min(examples, inputs) > MOST_WORK:
            raise Unsolvable(f"more than {examples - batch.count} examples of {inputs} inputs are too many")
        parts.append(batch)
    if not parts:
        raise Unsolvable("there are no examples")
    joined: dict[str, Tensor] = {}
    for name in (each.name for each in fields(parts[0])):
        values = [getattr(part, name) for part in parts]
        if not isinstance(values[0], Tensor):
            continue
        if any(len(value) != part.count for value, part in zip(values, parts, strict=True)):
            raise Unsolvable(f"the batches' {name} cannot be joined")
        whole = torch.cat(values).cpu()
        joined[name] = whole.double() if whole.is_floating_point() else whole
    return replace(parts[0], **joined)


@dataclass(frozen=True, kw_only=True)
class Design:
    """Inputs in coordinates where they are orthonormal, so that all directions of the loss are alike.

    `basis` (N, r): outputs are `basis @ coordinates`; the last column is the bias, if `has_constant`. `penalties`
    (r, 1) are those of the squared coordinates. `back` (F, r) leads to weights, `centre` (F,) was subtracted.
    """

    basis: Tensor
    penalties: Tensor
    back: Tensor
    centre: Tensor
    has_constant: bool
    bias_is_input: bool

    def restore(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (F, K) and bias (K,); the bias is 0 where the model has none."""
        if self.bias_is_input:
            everything = self.back @ coordinates
            return everything[:-1], everything[-1]
        if not self.has_constant:
            return self.back @ coordinates, coordinates.new_zeros(coordinates.shape[1])
        weights = self.back @ coordinates[:-1]
        return weights, coordinates[-1] / len(self.basis) ** 0.5 - self.centre @ weights


def make_design(inputs: Tensor, bias: bool, weight_decay: float, bias_decay: float) -> Design:
    """The coordinates for inputs (N, F): their left singular vectors, scaled where there is a penalty.

    A bias without penalty is a column of its own, orthogonal to the centred inputs; one with a penalty is an input.
    Without penalty, directions in which the inputs hardly differ are left out: their weights would be rounding errors.
    """
    bias_is_input = bias and bias_decay > 0
    if bias_is_input:
        inputs = torch.cat((inputs, inputs.new_ones(len(inputs), 1)), 1)
    has_constant = bias and not bias_is_input
    centre = inputs.mean(0) if has_constant else inputs.new_zeros(inputs.shape[1])
    centred = inputs - centre
    lengths = centred.square().sum(0).sqrt() if weight_decay == 0 else torch.ones_like(centre)
    lengths = torch.where(lengths > RESOLUTION * inputs.abs().amax(0) if weight_decay == 0 else lengths > 0, lengths, 0)
    inverse = torch.where(lengths > 0, 1 / lengths, 0)
    left, values, right = torch.linalg.svd(centred * inverse, full_matrices=False)
    used = values > (RESOLUTION if weight_decay == 0 else 1e-14) * values.max() if len(values) else values > 0
    left, values, right = left[:, used], values[used], right[used]
    scales = (values.square() + len(inputs) * weight_decay).rsqrt()
    basis, penalties = left * (values * scales), weight_decay * scales.square()
    if has_constant:
        basis = torch.cat((basis, inputs.new_full((len(inputs), 1), len(inputs) ** -0.5)), 1)
        penalties = torch.cat((penalties, penalties.new_zeros(1)))
    return Design(
        basis=basis,
        penalties=penalties[:, None],
        back=inverse[:, None] * right.T * scales,
        centre=centre,
        has_constant=has_constant,
        bias_is_input=bias_is_input,
    )


class Minimum(NamedTuple):
    """Coordinates (r, K) of the minimum, and the Newton steps that led there."""

    coordinates: Tensor
    steps: int


def minimize(loss: Loss, basis: Tensor, penalties: Tensor, outputs: int) -> Minimum | None:
    """The minimum of `loss(basis @ coordinates)` plus half the penalised squares, by Newton's method; None without one.

    Newton's equations are solved by conjugate gradients (Dembo, Eisenstat and Steihaug 1982), a step is halved until
    the loss falls far enough (Armijo 1966). It ends when a step no longer changes any output. Where outputs still grow
    although the gradient has vanished, as for separable classes, there is no minimum.
    """

    def measure(coordinates: Tensor) -> float:
        return float(loss(basis @ coordinates) + (penalties * coordinates.square()).sum() / 2)

    coordinates = basis.new_zeros(basis.shape[1], outputs)
    first = 0.0
    for step in range(1, MOST_STEPS + 1):
        at = (basis @ coordinates).requires_grad_()
        with torch.enable_grad():
            value = loss(at)
            (slope,) = torch.autograd.grad(value, at, create_graph=True)
        if not slope.requires_grad:
            raise Unsolvable("the loss has no curvature")
        gradient = basis.T @ slope.detach() + penalties * coordinates
        size = float(gradient.norm())
        first = first or size
        if size <= ROUNDING * first:
            return Minimum(coordinates, step - 1)
        apply = make_curvature(basis, penalties, at=at, slope=slope)
        tolerance = max(ROUNDING * first, min(0.5, (size / first) ** 0.5) * size) if step > 1 else 0.0
        direction = solve_by_conjugate_gradients(apply, -gradient, tolerance)
        change = basis @ direction
        if not torch.isfinite(change).all() or not change.any():
            return None
        start, fall = measure(coordinates), float((gradient * direction).sum())
        share = 1.0
        while measure(coordinates + share * direction) > start + 1e-4 * share * fall + 1e-13 * abs(start):
            share /= 2
            if share < SETTLED:
                return None
        coordinates = coordinates + share * direction
        moved, largest = share * float(change.abs().max()), max(1.0, float((basis @ coordinates).abs().max()))
        if moved <= SETTLED * largest:
            return Minimum(coordinates, max(1, step - 1))
        if size < FLAT * first and moved > GROWING * largest:
            return None
    return None


def make_curvature(basis: Tensor, penalties: Tensor, *, at: Tensor, slope: Tensor) -> Callable[[Tensor], Tensor]:
    """The product of the Hessian with a direction (r, K); `slope` is the loss's gradient at the outputs `at`."""

    def apply(direction: Tensor) -> Tensor:
        with torch.enable_grad():
            (bent,) = torch.autograd.grad((slope * (basis @ direction)).sum(), at, retain_graph=True)
        return basis.T @ bent + penalties * direction

    return apply


def solve_by_conjugate_gradients(apply: Callable[[Tensor], Tensor], right: Tensor, tolerance: float) -> Tensor:
    """The solution of `apply(x) = right`, to a residual whose norm is at most `tolerance`, or 1e-14 of that of `right`.

    It stops where only directions are left that are flat to rounding, such as the same number added to all logits.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction, size = residual.clone(), float(residual.square().sum())
    end, steepest = max(tolerance**2, size * ROUNDING**2), 0.0
    for _ in range(MOST_INNER_STEPS):
        applied = apply(direction)
        curvature = float((direction * applied).sum())
        steepest = max(steepest, curvature / float(direction.square().sum()))
        if curvature <= ROUNDING * steepest * float(direction.square().sum()):
            break
        length = size / curvature
        solution = solution + length * direction
        residual = residual - length * applied
        before, size = size, float(residual.square().sum())
        if size <= end:
            break
        direction = residual + (size / before) * direction
    return solution
