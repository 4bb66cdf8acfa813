"""Optimizers by name take the same steps as torch's plain, unfused ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.core import optimizers

SLOW: dict[str, Any] = {"foreach": False, "fused": False}

PAIRS: dict[str, tuple[Callable[[Any], Optimizer], Callable[[Any], Optimizer]]] = {
    "sgd": (
        lambda p: optimizers.sgd(p, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01, **SLOW),
    ),
    "adam": (
        lambda p: optimizers.adam(p, betas=[0.8, 0.9], epsilon=1e-6, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 1e-3, (0.8, 0.9), 1e-6, 0.1, **SLOW),
    ),
    "adamw": (
        lambda p: optimizers.adamw(p, amsgrad=True),
        lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.01, amsgrad=True, **SLOW),
    ),
    "rmsprop": (
        lambda p: optimizers.rmsprop(p, momentum=0.5, centered=True),
        lambda p: torch.optim.RMSprop(p, 1e-3, 0.99, momentum=0.5, centered=True, foreach=False),
    ),
    "adagrad": (
        lambda p: optimizers.adagrad(p, decay=0.1, weight_decay=0.1),
        lambda p: torch.optim.Adagrad(p, 1e-2, 0.1, 0.1, foreach=False),
    ),
}


def quadratic_steps(make: Callable[[Any], Optimizer]) -> list[Tensor]:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(5))]
    optimizer = make(parameters)
    for _ in range(10):
        optimizer.zero_grad()
        sum((parameter**2).sum() for parameter in parameters).backward()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_those_of_torchs_plain_optimizer(name: str) -> None:
    ours, plain = PAIRS[name]
    for mine, expected in zip(quadratic_steps(ours), quadratic_steps(plain), strict=True):
        torch.testing.assert_close(mine, expected)


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    def apart(parameters: list[nn.Parameter]) -> Optimizer:
        class Both(Optimizer):
            def __init__(self) -> None:
                self.parts = [
                    torch.optim.Muon(parameters[:1], 0.02, 0.0, 0.95),
                    torch.optim.AdamW(parameters[1:], 1e-3, weight_decay=0.0, **SLOW),
                ]

            def step(self) -> None:  # type: ignore[override]
                for part in self.parts:
                    part.step()

            def zero_grad(self) -> None:  # type: ignore[override]
                for part in self.parts:
                    part.zero_grad()

        return Both()

    for mine, expected in zip(quadratic_steps(optimizers.muon), quadratic_steps(apart), strict=True):
        torch.testing.assert_close(mine, expected)


def test_muon_bears_a_model_without_matrices() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = optimizers.muon([parameter])
    parameter.sum().backward()
    optimizer.step()
    assert (parameter < 1).all()


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum"):
        optimizers.sgd([nn.Parameter(torch.ones(1))], nesterov=True)


@pytest.mark.slow
def test_steps_do_not_import_the_compiler() -> None:
    """It takes a second of every start, and nothing that is not compiled needs it."""
    script = """
import sys, torch
from dltrain.core.optimizers import adagrad, adam, adamw, muon, rmsprop, sgd
for make in (sgd, adam, adamw, rmsprop, adagrad, muon):
    weights = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    optimizer = make(weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert all((weight < 1).all() for weight in weights), make
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
