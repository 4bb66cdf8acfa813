"""Test-time augmentation: one model that averages what it says of several views of each input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.capabilities import Predicts, RecoversOutputs
from dltrain.errors import UsageError
from dltrain.kinds import resolve_reference
from dltrain.runs.loading import Trained


class AveragedViews(nn.Module):
    """A classifier of the mean probabilities over `views` views: the input itself, and `change(inputs, view=n)`."""

    def __init__(self, task: Any, model: nn.Module, change: Callable[..., Tensor], views: int) -> None:
        super().__init__()
        self.model = model
        self._task, self._change, self._views = task, change, views

    def forward(self, inputs: Tensor) -> Tensor:
        total = self._task.probabilities(self.model, inputs).double()
        for view in range(1, self._views):
            total += self._task.probabilities(self.model, self._change(inputs, view=view)).double()
        outputs: Tensor = self._task.recover_outputs(total / self._views)
        return outputs


def average_views(run: Path, trained: Trained, views: int | None) -> Trained:
    """The same with a model that averages over views; `trained` itself for None.

    Raises UsageError where the inputs cannot be varied.
    """
    if views is None:
        return trained
    task, kind = trained.task, trained.kind
    if kind.views is None or not isinstance(task, Predicts) or not isinstance(task, RecoversOutputs):
        raise UsageError(
            f"{run}: --views is for classifiers of images; this is the task '{trained.experiment.task.name}'",
            advice="leave it out",
        )
    options, seed = trained.experiment.data.options, trained.experiment.seed
    change = partial(resolve_reference(kind.views), trained.record.assets, options, seed=seed)
    change(torch.zeros(1, *(task.sizes[name] for name in ("image_channels", "height", "width"))), view=1)
    return replace(trained, model=AveragedViews(task, trained.model, change, views).eval())
