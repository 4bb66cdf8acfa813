"""Averages of the weights, and estimates that have not seen enough updates yet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]

LASTING = 0.05
"""The share of its start value that may be left in a running statistic."""


class MovingAverage(AveragedModel):
    """An exponential moving average of a model's weights and buffers; its first update copies the model.

    With `rises` update number n moves it with the decay min(decay, (1 + n) / (10 + n)), as TensorFlow's
    ExponentialMovingAverage does with `num_updates`. With the decay alone the first weights would keep a share of
    decay**n: in a short run the average would be these. `rises` is false for runs of earlier versions only.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._move, use_buffers=True)
        self.decay, self.rises = decay, True

    @torch.no_grad()
    def _move(self, averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        count = int(self.n_averaged)  # on the CPU: reading it does not wait for a device
        decay = min(self.decay, (1 + count) / (10 + count)) if self.rises else self.decay
        if averages[0].is_floating_point() or averages[0].is_complex():
            torch._foreach_lerp_(averages, values, 1 - decay)
            return
        for average, value in zip(averages, values, strict=True):  # counters, which have no average
            average.copy_(value if self.rises else average * decay + value * (1 - decay))


def find_unsettled_statistics(model: nn.Module, batches: int) -> float | None:
    """The share of their start values in the running statistics of batch normalisation after so many batches.

    None if the model has none, or if it is small.
    """
    momenta = [
        module.momentum
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.momentum is not None
    ]
    share = max(((1 - momentum) ** batches for momentum in momenta), default=0.0)
    return share if share > LASTING else None
