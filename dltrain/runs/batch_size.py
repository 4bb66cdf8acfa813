"""`data.batch_size: auto`: the largest batch of which a training step fits into memory, found before training."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from dltrain.config.experiment import Experiment
from dltrain.core.record import Record
from dltrain.core.trainer import update
from dltrain.options import AUTO
from dltrain.runs.building import Training, build_training
from dltrain.runtime.memory import explain_memory_errors, is_out_of_memory, measure_machine_memory

OPTION = "batch_size"
SMALL = 8
"""Examples in the smaller of the two batches that are measured."""
FEWEST_UPDATES = 10
"""An epoch keeps as many updates, however much memory there is."""
BUDGETS = {"cuda": 0.9, "cpu": 0.5}
"""The share of the memory that training may take; a CPU's memory belongs to other programs too."""
_TEMPORARY = 2
"""On a CPU, the memory of a step in sizes of what its backward pass keeps."""


class Finding(NamedTuple):
    """A batch size that was found, and how, in words."""

    size: int
    why: str


def settle_batch_size(experiment: Experiment, saved: Record | None) -> tuple[Experiment, Finding | None]:
    """The experiment with a number for `data.batch_size: auto`: that of its run, or the largest that fits.

    Raises OutOfMemory where not even a small batch fits.
    """
    if experiment.data.options.get(OPTION) != AUTO:
        return experiment, None
    if saved is not None:
        return set_batch_size(experiment, saved.config["data"][OPTION]), None
    with explain_memory_errors():
        found = find_batch_size(experiment)
    return set_batch_size(experiment, found.size), found


def set_batch_size(experiment: Experiment, size: int) -> Experiment:
    data = replace(experiment.data, options={**experiment.data.options, OPTION: size})
    return replace(experiment, data=data)


def find_batch_size(experiment: Experiment) -> Finding:
    """Find the largest power of two that fits, from the memory that two small batches take; on CUDA it is tried.

    An epoch keeps at least `FEWEST_UPDATES` updates.
    """
    small, examples, device = _measure_step(experiment, SMALL)
    large, _, _ = _measure_step(experiment, 2 * SMALL)
    each = max(1, (large - small) // SMALL)
    budget = _find_budget(device)
    fitting = (budget - small) // each + SMALL
    size = max(1, _round_down(min(fitting, max(1, examples // FEWEST_UPDATES))))
    while device.type == "cuda" and size > 1 and not _fits(experiment, size):
        size //= 2
    reason = f"about {(small + each * (size - SMALL)) / 2**30:.2g} of {budget / 2**30:.3g} GiB on {device}"
    if size < fitting // 2:
        reason += f"; a larger one would leave less than {FEWEST_UPDATES} updates in an epoch"
    return Finding(size, reason)


def _round_down(number: int) -> int:
    """The largest power of two that is not above a number from 1 on."""
    return 1 << (max(1, number).bit_length() - 1)


def _find_budget(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(BUDGETS["cuda"] * (free + torch.cuda.memory_reserved(device)))
    return int(BUDGETS["cpu"] * measure_machine_memory())


def _measure_step(experiment: Experiment, size: int) -> tuple[int, int, torch.device]:
    """The bytes of a training step with batches of `size`, about how many examples there are, and the device."""
    for training in _build(experiment, size):
        device = training.runtime.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            _take_steps(training)
            return torch.cuda.max_memory_allocated(device), _count_examples(training, size), device
        kept: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(partial(_note_size, kept), _return_unchanged):
            _take_steps(training, 1)
        weights = sum(parameter.nbytes for parameter in training.state.model.parameters())
        # Weights, gradients and two moments of the optimizer; what the backward pass keeps, and its temporary tensors.
        return 4 * weights + _TEMPORARY * sum(kept.values()), _count_examples(training, size), device
    raise AssertionError("a training was built")


def _note_size(kept: dict[int, int], tensor: Tensor) -> Tensor:
    """Note the bytes of a tensor that the backward pass keeps, by its place: some are kept several times."""
    place = -len(kept) if tensor.layout != torch.strided else tensor.untyped_storage().data_ptr()
    kept[place] = tensor.numel() * tensor.element_size()
    return tensor


def _return_unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _fits(experiment: Experiment, size: int) -> bool:
    try:
        for training in _build(experiment, size):
            _take_steps(training)
            return training.state.parts == 1
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return False


def _build(experiment: Experiment, size: int) -> Iterator[Training]:
    """A training with batches of `size`; what it took is free again when the next one is built."""
    yield build_training(set_batch_size(experiment, size))
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _count_examples(training: Training, size: int) -> int:
    return size * len(training.dataset.training())


def _take_steps(training: Training, number: int = 2) -> None:
    """Make updates: the optimizer allocates its state with the first one."""
    training.state.model.train()
    for batch in islice(training.dataset.training().epoch(0), number):
        update(training.state, training.task, [batch], clip_norm=None, runtime=training.runtime)
