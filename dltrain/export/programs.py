"""Formats of computations, torch.export and ONNX: written as bytes, loaded from a file."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dltrain.errors import UsageError
from dltrain.export.capture import RECURRENT, capture_program, strip_program
from dltrain.export.interface import Interface, Port

Program = Callable[..., tuple[Tensor, ...]]
"""A function from an interface's inputs to its outputs, on the CPU."""

LARGEST_ONNX = 2**31
"""Bytes that a protocol buffer can hold."""


def write_torch_export(interface: Interface, examples: Sequence[Tensor]) -> bytes:
    """A program for `torch.export.load`, as torch.export.save writes it."""
    program = strip_program(capture_program(interface.module, examples, [port.axes for port in interface.inputs]))
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, content)
    return content.getvalue()


def load_torch_export(path: Path) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(path).module()

    def program(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = module(*inputs)
        return outputs

    return program


def write_onnx(interface: Interface, examples: Sequence[Tensor]) -> bytes:
    """An ONNX model, with the interface's names for inputs, outputs and the sizes that vary."""
    import_onnx("onnx")
    import_onnx("onnxscript")
    from dltrain.export.onnx_recurrent import TRANSLATIONS

    program = capture_program(interface.module, examples, [port.axes for port in interface.inputs])
    with warnings.catch_warnings(), silence_loggers("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[port.name for port in interface.inputs],
            output_names=[port.name for port in interface.outputs],
            custom_translation_table={RECURRENT[name]._opoverload: TRANSLATIONS[name] for name in RECURRENT},
        )
    assert exported is not None
    model = exported.model_proto
    _name_axes(model.graph.input, interface.inputs)
    _name_axes(model.graph.output, interface.outputs)
    del model.graph.value_info[:]  # intermediate values, with sizes by torch's names
    if model.ByteSize() >= LARGEST_ONNX:
        raise ValueError("its weights do not fit into the 2 GiB of an ONNX file")
    content: bytes = model.SerializeToString()
    return content


def import_onnx(name: str) -> Any:
    """A module that ONNX needs. Raises UsageError without the `export` extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"ONNX needs {name.split('.')[0]}, which cannot be imported: {error}",
            advice="pip install 'dltrain[export]', or use --format torch-export or safetensors",
        ) from error


@contextmanager
def silence_loggers(*loggers: str) -> Iterator[None]:
    """While active, these loggers print errors only."""
    before = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _name_axes(values: Any, ports: Sequence[Port]) -> None:
    for value, port in zip(values, ports, strict=True):
        for dimension, size in zip(value.type.tensor_type.shape.dim, port.axes, strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
            else:
                dimension.dim_value = size


def load_onnx(path: Path) -> Program:
    """Load an ONNX file as a program that uses as many threads as torch."""
    runtime = import_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def program(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = {name: tensor.contiguous().numpy() for name, tensor in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(output) for output in session.run(None, given))

    return program
