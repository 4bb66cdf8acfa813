"""What plug-ins promise, checked before training: each message names the plug-in's file and line."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from dltrain.batch import Batch, MixedExamples, check_batch, to_device
from dltrain.capabilities import LearnsMixed
from dltrain.config.values import FunctionChoice
from dltrain.core.evaluate import accumulate_counts
from dltrain.errors import DltrainError
from dltrain.observers.console import Messenger
from dltrain.runs.building import Training
from dltrain.stream import Stream
from dltrain.task import Step


def check_plugins(training: Training, batches: Stream[Batch], validation: Stream[Batch], messenger: Messenger) -> None:
    """Check batches, a step of the task, and the metrics that a config with plug-ins chooses.

    Nothing here changes the model or draws from the training's generators. Raises DltrainError.
    """
    experiment = training.experiment
    if not experiment.plugins:
        return
    source = f"{training.names.locate('dataset', experiment.data.name)}: dataset '{experiment.data.name}'"
    for stream in (batches, validation):
        for batch in islice(stream.epoch(0), min(1, len(stream))):
            check_batch(batch, source)
            if stream is batches:
                check_step(training, batch)
    check_metrics(training, validation, messenger)


def check_step(training: Training, batch: Batch) -> None:
    """Check what the task's step gives for a batch, in evaluation mode: nothing is drawn, no statistics move."""
    task, name = training.task, training.experiment.task.name
    where = f"{training.names.locate('task', name)}: task '{name}'"
    if isinstance(batch, MixedExamples) and not (isinstance(task, LearnsMixed) and task.learns_mixed):
        raise DltrainError(
            f"{where}: data.augment mixes images (mixup, cutmix), and the task does not say that it learns from them",
            advice="in its step add the losses of the two batches of batch.separate(), with their weights, and set "
            "learns_mixed = True; or leave out mixup and cutmix",
        )
    model, runtime = training.state.model, training.runtime
    model.eval()
    try:
        with torch.random.fork_rng(), runtime.autocast():
            step: Any = task.step(model, to_device(batch, runtime.device), None)
    finally:
        model.train()
    if not isinstance(step, Step):
        advice = "return dltrain.task.Step(loss), or Step(loss, carry)"
        raise DltrainError(f"{where}: step returns {type(step).__name__}", advice=advice)
    loss: Any = step.loss
    if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.ndim:
        found = type(loss).__name__
        if isinstance(loss, Tensor):
            found = f"a tensor of {str(loss.dtype).removeprefix('torch.')} and the shape {tuple(loss.shape)}"
        raise DltrainError(
            f"{where}: the loss of its step is {found}", advice="make it one number: Step(losses.mean())"
        )
    trainable = any(parameter.requires_grad for parameter in model.parameters())
    if trainable and not loss.requires_grad:
        advice = "compute it from the model's outputs with torch alone, without detach, numpy, item or no_grad"
        raise DltrainError(f"{where}: the loss of its step has no gradient", advice=advice)


def check_metrics(training: Training, validation: Stream[Batch], messenger: Messenger) -> None:
    """Compute the chosen metrics for the untrained model, and warn of those that are no finite number."""
    chosen = training.experiment.task.options.get("metrics") or ()
    metrics = [each for each in chosen if isinstance(each, FunctionChoice)]
    if not metrics or not len(validation):
        return
    task = training.task
    report = task.report(accumulate_counts(training.state.model, task, validation, training.runtime))
    for each in metrics:
        if not math.isfinite(value := report[each.name]):
            where = f"{training.names.locate('metric', each.name)}: metric '{each.name}'"
            messenger.warn(
                f"{where} is {value} for the untrained model; where it is no finite number it is recorded as null, and "
                "an epoch without it cannot be the best one by it"
            )
