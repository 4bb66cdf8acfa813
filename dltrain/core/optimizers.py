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


def build_optimizer(kind: Callable[..., Optimizer], parameters: Parameters, **settings: Any) -> Optimizer:
    """One of torch's optimizers, with its step replaced by one that does not import torch's compiler."""
    optimizer = kind(parameters, **settings)
    step = torch.no_grad()(inspect.unwrap(type(optimizer).step))
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
    settings = {"lr": learning_rate, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    return build_optimizer(torch.optim.SGD, parameters, **settings, fused=True)


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
    settings = {"lr": learning_rate, "betas": (betas[0], betas[1]), "eps": epsilon, "amsgrad": amsgrad}
    return build_optimizer(torch.optim.Adam, parameters, **settings, weight_decay=weight_decay, fused=True)


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
    settings = {"lr": learning_rate, "betas": (betas[0], betas[1]), "eps": epsilon, "amsgrad": amsgrad}
    return build_optimizer(torch.optim.AdamW, parameters, **settings, weight_decay=weight_decay, fused=True)


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
    settings = {"lr": learning_rate, "alpha": decay, "eps": epsilon, "weight_decay": weight_decay}
    return build_optimizer(
        torch.optim.RMSprop, parameters, **settings, momentum=momentum, centered=centered, foreach=True
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
    settings = {"lr": learning_rate, "lr_decay": decay, "eps": epsilon, "weight_decay": weight_decay}
    return build_optimizer(torch.optim.Adagrad, parameters, **settings, foreach=True)


class MuonAndAdamW(Optimizer):
    """Muon for the matrices, AdamW for all other parameters: one optimizer to the trainer."""

    def __init__(self, parts: dict[str, Optimizer]) -> None:
        # Optimizer.__init__ is left out on purpose: the parts hold the groups and the state, this only joins them.
        self.parts = parts
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
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for group in groups:
        for chosen, is_matrix in ((matrices, True), (others, False)):
            if params := [each for each in group["params"] if (each.ndim == 2) is is_matrix]:
                chosen.append({**group, "params": params})
    parts = {}
    if matrices:
        settings = {"lr": learning_rate, "weight_decay": weight_decay, "momentum": momentum}
        parts["muon"] = build_optimizer(torch.optim.Muon, matrices, **settings)
    if others:
        settings = {"lr": adamw_learning_rate, "weight_decay": weight_decay}
        parts["adamw"] = build_optimizer(torch.optim.AdamW, others, **settings, fused=True)
    return MuonAndAdamW(parts)
