"""What an exported model takes and gives: tensors with names, one after the other, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from dltrain.batch import Batch, Examples
from dltrain.capabilities import Estimates, Generates, Predicts, Reconstructs
from dltrain.data.documents.batches import Documents
from dltrain.data.speech.batches import Utterances
from dltrain.data.speech.recognition import Transcribes
from dltrain.data.text.language_model import LanguageModel, Reading
from dltrain.data.text.passages import Passages
from dltrain.export.capture import Axes
from dltrain.task import Task
from dltrain.tree import mapped

BATCH, LENGTH, MEMORY = "batch", "length", "memory"
"""Axes whose size may vary: examples, steps of a sequence, and what a language model remembers."""

VARYING: dict[type, tuple[tuple[str, ...], ...]] = {
    Examples: ((BATCH,),),
    Documents: ((BATCH, LENGTH), (BATCH,)),
    Passages: ((LENGTH, BATCH),),
    Utterances: ((BATCH, LENGTH), (BATCH,)),
}
"""The first axes of each tensor among the arguments of a batch."""


class Port(NamedTuple):
    """A tensor that goes in or comes out."""

    name: str
    dtype: torch.dtype
    axes: Axes


def tensors_of(batch: Batch) -> tuple[Tensor, ...]:
    """A batch's arguments, but for the state that none begins with."""
    return tuple(argument for argument in batch.arguments if isinstance(argument, Tensor))


def sliced(kind: type, tensors: Sequence[Tensor], examples: int, length: int | None = None) -> tuple[Tensor, ...]:
    """The first `examples` of a batch's tensors, again from the first one on where there are fewer.

    With `length`, sequences end after so many steps at the latest. `kind` is the batch's class.
    """
    chosen = []
    for tensor, axes in zip(tensors, VARYING[kind], strict=True):
        place = axes.index(BATCH)
        part = tensor.index_select(place, torch.arange(examples) % tensor.shape[place])
        if length is not None and LENGTH in axes:
            part = part.narrow(axes.index(LENGTH), 0, length)
        elif length is not None and LENGTH in VARYING[kind][0]:
            part = part.clamp(max=length)  # the sequences' own lengths
        chosen.append(part)
    return tuple(chosen)


def longest(kind: type, tensors: Sequence[Tensor]) -> int | None:
    """The steps of a batch's sequences; None where it has none."""
    axes = VARYING[kind][0]
    return tensors[0].shape[axes.index(LENGTH)] if LENGTH in axes else None


class Known(nn.Module):
    """A model's outputs in place of the model, so that a task can make its answer of them without another pass."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> Any:
        return self.outputs


ANSWERS = (
    (Predicts, "probabilities"),
    (Estimates, "estimates"),
    (Reconstructs, "reconstructions"),
)
"""What tasks can make of a model's outputs for people: the capability, and its method."""


class Answering(nn.Module):
    """A model; its outputs are followed by what the task makes of them, where it can make something."""

    def __init__(self, model: nn.Module, task: Task[Any]) -> None:
        super().__init__()
        self.model = model
        self.answer = next((name for capability, name in ANSWERS if isinstance(task, capability)), None)
        self.task = task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(*inputs)
        raw = outputs if isinstance(outputs, tuple) else (outputs,)
        return raw if self.answer is None else (*raw, getattr(self.task, self.answer)(Known(outputs), *inputs))


