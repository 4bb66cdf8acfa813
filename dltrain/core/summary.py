"""A model's layers, and the cost of a training step: parameters, shapes, FLOPs and memory, measured on a batch.

FLOPs are those of matrix products, convolutions, recurrent layers and attention; a multiply-add counts as two.
Elementwise work (activations, normalisations, a softmax, CTC) is left out. Other operations on weights are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from dltrain.batch import Batch
from dltrain.core.trainer import explain_single_examples
from dltrain.task import Task
from dltrain.tree import iterate_tensors


@dataclass
class LayerRow:
    """A layer: its name in the model, its class, the shape of its output, its own parameters and FLOPs.

    `output` is None where the model computes with the layer's weights without calling it. `uncounted` names operations
    on the layer's weights whose FLOPs are unknown.
    """

    name: str
    kind: str
    output: tuple[int, ...] | None = None
    parameters: int = 0
    trainable: int = 0
    flops: int = 0
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """Bytes that a training step holds at once, without the temporary memory of kernels.

    `activations` are the tensors that the forward pass keeps for the backward pass, weights and inputs excluded;
    `inputs` those of one batch; `average` a moving average of the weights.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    inputs: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


@dataclass(frozen=True)
class Summary:
    """A model and one training step on a batch; FLOPs are the whole batch's."""

    rows: list[LayerRow]
    forward_flops: int
    step_flops: int
    memory: Memory

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        return sum(row.trainable for row in self.rows)


def measure_model(
    model: nn.Module,
    task: Task[Any],
    batch: Batch,
    *,
    optimizer: Optimizer,
    autocast: Callable[[], AbstractContextManager[Any]],
    average: nn.Module | None,
) -> Summary:
    """Summarise a model on the CPU. This takes a training step, and so changes the model and the optimizer.

    Raises UsageError where batch normalisation meets a batch of one example.
    """
    model.train()
    ledger, kept = Ledger(model), SavedTensors([*model.parameters(), *batch.arguments])
    with explain_single_examples("give a larger --batch-size"), ledger, ledger.watching(), kept.watching(), autocast():
        loss = task.step(model, batch, None).loss
    forward = ledger.flops
    with ledger:
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    bytes_of_gradients = sum(map(size_in_bytes, gradients))
    optimizer.step()
    memory = Memory(
        parameters=sum(map(size_in_bytes, [*model.parameters(), *model.buffers()])),
        gradients=bytes_of_gradients,
        optimizer=sum(size_in_bytes(each) for state in optimizer.state.values() for each in iterate_tensors(state)),
        average=0 if average is None else sum(map(size_in_bytes, [*average.parameters(), *average.buffers()])),
        activations=kept.size,
        inputs=sum(map(size_in_bytes, iterate_tensors(batch.arguments))),
    )
    return Summary(ledger.rows(), forward, ledger.flops, memory)


def size_in_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def locate_memory(tensor: Tensor) -> tuple[int, int]:
    """The address and size of a tensor's memory: the same for all views of one."""
    if tensor.is_mkldnn:
        return torch.ops.mkldnn.data_ptr(tensor), size_in_bytes(tensor)
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


class SavedTensors:
    """Counts the bytes that a forward pass keeps for the backward pass, each once, without the `known` tensors."""

    def __init__(self, known: list[Any]) -> None:
        self._known = {locate_memory(tensor)[0] for tensor in iterate_tensors(known)}
        self._sizes: dict[int, int] = {}

    @property
    def size(self) -> int:
        return sum(self._sizes.values())

    def watching(self) -> AbstractContextManager[Any]:
        def pack(tensor: Tensor) -> Tensor:
            address, size = locate_memory(tensor)
            if address not in self._known:
                self._sizes[address] = size
            return tensor

        hooks: AbstractContextManager[Any] = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        return hooks


def recurrent_flops(inputs: Tensor, by_input: Tensor, by_state: Tensor, *_: Any, **__: Any) -> int:
    """Both matrices are applied once to each step (T, N, C) of each sequence."""
    return 2 * inputs.shape[0] * inputs.shape[1] * (by_input.numel() + by_state.numel())


def attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def attention_backward_flops(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    shapes = gradient.shape, query.shape, key.shape, value.shape
    return int(sdpa_backward_flop_count(*shapes))  # type: ignore[no-untyped-call]


def convolution_backward_flops(
    gradient: Tensor, inputs: Tensor, weight: Tensor, *rest: Any, out_val: Any = None, **_: Any
) -> int:
    """As many as forward for each gradient that is computed, that of the inputs and that of the weights.

    `weight` (out, in / groups, ...) meets each position of the output once, or of a transposed convolution's input.
    Torch's own formula counts each group's filters with the channels of all groups.
    """
    transposed, wanted = rest[4], rest[7]
    positions = (inputs if transposed else gradient).shape[2:]
    return 2 * inputs.shape[0] * math.prod(positions) * weight.numel() * (int(wanted[0]) + int(wanted[1]))


FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten.convolution_backward: convolution_backward_flops,
    torch.ops.aten.mkldnn_rnn_layer: recurrent_flops,
    torch.ops.aten.mkldnn_rnn_layer_backward: lambda *args, **_: 2 * recurrent_flops(*args),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}
"""FLOPs of an operation, of its arguments and `out_val`; torch's own, and what it does not count on a CPU."""

FREE = {
    getattr(torch.ops.aten, name)
    for name in (
        *("_to_copy", "clone", "copy_", "cat", "stack", "empty_like", "index", "index_select", "gather"),
        *("embedding", "_embedding_bag", "sum"),
    )
}
"""Operations on weights that move numbers or work one by one, besides views and those that torch tags as pointwise."""


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts FLOPs in total and by module: the one whose weights are used, or else the one that is running."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self._modules = [(module, LayerRow(name, type(module).__name__)) for name, module in model.named_modules()]
        self._owners: dict[int, LayerRow] = {}
        for module, row in self._modules:
            for parameter in module.parameters(recurse=False):
                self._owners.setdefault(locate_memory(parameter)[0], row)
        self._casts: list[Tensor] = []  # kept, so that nothing else gets their addresses
        self._running: list[LayerRow] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket is torch.ops.aten._to_copy:
            owner = self._owners.get(locate_memory(args[0])[0])
            if owner is not None:
                self._owners[locate_memory(out)[0]] = owner
                self._casts.append(out)
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            flops = int(formula(*args, **(kwargs or {}), out_val=out))
            self.flops += flops
            if self._running:
                next(self._owners_of(args, 1), self._running[-1]).flops += flops
        elif self._running and not (func.is_view or torch.Tag.pointwise in func.tags or func._overloadpacket in FREE):
            for owner in self._owners_of(args, 2):
                name = func._overloadpacket.__name__
                owner.uncounted += () if name in owner.uncounted else (name,)
        return out

    def _owners_of(self, arguments: Any, dimensions: int) -> Iterator[LayerRow]:
        """The rows of the modules whose weights are among the arguments, in order; of `dimensions` at least."""
        for each in iterate_tensors(arguments):
            owner = self._owners.get(locate_memory(each)[0]) if each.dim() >= dimensions else None
            if owner is not None:
                yield owner

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record the modules called within: shapes, and whose FLOPs are whose."""
        handles = []
        for module, row in self._modules:
            handles.append(module.register_forward_pre_hook(self._entered(row)))
            handles.append(module.register_forward_hook(self._left(row)))
        self._running.append(self._modules[0][1])  # the task may compute with the model's weights without calling it
        try:
            yield
        finally:
            self._running.clear()
            for handle in handles:
                handle.remove()

    def _entered(self, row: LayerRow) -> Callable[..., None]:
        return lambda *_: self._running.append(row)

    def _left(self, row: LayerRow) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            self._running.pop()
            first = next(iterate_tensors(outputs), None)
            row.output = None if first is None else tuple(first.shape)

        return hook

    def rows(self) -> list[LayerRow]:
        """Every module that has parameters of its own, computes, or holds no other; each parameter once."""
        seen: set[int] = set()
        rows = []
        for module, row in self._modules:
            own = [each for each in module.parameters(recurse=False) if id(each) not in seen]
            seen.update(map(id, own))
            row.parameters = sum(each.numel() for each in own)
            row.trainable = sum(each.numel() for each in own if each.requires_grad)
            leaf = next(module.children(), None) is None
            if own or row.flops or (leaf and row.output is not None):
                rows.append(row)
        return rows
