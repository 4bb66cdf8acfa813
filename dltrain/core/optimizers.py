"""Optimizers by name, built from parameters or from groups of them; the learning rate is the schedule's to vary."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt, MaxLen, MinLen
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.options import Fraction, NonNegativeFloat, PositiveFloat
from dltrain.registry import optimizers

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
Betas = Annotated[list[Fraction], MinLen(2), MaxLen(2)]

# torch breaks the graph of a compiled program at each method of an optimizer. The wrappers that do so import its
# compiler, which takes a second, and outside compiled programs do nothing else; training steps stand outside.
for _method in (Optimizer.add_param_group, Optimizer.zero_grad, Optimizer.state_dict, Optimizer.load_state_dict):
    _plain = inspect.unwrap(_method)
    vars(_plain).setdefault("__dynamo_disable", _plain)


def bypass_compiler(optimizer: Optimizer) -> Optimizer:
    """Replace the optimizer's step by one that does not import torch's compiler."""
    plain = inspect.unwrap(type(optimizer).step)
    step = torch.no_grad()(plain)
    optimizer.step = step.__get__(optimizer)  # type: ignore[method-assign]
    return optimizer


@optimizers.register("sgd")
def sgd(
    parameters: Parameters,
    *,
    learning_rate: PositiveFloat = 1e-2,
    momentum: Fraction = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegativeFloat = 0.0,
) -> Optimizer:
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013).

    Raises ValueError for Nesterov's method without momentum.

    Options:
        learning_rate: length of a step.
        momentum: share of the last step that is added to this one.
        nesterov: look ahead before taking the gradient.
        weight_decay: strength of the L2 penalty.
    """
    return bypass_compiler(
        torch.optim.SGD(parameters, learning_rate, momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True)
    )


@optimizers.register("adam")
def adam(
    parameters: Parameters,
    *,
    learning_rate: PositiveFloat = 1e-3,
    betas: Betas = [0.9, 0.999],
    epsilon: PositiveFloat = 1e-8,
    amsgrad: bool = False,
    weight_decay: NonNegativeFloat = 0.0,
) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980).

    Options:
        learning_rate: length of a step.
        betas: decay of the running means of the gradient and of its square.
        epsilon: added to the root of the running mean square.
        amsgrad: never let the running mean square shrink (Reddi et al. 2018).
        weight_decay: strength of the L2 penalty.
    """
    return bypass_compiler(
        torch.optim.Adam(
            parameters,
            learning_rate,
            (betas[0], betas[1]),
            epsilon,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            fused=True,
        )
    )


@optimizers.register("adamw")
def adamw(
    parameters: Parameters,
    *,
    learning_rate: PositiveFloat = 1e-3,
    betas: Betas = [0.9, 0.999],
    epsilon: PositiveFloat = 1e-8,
    amsgrad: bool = False,
    weight_decay: NonNegativeFloat = 1e-2,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Options:
        learning_rate: length of a step.
        betas: decay of the running means of the gradient and of its square.
        epsilon: added to the root of the running mean square.
        amsgrad: never let the running mean square shrink (Reddi et al. 2018).
        weight_decay: share of each weight removed at a step, times the learning rate.
    """
    return bypass_compiler(
        torch.optim.AdamW(
            parameters,
            learning_rate,
            (betas[0], betas[1]),
            epsilon,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            fused=True,
        )
    )


@optimizers.register("rmsprop")
def rmsprop(
    parameters: Parameters,
    *,
    learning_rate: PositiveFloat = 1e-3,
    decay: Fraction = 0.99,
    epsilon: PositiveFloat = 1e-8,
    momentum: Fraction = 0.0,
    centered: bool = False,
    weight_decay: NonNegativeFloat = 0.0,
) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning").

    Options:
        learning_rate: length of a step.
        decay: decay of the running mean square of the gradient.
        epsilon: added to the root of the running mean square.
        momentum: share of the last step that is added to this one.
        centered: divide by the standard deviation instead of the root mean square (Graves 2013).
        weight_decay: strength of the L2 penalty.
    """
    return bypass_compiler(
        torch.optim.RMSprop(
            parameters,
            learning_rate,
            alpha=decay,
            eps=epsilon,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            foreach=True,
        )
    )


@optimizers.register("adagrad")
def adagrad(
    parameters: Parameters,
    *,
    learning_rate: PositiveFloat = 1e-2,
    decay: NonNegativeFloat = 0.0,
    epsilon: PositiveFloat = 1e-10,
    weight_decay: NonNegativeFloat = 0.0,
) -> Optimizer:
    """Adagrad (Duchi, Hazan and Singer 2011).

    Options:
        learning_rate: length of a step.
        decay: how fast the learning rate itself falls with the number of steps.
        epsilon: added to the root of the sum of squares.
        weight_decay: strength of the L2 penalty.
    """
    return bypass_compiler(
        torch.optim.Adagrad(parameters, learning_rate, decay, weight_decay, eps=epsilon, foreach=True)
    )


class MuonAndAdamW(Optimizer):
    """Muon for the matrices, AdamW for all other parameters: one optimizer to the trainer."""

    def __init__(self, muon: Optimizer | None, adamw: Optimizer | None) -> None:
        # Optimizer.__init__ is left out on purpose: the parts hold the groups and the state, this only joins them.
        self.parts = {name: part for name, part in (("muon", muon), ("adamw", adamw)) if part is not None}
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, Any]:  # type: ignore[override]
        return {parameter: values for part in self.parts.values() for parameter, values in part.state.items()}

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for part in self.parts.values():
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]


@optimizers.register("muon")
def muon(
    parameters: Parameters,
    *,
    learning_rate: PositiveFloat = 2e-2,
    momentum: Annotated[float, Gt(0), Lt(1)] = 0.95,
    weight_decay: NonNegativeFloat = 0.0,
    adamw_learning_rate: PositiveFloat = 1e-3,
) -> Optimizer:
    """Muon for the matrices (Jordan et al. 2024, kellerjordan.github.io/posts/muon), AdamW for the rest.

    Options:
        learning_rate: length of a step for matrices.
        momentum: decay of the running sum of the gradients.
        weight_decay: share of each weight removed at a step, times the learning rate.
        adamw_learning_rate: length of a step for everything that is not a matrix.
    """
    groups = [group if isinstance(group, dict) else {"params": [group]} for group in parameters]
    matrices, others = (
        [
            {**group, "params": chosen}
            for group in groups
            if (chosen := [p for p in group["params"] if (p.ndim == 2) is two])
        ]
        for two in (True, False)
    )
    return MuonAndAdamW(
        bypass_compiler(torch.optim.Muon(matrices, learning_rate, weight_decay, momentum)) if matrices else None,
        bypass_compiler(torch.optim.AdamW(others, adamw_learning_rate, weight_decay=weight_decay, fused=True))
        if others
        else None,
    )