class NextToken(nn.Module):
    """A language model as a function of tokens (T, N) and its state, to log-probabilities and its next state.

    `tree` is any state of the model: the form in which it wants the tensors.
    """

    def __init__(self, model: nn.Module, tree: Any) -> None:
        super().__init__()
        self.model = model
        self.tree = tree

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        model, (tokens, *state) = cast(LanguageModel, self.model), inputs
        reading = model(tokens, in_form_of(self.tree, state))
        log_probabilities = model.log_probabilities(reading.features.flatten(0, 1))
        return (log_probabilities.view(*tokens.shape, -1), *leaves(reading.state))


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    found: list[Tensor] = []

    def kept(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(tree, kept)
    return found


def in_form_of(tree: Any, tensors: Sequence[Tensor]) -> Any:
    """A state like `tree` of the given tensors; None of none."""
    each: Iterator[Tensor] = iter(tensors)
    return mapped(tree, lambda _: next(each)) if tensors else None


@dataclass(frozen=True)
class Interface:
    """A module that takes and gives tensors alone, which ones these are, and what a batch of the data's is for it.

    The first `raw` outputs are the model's own, what follows was made of them. `initial` is the state that a text
    begins with: zeros, and nothing along MEMORY.
    """

    module: nn.Module
    kind: type
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    raw: int = 1
    initial: Sequence[Port] = ()

    def state(self, examples: int) -> tuple[Tensor, ...]:
        """The state that texts begin with."""
        sizes = {BATCH: examples, MEMORY: 0}
        return tuple(
            torch.zeros([sizes.get(size, 0) if isinstance(size, str) else size for size in port.axes])
            for port in self.initial
        )


def interface(model: nn.Module, task: Task[Any], batch: Batch) -> Interface:
    """How `model`, which is in evaluation mode and on the CPU, is used elsewhere; `batch` is one of its data's.

    Raises ValueError, with the reason, for what no graph of tensors can stand for.
    """
    kind = type(batch)
    if kind not in VARYING:
        raise ValueError(f"its batches are of a kind of their own, {kind.__name__}, of which only its plug-in knows")
    tensors = tensors_of(batch)
    with torch.no_grad():
        return _of_text(model, kind, tensors) if isinstance(task, Generates) else _of_model(model, task, kind, tensors)


def _of_model(model: nn.Module, task: Task[Any], kind: type, tensors: Sequence[Tensor]) -> Interface:
    module = Answering(model, task)
    steps = longest(kind, tensors)
    given = [module(*probe) for probe in _probes(kind, tensors, steps, steps and max(1, steps // 2))]
    raw = len(given[0]) - (module.answer is not None)
    names = ["outputs"] if raw == 1 else [f"outputs_{number}" for number in range(raw)]
    if isinstance(task, Transcribes):
        names = ["log_probabilities", "output_lengths"]
    names += [] if module.answer is None else [module.answer]
    inputs = [
        Port(name, tensor.dtype, (*axes, *tensor.shape[len(axes) :]))
        for name, tensor, axes in zip(_parameters(model, len(tensors)), tensors, VARYING[kind], strict=True)
    ]
    return Interface(module, kind, inputs, _ports(names, given, steps), raw)


def _parameters(model: nn.Module, tensors: int) -> list[str]:
    """What the model calls its inputs."""
    names = [
        one.name for one in inspect.signature(model.forward).parameters.values() if one.kind is not one.VAR_POSITIONAL
    ]
    return names[:tensors] if len(names) >= tensors else [f"input_{number}" for number in range(tensors)]


def _of_text(model: nn.Module, kind: type, tensors: Sequence[Tensor]) -> Interface:
    probes = _probes(kind, [tensors[0][:1].repeat(2, 1)], 2, 1)
    readings: list[Reading] = [cast(LanguageModel, model)(tokens, None) for (tokens,) in probes]
    module = NextToken(model, readings[0].state)
    names = [f"state_{number}" for number in range(len(leaves(readings[0].state)))]
    states = _ports(names, [leaves(reading.state) for reading in readings], None)
    found = Interface(module, kind, [Port("tokens", tensors[0].dtype, VARYING[kind][0]), *states], (), initial=states)
    given = [module(*probe, *found.state(probe[0].shape[1])) for probe in probes]
    for reading, outputs in zip(readings, given, strict=True):
        if any(not torch.allclose(own, out) for own, out in zip(leaves(reading.state), outputs[1:], strict=True)):
            raise ValueError("its state before the first token is neither zeros nor empty")
    following = [port._replace(name=f"next_{port.name}") for port in states]
    outputs = [*_ports(["log_probabilities"], [one[:1] for one in given], 2), *following]
    return dataclasses.replace(found, outputs=outputs)


def _probes(kind: type, tensors: Sequence[Tensor], steps: int | None, fewer: int | None) -> list[tuple[Tensor, ...]]:
    """The same inputs for 2 examples, for 3, and for 2 with fewer steps: how shapes change with either."""
    return [sliced(kind, tensors, 2, steps), sliced(kind, tensors, 3, steps), sliced(kind, tensors, 2, fewer)]


def _ports(names: Sequence[str], given: Sequence[Sequence[Tensor]], steps: int | None) -> list[Port]:
    """What comes out, from what did for each of `_probes`; an axis is LENGTH where it has as many `steps`."""
    ports = []
    for name, few, more, fewer in zip(names, *given, strict=True):
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
