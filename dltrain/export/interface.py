"""Inputs and outputs of an exported model: named tensors, one after the other, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.capabilities import Estimates, Generates, Predicts, Reconstructs
from dltrain.data.speech.recognition import Transcribes
from dltrain.data.text.language_model import LanguageModel, Reading
from dltrain.export.capture import Axes
from dltrain.kinds import BATCH, LENGTH
from dltrain.task import Task
from dltrain.tree import iterate_tensors, map_tensors

MEMORY = "memory"
"""The axis along which a language model's state grows."""

Leading = Sequence[Sequence[str]]
"""For each tensor of a batch the names of its first axes, whose sizes vary."""


class Port(NamedTuple):
    """An input or output tensor."""

    name: str
    dtype: torch.dtype
    axes: Axes


def list_arguments(batch: Batch) -> tuple[Tensor, ...]:
    """The tensors among a batch's arguments: all but the initial state of a language model, which is None."""
    return tuple(argument for argument in batch.arguments if isinstance(argument, Tensor))


def take_examples(
    leading: Leading, tensors: Sequence[Tensor], examples: int, length: int | None = None
) -> tuple[Tensor, ...]:
    """The first `examples` of a batch's tensors, starting over where there are fewer.

    With `length`, sequences are cut after that number of steps.
    """
    chosen = []
    for tensor, axes in zip(tensors, leading, strict=True):
        axis = axes.index(BATCH)
        part = tensor.index_select(axis, torch.arange(examples) % tensor.shape[axis])
        if length is not None and LENGTH in axes:
            part = part.narrow(axes.index(LENGTH), 0, length)
        elif length is not None and LENGTH in leading[0]:
            part = part.clamp(max=length)  # the lengths of the sequences
        chosen.append(part)
    return tuple(chosen)


def count_steps(leading: Leading, tensors: Sequence[Tensor]) -> int | None:
    """The steps of a batch's sequences; None for a batch without sequences."""
    return tensors[0].shape[leading[0].index(LENGTH)] if LENGTH in leading[0] else None


class FixedOutputs(nn.Module):
    """Stands in for a model and returns outputs computed before, so that a task needs no second pass."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> Any:
        return self.outputs


ANSWERS = ((Predicts, "probabilities"), (Estimates, "estimates"), (Reconstructs, "reconstructions"))
"""Results that tasks compute from a model's outputs: the capability, and its method."""


class Answering(nn.Module):
    """A model whose outputs are followed by the task's result, where the task has one."""

    def __init__(self, model: nn.Module, task: Task[Any]) -> None:
        super().__init__()
        self.model = model
        self.answer = next((name for capability, name in ANSWERS if isinstance(task, capability)), None)
        self.task = task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(*inputs)
        raw = outputs if isinstance(outputs, tuple) else (outputs,)
        return raw if self.answer is None else (*raw, getattr(self.task, self.answer)(FixedOutputs(outputs), *inputs))


class ExportedLanguageModel(nn.Module):
    """A language model as a function of tokens (T, N) and its state, to log-probabilities and its next state.

    `tree` is any state of the model; it shows how the model nests the tensors.
    """

    def __init__(self, model: nn.Module, tree: Any) -> None:
        super().__init__()
        self.model = model
        self.tree = tree

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        model, (tokens, *state) = cast(LanguageModel, self.model), inputs
        reading = model(tokens, nest_tensors(self.tree, state))
        log_probabilities = model.log_probabilities(reading.features.flatten(0, 1))
        return (log_probabilities.view(*tokens.shape, -1), *iterate_tensors(reading.state))


def nest_tensors(tree: Any, tensors: Sequence[Tensor]) -> Any:
    """The given tensors, nested as those of the state `tree` are; None for no tensors."""
    each: Iterator[Tensor] = iter(tensors)
    return map_tensors(tree, lambda _: next(each)) if tensors else None


@dataclass(frozen=True)
class Interface:
    """A module from tensors to tensors, with the names and axes of both, and those of a batch of the data.

    The first `raw` outputs are the model's own; results of the task follow. `initial` is the state at the start of a
    text: zeros, and no step along MEMORY.
    """

    module: nn.Module
    leading: Leading
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    raw: int = 1
    initial: Sequence[Port] = ()

    def state(self, examples: int, memory: int = 0) -> tuple[Tensor, ...]:
        """The state at the start of `examples` texts: zeros, with `memory` steps along MEMORY."""
        sizes = {BATCH: examples, MEMORY: memory}
        shapes = [[sizes[size] if isinstance(size, str) else size for size in port.axes] for port in self.initial]
        return tuple(map(torch.zeros, shapes))


