"""From a model to the content of a checked file, and measurements of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.errors import DltrainError, RequirementNotMet, UsageError
from dltrain.export.agreement import Agreement, measure_agreement, score_program, time_programs
from dltrain.export.int8 import quantize_layers, quantize_onnx
from dltrain.export.interface import Interface, Leading, find_interface, list_arguments, take_examples
from dltrain.export.programs import Program, load_onnx, load_torch_export, write_onnx, write_torch_export
from dltrain.kinds import BATCH
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Task

Form = Literal["torch-export", "onnx"]
WRITERS: Mapping[Form, Callable[[Interface, Sequence[Tensor]], bytes]] = {
    "torch-export": write_torch_export,
    "onnx": write_onnx,
}
SUFFIXES: Mapping[Form, str] = {"torch-export": ".pt2", "onnx": ".onnx"}
READERS: Mapping[Form, Callable[[Path], Program]] = {"torch-export": load_torch_export, "onnx": load_onnx}

TRACED = 3
"""Examples, and tokens in memory, that a computation is traced with: any number that is not special."""


class FormMeasures(NamedTuple):
    """Measurements of one form of a model: size, time of a call for one example and for a batch, and metrics."""

    name: str
    bytes: int
    milliseconds_of_one: float
    milliseconds_of_batch: float
    batch_size: int
    metrics: Mapping[str, float] | None


@dataclass(frozen=True)
class ExportResult:
    """A file's content, its agreement with the model, and measurements of each form.

    `int8` names the weights that are kept in 8 bits, and the difference of the outputs from the model's own.
    """

    content: bytes
    interface: Interface
    agreement: Agreement
    rows: Sequence[FormMeasures]
    int8: Mapping[str, Any] | None = None


class Subject(NamedTuple):
    """A model to export, in evaluation mode on the CPU, called `name` in messages, and batches to compare outputs on.

    `batches` are the first of the split `stream`, which is None for synthetic ones. `leading` are their kind's axes.
    """

    name: str
    model: nn.Module
    weights_bytes: int
    task: Task[Any]
    batches: Sequence[Batch]
    leading: Leading | None
    stream: Stream[Any] | None
    runtime: Runtime


def export_program(subject: Subject, form: Form, int8: bool, tolerance: float) -> ExportResult:
    """Make the content of a file that computes the same as the model. Raises UsageError, with the reason, on failure.

    Raises RequirementNotMet where its outputs differ by more than `tolerance`.
    """
    smaller = None
    with ExitStack() as opened:
        with refuse_unexportable(subject, form):
            interface = find_interface(subject.model, subject.task, subject.batches[0], subject.leading)
            batches = [list_arguments(batch) for batch in subject.batches]
            content = WRITERS[form](interface, make_trace_inputs(interface, batches[0]))
            program = opened.enter_context(open_program(content, form))
            found = measure_agreement(program, interface, batches)
            check_agreement(subject.name, found.difference, tolerance)
            forms = [
                ProgramForm("trained", subject.weights_bytes, interface.module.forward),
                ProgramForm("exported", len(content), program),
            ]
            if int8:
                content, names = _quantize(subject, form, content)
                program = opened.enter_context(open_program(content, form))
                difference = measure_agreement(program, interface, batches).difference
                smaller = {"weights": names, "difference": difference}
                forms.append(ProgramForm("int8", len(content), program))
        rows = _measure_forms(forms, interface, subject, int8)
        return ExportResult(content, interface, found, rows, int8=smaller)


@contextmanager
def refuse_unexportable(subject: Subject, form: Form) -> Iterator[None]:
    """Turn any exception of the libraries into a UsageError that says which export works."""
    try:
        yield
    except DltrainError:
        raise
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{subject.name} cannot be exported as {form}: {reason}\n"
            "allowed: --format safetensors takes every model; --debug shows the full traceback"
        ) from error


@contextmanager
def open_program(content: bytes, form: Form) -> Iterator[Program]:
    """Write the content to a file and load it as a program."""
    with TemporaryDirectory(prefix="dltrain-export-") as folder:
        file = Path(folder) / f"model{SUFFIXES[form]}"
        file.write_bytes(content)
        yield READERS[form](file)


def check_agreement(name: str, difference: float, tolerance: float) -> None:
    """Raises RequirementNotMet for outputs that differ by more than `tolerance`, or by NaN."""
    if not difference <= tolerance:
        raise RequirementNotMet(
            f"{name}: the exported model's outputs differ by {difference:.2g} of the largest; allowed is "
            f"{tolerance:.2g} (--tolerance)\nnothing was written"
        )


def make_trace_inputs(interface: Interface, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs to trace the computation with."""
    return (*take_examples(interface.leading, tensors, TRACED), *interface.state(TRACED, memory=TRACED + 1))


class ProgramForm(NamedTuple):
    """One form of a model: its name, its size in bytes, and the program that runs it."""

    name: str
    bytes: int
    program: Program


def _measure_forms(
    forms: Sequence[ProgramForm], interface: Interface, subject: Subject, score: bool
) -> list[FormMeasures]:
    tensors = list_arguments(subject.batches[0])
    programs = [form.program for form in forms]
    whole = tensors[0].shape[interface.inputs[0].axes.index(BATCH)]
    of_one, of_batch = (
        time_programs(programs, (*take_examples(interface.leading, tensors, examples), *interface.state(examples)))
        for examples in (1, whole)
    )
    rows = []
    for form, one, many in zip(forms, of_one, of_batch, strict=True):
        metrics = None
        if score and subject.stream is not None:
            metrics = score_program(
                form.program, interface, subject.task, stream=subject.stream, runtime=subject.runtime
            )
        rows.append(FormMeasures(form.name, form.bytes, one, many, batch_size=whole, metrics=metrics))
    return rows


def _quantize(subject: Subject, form: Form, content: bytes) -> tuple[bytes, Sequence[str]]:
    """The content with int8 weights, and their names. Raises UsageError where it is not smaller."""
    if form == "onnx":
        smaller, names = quantize_onnx(content)
    else:
        model, names = quantize_layers(subject.model)
        interface = find_interface(model, subject.task, subject.batches[0], subject.leading)
        smaller = write_torch_export(interface, make_trace_inputs(interface, list_arguments(subject.batches[0])))
    if len(smaller) >= len(content):
        raise UsageError(
            f"{subject.name}: int8 makes its {form} file no smaller ({len(content)} bytes, then {len(smaller)})",
            advice="leave out --quantize",
        )
    return smaller, names
