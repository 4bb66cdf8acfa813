"""Scores over a whole split: counts added up on the device, divided once by the task's report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dltrain.batch import Batch, to_device
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Counts, Task


def do_nothing() -> None:
    """Between two batches of an evaluation that nobody interrupts or watches."""


def accumulate_counts(
    model: nn.Module,
    task: Task[Any],
    stream: Stream[Batch],
    runtime: Runtime,
    between: Callable[[], None] = do_nothing,
) -> Counts:
    """The task's counts over all of `stream`, in evaluation mode; training's carry and generators stay untouched.

    `between` is called after each batch and may raise.
    """
    total: dict[str, Any] = {}
    carry: Any = None
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), runtime.autocast():
            for batch in stream.epoch(0):
                score = task.score(model, to_device(batch, runtime.device), carry)
                carry = score.carry
                for name, count in score.counts.items():
                    total[name] = total[name] + count if name in total else count
                between()
    finally:
        model.train(training)
    return total