def find_interface(model: nn.Module, task: Task[Any], batch: Batch, leading: Leading | None) -> Interface:
    """Find the inputs and outputs of `model`, which is in evaluation mode and on the CPU, on a `batch` of its data.

    Without `leading`, the first axis of each tensor is BATCH. Raises ValueError, with the reason, where no graph of
    tensors can represent the model.
    """
    tensors = list_arguments(batch)
    leading = [(BATCH,)] * len(tensors) if leading is None else leading
    if len(leading) != len(tensors):
        raise ValueError(
            f"its batches ({type(batch).__name__}) have {len(tensors)} input tensors, but their kind of data describes "
            f"the axes of {len(leading)}"
        )
    with torch.no_grad():
        if isinstance(task, Generates):
            return _inspect_language_model(model, leading, tensors)
        return _inspect_model(model, task, leading, tensors)


def _inspect_model(model: nn.Module, task: Task[Any], leading: Leading, tensors: Sequence[Tensor]) -> Interface:
    module = Answering(model, task)
    steps = count_steps(leading, tensors)
    outputs = [module(*probe) for probe in _make_probes(leading, tensors, steps, steps and max(1, steps // 2))]
    raw = len(outputs[0]) - (module.answer is not None)
    names = ["outputs"] if raw == 1 else [f"outputs_{number}" for number in range(raw)]
    if isinstance(task, Transcribes):
        names = ["log_probabilities", "output_lengths"]
    names += [] if module.answer is None else [module.answer]
    inputs = [
        Port(name, tensor.dtype, (*axes, *tensor.shape[len(axes) :]))
        for name, tensor, axes in zip(_list_parameters(model, len(tensors)), tensors, leading, strict=True)
    ]
    return Interface(module, leading, inputs, _compare_shapes(names, outputs, steps), raw=raw)


def _list_parameters(model: nn.Module, tensors: int) -> list[str]:
    """The names that the model's `forward` gives its inputs."""
    names = [
        one.name for one in inspect.signature(model.forward).parameters.values() if one.kind is not one.VAR_POSITIONAL
    ]
    return names[:tensors] if len(names) >= tensors else [f"input_{number}" for number in range(tensors)]


def _inspect_language_model(model: nn.Module, leading: Leading, tensors: Sequence[Tensor]) -> Interface:
    probes = _make_probes(leading, [tensors[0][:1].repeat(2, 1)], 2, 1)
    readings: list[Reading] = [cast(LanguageModel, model)(tokens, None) for (tokens,) in probes]
    module = ExportedLanguageModel(model, readings[0].state)
    values = [list(iterate_tensors(reading.state)) for reading in readings]
    states = _compare_shapes([f"state_{number}" for number in range(len(values[0]))], values, None)
    tokens_port = Port("tokens", tensors[0].dtype, tuple(leading[0]))
    found = Interface(module, leading, [tokens_port, *states], (), initial=states)
    outputs = [module(*probe, *found.state(probe[0].shape[1])) for probe in probes]
    for own, (_, *following) in zip(values, outputs, strict=True):
        if not all(map(torch.allclose, own, following)):
            raise ValueError("its state before the first token is neither zeros nor empty")
    next_states = [port._replace(name=f"next_{port.name}") for port in states]
    log_probabilities = _compare_shapes(["log_probabilities"], [one[:1] for one in outputs], 2)
    return dataclasses.replace(found, outputs=[*log_probabilities, *next_states])


def _make_probes(
    leading: Leading, tensors: Sequence[Tensor], steps: int | None, fewer: int | None
) -> list[tuple[Tensor, ...]]:
    """The same inputs for 2 examples, for 3, and for 2 with fewer steps, to see how shapes change with either."""
    return [take_examples(leading, tensors, *sizes) for sizes in ((2, steps), (3, steps), (2, fewer))]


def _compare_shapes(names: Sequence[str], outputs: Sequence[Sequence[Tensor]], steps: int | None) -> list[Port]:
    """Describe the outputs for each of `_make_probes`; an axis is LENGTH where it has `steps` steps."""
    ports = []
    for name, few, more, fewer in zip(names, *outputs, strict=True):
        axes: list[str | int] = []
        for size, of_more, of_fewer in zip(few.shape, more.shape, fewer.shape, strict=True):
            if size != of_more:
                axes.append(BATCH)
            elif size == of_fewer:
                axes.append(size)
            else:
                axes.append(MEMORY if steps is None else LENGTH if size == steps else f"output_{LENGTH}")
        ports.append(Port(name, few.dtype, tuple(axes)))
    return ports
