"""From a model to a checked file's content, and what was found out about it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.errors import DltrainError, RequirementNotMet, UsageError
from dltrain.export.agreement import Agreement, agreement, milliseconds, scored
from dltrain.export.int8 import in_int8, onnx_in_int8
from dltrain.export.interface import MEMORY, Interface, Leading, find_interface, list_arguments, take_examples
from dltrain.export.programs import Program, onnx, run_onnx, run_torch_export, torch_export
from dltrain.kinds import BATCH
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Task

Form = Literal["torch-export", "onnx"]
WRITERS: Mapping[Form, Callable[[Interface, Sequence[Tensor]], bytes]] = {"torch-export": torch_export, "onnx": onnx}
SUFFIXES: Mapping[Form, str] = {"torch-export": ".pt2", "onnx": ".onnx"}
READERS: Mapping[Form, Callable[[Path], Program]] = {"torch-export": run_torch_export, "onnx": run_onnx}

TRACED = 3
"""Examples, and tokens in memory, that a computation is traced with: any number that is not special."""


class Row(NamedTuple):
    """One form of a model: its size, the time of a call for one example and for a whole batch, and its metrics."""

    name: str
    bytes: int
    milliseconds_of_one: float
    milliseconds_of_batch: float
    batch_size: int
    metrics: Mapping[str, float] | None


@dataclass(frozen=True)
class Made:
    """A file's content, how well it agrees with the model, and what is known of each form of it.

    `int8` names the weights that are kept in 8 bits, and tells how far the outputs are from the model's own.
    """

    content: bytes
    interface: Interface
    agreement: Agreement
    rows: Sequence[Row]
    int8: Mapping[str, Any] | None = None


class Subject(NamedTuple):
    """What is exported: a model in evaluation mode on the CPU, called `name` in messages, and what it is tried on.

    `stream` is the split that the `batches` are the first of; None where they are made up.
    """

    name: str
    model: nn.Module
    weights_bytes: int
    task: Task[Any]
    batches: Sequence[Batch]
    leading: Leading | None
    stream: Stream[Any] | None
    runtime: Runtime


def made(subject: Subject, form: Form, int8: bool, tolerance: float) -> Made:
    """The content of a file that computes what the model does. Raises UsageError, with the reason, where none can be.

    Raises RequirementNotMet where its outputs differ by more than `tolerance`.
    """
    with explained(subject, form):
        meant = find_interface(subject.model, subject.task, subject.batches[0], subject.leading)
        batches = [list_arguments(batch) for batch in subject.batches]
        content = WRITERS[form](meant, examples_of(meant, batches[0]))
    with ExitStack() as opened:
        program = opened.enter_context(running(content, form))
        with explained(subject, form):
            found = agreement(program, meant, batches)
        check(subject.name, found.difference, tolerance)
        shapes = [
            Shape("trained", subject.weights_bytes, meant.module.forward),
            Shape("exported", len(content), program),
        ]
        smaller = None
        if int8:
            content, names = _in_int8(subject, form, content)
            program = opened.enter_context(running(content, form))
            with explained(subject, form):
                smaller = {"weights": names, "difference": agreement(program, meant, batches).difference}
            shapes.append(Shape("int8", len(content), program))
        return Made(content, meant, found, _rows(shapes, meant, subject, int8), smaller)


@contextmanager
def explained(subject: Subject, form: Form) -> Iterator[None]:
    """Turns what the libraries raise, each in its own way, into a refusal that says what does work."""
    try:
        yield
    except DltrainError:
        raise
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{subject.name} cannot be exported as {form}: {reason}\n"
            "allowed: --format safetensors takes every model; --debug shows the whole story"
        ) from error


@contextmanager
def running(content: bytes, form: Form) -> Iterator[Program]:
    """The program that a file of this content is."""
    with TemporaryDirectory(prefix="dltrain-export-") as folder:
        file = Path(folder) / f"model{SUFFIXES[form]}"
        file.write_bytes(content)
        yield READERS[form](file)


def check(name: str, difference: float, tolerance: float) -> None:
    """Raises RequirementNotMet where outputs lie too far apart; a difference that is no number does."""
    if not difference <= tolerance:
        raise RequirementNotMet(
            f"{name}: the exported model's outputs differ by {difference:.2g} of the largest; allowed is "
            f"{tolerance:.2g} (--tolerance)\nnothing was written"
        )


def examples_of(meant: Interface, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Some inputs for the computation to be traced with."""
    sizes = {MEMORY: TRACED + 1}
    state = [
        torch.zeros([sizes.get(size, TRACED) if isinstance(size, str) else size for size in port.axes])
        for port in meant.initial
    ]
    return (*take_examples(meant.leading, tensors, TRACED), *state)


class Shape(NamedTuple):
    """One form of a model: what it is called, its size in bytes, and how it is run."""

    name: str
    bytes: int
    program: Program


def _rows(shapes: Sequence[Shape], meant: Interface, subject: Subject, score: bool) -> list[Row]:
    tensors = list_arguments(subject.batches[0])
    programs = [shape.program for shape in shapes]
    whole = tensors[0].shape[meant.inputs[0].axes.index(BATCH)]
    of_one, of_batch = (
        milliseconds(programs, (*take_examples(meant.leading, tensors, examples), *meant.state(examples)))
        for examples in (1, whole)
    )
    rows = []
    for shape, one, many in zip(shapes, of_one, of_batch, strict=True):
        metrics = None
        if score and subject.stream is not None:
            metrics = scored(shape.program, meant, subject.task, subject.stream, subject.runtime)
        rows.append(Row(shape.name, shape.bytes, one, many, whole, metrics))
    return rows


def _in_int8(subject: Subject, form: Form, content: bytes) -> tuple[bytes, Sequence[str]]:
    """The smaller content, and what is int8 in it. Raises UsageError where it is not smaller."""
    with explained(subject, form):
        if form == "onnx":
            smaller, names = onnx_in_int8(content)
        else:
            model, names = in_int8(subject.model)
            meant = find_interface(model, subject.task, subject.batches[0], subject.leading)
            smaller = torch_export(meant, examples_of(meant, list_arguments(subject.batches[0])))
    if len(smaller) >= len(content):
        raise UsageError(
            f"{subject.name}: int8 makes its {form} file no smaller ({len(content)} bytes, then {len(smaller)})",
            advice="leave out --quantize",
        )
    return smaller, names
