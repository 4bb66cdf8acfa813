"""All that changes while training: one object, saved and restored whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from dltrain.core.averages import MovingAverage
from dltrain.core.record import History
from dltrain.options import Plan
from dltrain.tree import map_tensors


@dataclass
class TrainState:
    """The state of training between two updates.

    `step` counts updates, `epoch` the epochs that have ended, `position` the batches of the current epoch that were
    used. `carries` is what the task's last step handed on, by shard. `history` holds one entry for each evaluation.
    `averaging` says whether updates enter `average`, which is then what is evaluated.
    `loss_sum` () is the sum of loss times examples since the last evaluation, over `examples` examples; `logged` holds
    both as they were when the last line was logged. `not_finite` (1,) becomes 1 once a gradient has been NaN or
    infinite. Each batch is computed in so many `parts`, more than one once it did not fit into memory.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None = None
    averaging: bool = False
    carries: dict[int, Any] = field(default_factory=dict)
    step: int = 0
    epoch: int = 0
    position: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    examples: int = 0
    logged: tuple[float, int] = (0.0, 0)
    parts: int = 1
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        # The factor of a schedule is applied to these, so they must not be what it last left behind.
        self.not_finite = torch.zeros(1, device=self.loss_sum.device)
        self.one = torch.ones(1, device=self.loss_sum.device)
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated: the average of the weights once averaging has started, else the model itself."""
        return self.model if self.average is None or not self.averaging else self.average.module

    def tree(self) -> dict[str, Any]:
        """Everything but the weights that are evaluated, as nested plain values and tensors."""
        cuda = torch.cuda.is_available()
        return {
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "carry": self.carries.get(0) if set(self.carries) <= {0} else None,
            "loss_sum": self.loss_sum,
            "examples": self.examples,
            "logged": self.logged,
            "history": self.history,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "model": dict(self.model.state_dict()) if self.averaging else None,
            "averaged": None if self.average is None else self.average.n_averaged,
            **({"parts": self.parts} if self.parts > 1 else {}),
            **({"carries": dict(sorted(self.carries.items()))} if not set(self.carries) <= {0} else {}),
            **({"decay_rises": self.average.rises} if isinstance(self.average, MovingAverage) else {}),
            # The global generators, which dropout draws from.
            "generators": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if cuda else []},
        }

    def restore(self, weights: dict[str, Tensor], tree: dict[str, Any]) -> None:
        """Take over what `tree` and `evaluated_model.state_dict()` gave, bit for bit."""
        self.averaging = tree["model"] is not None
        self.evaluated_model.load_state_dict(weights)
        if self.average is not None:
            if self.averaging:
                self.model.load_state_dict(tree["model"])
            self.average.n_averaged.copy_(tree["averaged"])
        if isinstance(self.average, MovingAverage):
            self.average.rises = tree.get("decay_rises", False)
        _load_optimizer(self.optimizer, tree["optimizer"])
        self.scaler.load_state_dict(tree["scaler"])
        self.step, self.epoch, self.position = tree["step"], tree["epoch"], tree["position"]
        self.loss_sum = tree["loss_sum"].to(self.loss_sum.device)
        self.examples, self.logged = tree["examples"], tree["logged"]
        self.parts = tree.get("parts", 1)
        self.history = History(tree["history"])
        carries = tree.get("carries", {0: tree["carry"]})
        self.carries = map_tensors(carries, lambda part: part.to(self.loss_sum.device))
        torch.set_rng_state(tree["generators"]["cpu"])
        if torch.cuda.is_available() and len(tree["generators"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(tree["generators"]["cuda"])


def make_average(model: nn.Module, plan: Plan) -> AveragedModel | None:
    """The average of the model's weights and buffers that the plan asks for, or None.

    Its first update copies the model. With `ema` later ones move it, with `nt_asgd` they all count alike.
    """
    if plan.ema is not None:
        return MovingAverage(model, plan.ema)
    return None if plan.nt_asgd is None else AveragedModel(model, use_buffers=True)


def is_averaging(plan: Plan, scores: Sequence[float]) -> bool:
    """Whether updates enter the average by now; `scores` are those of validation so far, turned so that more is better.

    With `nt_asgd: n`, from the epoch on that follows one whose score was worse than the best of all but the last n
    epochs before it (Merity et al. 2018, algorithm 1). Once started, averaging continues.
    """
    if plan.nt_asgd is None:
        return plan.ema is not None
    early = plan.nt_asgd
    return any(scores[epoch] < max(scores[: epoch - early]) for epoch in range(early + 1, len(scores)))


def _load_optimizer(optimizer: Optimizer, tree: dict[str, Any]) -> None:
    """As load_state_dict, but each restored tensor gets its parameter's memory layout.

    A file knows no strides. A fused kernel walks a parameter and its moments side by side in memory, so for
    channels-last weights a contiguous moment would be slower or, worse, paired with the wrong elements.
    """
    optimizer.load_state_dict(tree)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
