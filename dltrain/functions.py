"""Losses and metrics that are plain functions, with the contract that each of them keeps.

What breaks its contract is a DltrainError that names the function, and the file and line where it is registered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dltrain.registry import BoundFunction, bind_function, losses, metrics
from dltrain.task import Counts, Each

PER_EXAMPLE = "return a floating-point tensor, a loss for each example (N,), or their mean"


class Loss:
    """A registered loss: outputs (N, ...) and targets (N, ...) to losses, one for each of N examples, or their mean."""

    def __init__(self, chosen: BoundFunction | str) -> None:
        self._function = bind_function(chosen, losses)
        self.name = self._function.name
        self.takes_weights = "weights" in self._function.provided

    def __str__(self) -> str:
        return str(self._function)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._function.facts

    @property
    def options(self) -> Mapping[str, Any]:
        return self._function.options

    @property
    def why_not_convex(self) -> str | None:
        """The setting that keeps a linear model from being solved at once; None for a loss declared convex."""
        return None if self.facts.get("convex") else f"task.loss: {self.name}"

    def measure(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The losses (N, ...), or () their mean, times the examples' `weights` (N,) if there are any.

        A function with a parameter `weights` has weighed them itself.
        """
        found = self._check(self._function({"outputs": outputs, "targets": targets, "weights": weights}), outputs)
        if weights is None or self.takes_weights:
            return found
        if found.ndim == 0:
            advice = "return a loss for each example (N,), or take a third parameter, weights, which is (N,) or None"
            raise self._function.fault("returns one number, so it leaves out the weights of the examples", advice)
        return found * weights.view(-1, *[1] * (found.ndim - 1))

    def measure_examples(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The same for each example, (N,): the mean of its own losses, or that of all where there is no more."""
        found = self.measure(outputs, targets, weights)
        return found.expand(len(outputs)) if found.ndim == 0 else found.flatten(1).mean(1) if found.ndim > 1 else found

    def _check(self, found: object, outputs: Tensor) -> Tensor:
        fault = self._function.fault
        if not isinstance(found, Tensor):
            raise fault(f"returns {type(found).__name__}", PER_EXAMPLE)
        if not found.is_floating_point():
            raise fault(f"returns a tensor of {str(found.dtype).removeprefix('torch.')}", PER_EXAMPLE)
        if found.ndim and len(found) != len(outputs):
            shape = f"the shape {tuple(found.shape)} for a batch of {len(outputs)} examples"
            raise fault(f"returns a tensor of {shape}", PER_EXAMPLE)
        if found.device != outputs.device:
            raise fault(
                f"returns a tensor on {found.device}, not on {outputs.device}", "keep it on the outputs' device"
            )
        if torch.is_grad_enabled() and outputs.requires_grad and not found.requires_grad:
            advice = "compute it from the outputs with torch alone, without detach, numpy, item, argmax or no_grad"
            raise fault("returns a loss without a gradient", advice)
        return found


class Metrics:
    """Registered metrics, computed from the predictions and targets of all examples of a split."""

    def __init__(self, chosen: Sequence[BoundFunction | str] | None, labels: Sequence[str] = ()) -> None:
        self._functions = [bind_function(each, metrics) for each in chosen or ()]
        self._labels = tuple(labels)
        self._kept = {name for each in self._functions for name in each.provided}

    def takes(self, name: str) -> bool:
        """Whether one of them has a parameter of this name."""
        return name in self._kept

    def collect(self, **values: Tensor | None) -> dict[str, Each]:
        """Of a batch's `values` by name, (N, ...), the counts of those that a metric takes."""
        kept = {name: value for name, value in values.items() if value is not None and name in self._kept}
        return {f"metric_{name}": Each((value,)) for name, value in kept.items()}

    def report(self, counts: Counts, reported: Mapping[str, float]) -> dict[str, float]:
        """Each metric by name; `reported` are those that the task has itself, whose names are taken."""
        found = {}
        for each in self._functions:
            if each.name in reported:
                raise each.fault("has the name of a metric that the task reports itself", "register it by another name")
            known: dict[str, Any] = {"labels": self._labels, "weights": None}
            for name in set(each.provided) & {key.removeprefix("metric_") for key in counts}:
                known[name] = counts[f"metric_{name}"].values().cpu()
            found[each.name] = self._read_number(each, each(known))
        return found

    def _read_number(self, function: BoundFunction, found: Any) -> float:
        shape = tuple(getattr(found, "shape", ()))
        if shape not in ((), (1,)) or isinstance(found, (str, bytes, bool)):
            what = f"returns an array of the shape {shape}" if shape else f"returns {type(found).__name__} {found!r}"
            raise function.fault(what, "return one number")
        try:
            return float(found)
        except (TypeError, ValueError):
            raise function.fault(f"returns {type(found).__name__}", "return one number") from None
