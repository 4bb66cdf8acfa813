"""Weights as 8-bit integers with a scale for each row: a quarter of the size."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn

from dltrain.export.programs import import_onnx, silence_loggers

FEWEST = 1024
"""Smaller weights stay float32: int8 would save nothing."""
LARGEST = 127
_TINY = 1e-12


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (..., n) as int8 and their scales (..., 1) float32; row = int8 * scale, up to half a scale."""
    scales = (rows.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=_TINY)
    return (rows / scales).round().to(torch.int8), scales


class Int8(nn.Module):
    """A layer that keeps some weights as int8; reading such a weight by its name converts it to float32."""

    def __getattr__(self, name: str) -> Any:
        buffers = self.__dict__["_buffers"]
        if f"{name}_int8" in buffers:
            return buffers[f"{name}_int8"].float() * buffers[f"{name}_scales"]
        return super().__getattr__(name)


class Int8Linear(Int8):
    """A linear layer that multiplies in int8: each row of its inputs is rounded with a scale of its own."""

    def forward(self, inputs: Tensor) -> Tensor:
        rows, scales = round_rows(inputs.reshape(-1, inputs.shape[-1]))
        products = torch._int_mm(rows, self.weight_int8.t())
        outputs = products.float() * scales * self.weight_scales.t()
        biased: Tensor = outputs if self.bias is None else outputs + self.bias
        return biased.reshape(*inputs.shape[:-1], self.weight_int8.shape[0])


class Int8Embedding(Int8):
    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.weight_int8[tokens].float() * self.weight_scales[tokens]
        return found


class Int8Recurrent(Int8):
    """A recurrent layer that computes in float32; its weights are converted once for each sequence."""

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        """Ignored: torch sets the list from time to time."""


def _is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is of a class and has that class's own `forward`."""
    return isinstance(layer, kind) and type(layer).forward is kind.forward


def quantize_layers(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """Copy a model with int8 weights in linear, recurrent and embedding layers; returns it and these weights' names.

    Convolutions stay as they are: they hold few weights, and torch has no int8 operator for them that a graph can hold.
    """
    smaller, changed = copy.deepcopy(model), []
    for path, layer in smaller.named_modules():
        form, names = _choose_int8_layer(layer)
        names = [name for name in names if getattr(layer, name).numel() >= FEWEST]
        if not names:
            continue
        vars(layer).pop("_flat_weights", None)  # of a recurrent layer, which has a property of the name now
        for name in names:
            numbers, scales = round_rows(getattr(layer, name).detach())
            del layer._parameters[name]
            layer.register_buffer(f"{name}_int8", numbers)
            layer.register_buffer(f"{name}_scales", scales)
        layer.__class__ = type(f"Int8{type(layer).__name__}", (form, type(layer)), {})
        changed += [f"{path}.{name}" for name in names]
    return smaller, changed


def _choose_int8_layer(layer: nn.Module) -> tuple[type[Int8], list[str]]:
    """The int8 class for a layer, and the names of its weights that may be int8; none for other layers."""
    if isinstance(layer, nn.RNNBase):
        return Int8Recurrent, [name for name in layer._flat_weights_names if name.startswith("weight")]
    if _is_plain(layer, nn.Embedding) and cast(nn.Embedding, layer).max_norm is None:
        return Int8Embedding, ["weight"]
    return Int8Linear, ["weight"] if _is_plain(layer, nn.Linear) else []


def quantize_onnx(content: bytes) -> tuple[bytes, list[str]]:
    """Convert an ONNX model to int8 weights in matrix products, LSTMs and embeddings, by ONNX Runtime's own conversion.

    Returns the model and the names of these weights. Products are computed in int8; inputs are rounded on the way.
    """
    onnx = import_onnx("onnx")
    quantization = import_onnx("onnxruntime.quantization")
    preparation = import_onnx("onnxruntime.quantization.shape_inference")
    with TemporaryDirectory(prefix="dltrain-int8-") as folder, silence_loggers("root", "onnxruntime"):
        given, prepared, smaller = (Path(folder) / f"{name}.onnx" for name in ("given", "prepared", "smaller"))
        given.write_bytes(_copy_shared_weights(onnx.load_from_string(content)).SerializeToString())
        # LSTM weights are put into ONNX's order by operators, which this computes once and for all.
        preparation.quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantization.quantize_dynamic(
            prepared,
            smaller,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        converted = smaller.read_bytes()
    weights = onnx.load_from_string(converted).graph.initializer
    return converted, [
        weight.name for weight in weights if weight.data_type == onnx.TensorProto.INT8 and len(weight.dims) > 1
    ]


def _copy_shared_weights(model: Any) -> Any:
    """The model with a copy of a weight for each operator that reads it: the conversion transposes some in place."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    seen: set[str] = set()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in weights and name in seen:
                copied = model.graph.initializer.add()
                copied.CopyFrom(weights[name])
                copied.name = f"{name}_for_{node.name}_{place}"
                node.input[place] = copied.name
            seen.add(name)
    return model
