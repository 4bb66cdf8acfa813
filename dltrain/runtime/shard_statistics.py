"""Batch normalisation of shards: each is normalised by its own statistics, and the running ones take all in order."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle
from typing_extensions import Self


class ShardStatistics:
    """While active, the layers' running statistics stay as they are, and the statistics of each call are kept.

    A layer computes them itself: with a momentum of 1 its running statistics become those of the batch, bit for bit.
    `take` gives what was kept, `apply` updates the running statistics with what all shards have kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [
            layer for layer in model.modules() if isinstance(layer, _NormBase) and layer.running_mean is not None
        ]
        self._kept: list[Tensor] = []
        self._handles: list[RemovableHandle] = []
        self._calls = [_Call(index, self._kept) for index in range(len(self._layers))]

    def __enter__(self) -> Self:
        for layer, call in zip(self._layers, self._calls, strict=True):
            self._handles.append(layer.register_forward_pre_hook(call.begin))
            self._handles.append(layer.register_forward_hook(call.end))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.take()
        for handle in self._handles:
            handle.remove()

    def take(self) -> list[Tensor]:
        """What was kept since the last time: of each call of a layer its index, means and variances, (1 + 2 C,)."""
        for layer, call in zip(self._layers, self._calls, strict=True):
            call.undo(layer)  # of a call that an error has ended
        kept = list(self._kept)
        self._kept.clear()
        return kept

    def apply(self, kept: Sequence[Tensor]) -> None:
        """Update the running statistics as one call after the other would."""
        for one in kept:
            running = _Running.of(self._layers[int(one[0])])
            mean, variance = one[1:].to(running.mean.device).chunk(2)
            running.calls.add_(1)
            momentum = self._layers[int(one[0])].momentum
            share = 1 / int(running.calls) if momentum is None else momentum
            running.mean.mul_(1 - share).add_(mean, alpha=share)
            running.variance.mul_(1 - share).add_(variance, alpha=share)


class _Running(NamedTuple):
    """The running statistics of a layer."""

    mean: Tensor
    variance: Tensor
    calls: Tensor

    @classmethod
    def of(cls, layer: _NormBase) -> _Running:
        found = layer.running_mean, layer.running_var, layer.num_batches_tracked
        assert all(one is not None for one in found)
        return cls(*cast("tuple[Tensor, Tensor, Tensor]", found))


class _Call:
    """The hooks of a layer, before and after each call."""

    def __init__(self, index: int, kept: list[Tensor]) -> None:
        self._index, self._kept = index, kept
        self._before: tuple[float | None, _Running] | None = None

    def begin(self, layer: nn.Module, inputs: Any) -> None:
        if layer.training and isinstance(layer, _NormBase):
            running = _Running.of(layer)
            self._before = layer.momentum, running
            # Other tensors, not other values: the backward pass needs the former to be as they were.
            layer.running_mean, layer.running_var = running.mean.clone(), running.variance.clone()
            layer.momentum = 1.0

    def end(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self._before is not None and isinstance(layer, _NormBase):
            found = _Running.of(layer)
            self._kept.append(torch.cat((found.mean.new_tensor([self._index]), found.mean, found.variance)))
            found.calls.sub_(1)
            self.undo(layer)

    def undo(self, layer: _NormBase) -> None:
        """Give the layer its own statistics back, if it lacks them."""
        if self._before is not None:
            layer.momentum, running = self._before
            layer.running_mean, layer.running_var = running.mean, running.variance
            self._before = None
