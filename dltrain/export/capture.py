"""A module's computation as a graph of tensor operations, for any number of examples and any length."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config
from torch.overrides import TorchFunctionMode

Axes = tuple[str | int, ...]
"""A tensor's axes: a name where the size varies, the size where it does not."""

# torch unrolls recurrent layers while tracing, which would fix the number of steps. These operators stand for them in
# the graph, one node each; afterwards they become torch's own operators, or ONNX's.


_SETTINGS = "bool biases, SymInt layers, float dropout, bool train, bool bidirectional, bool batch_first"


def _define_operator(name: str, layer: Callable[..., Any]) -> Any:
    """The operator dltrain::name, which stands for one of torch's recurrent layers over padded sequences."""
    state, states = ("Tensor[] state", "Tensor, Tensor") if name == "lstm" else ("Tensor state", "Tensor")
    schema = f"(Tensor input, {state}, Tensor[] weights, {_SETTINGS}) -> (Tensor, {states})"
    operator = torch.library.custom_op(f"dltrain::{name}", layer, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(input: Tensor, state: Tensor | list[Tensor], weights: list[Tensor], *settings: Any) -> tuple[Tensor, ...]:
        states = state if isinstance(state, list) else [state]
        directions = 2 if settings[4] else 1
        outputs = input.new_empty(*input.shape[:2], directions * states[0].shape[2])
        return outputs, *(torch.empty_like(each) for each in states)

    return operator


RECURRENT: dict[str, Any] = {
    name: _define_operator(name, getattr(torch, name)) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
}
"""Operators in place of torch's recurrent layers, by torch's names."""


class RecurrentLayersKept(TorchFunctionMode):
    """While active, recurrent layers over padded sequences are single operators."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operator = RECURRENT.get(getattr(function, "__name__", ""))
        if operator is None or not isinstance(args[2], Sequence):  # of packed sequences the weights come fourth
            return function(*args, **(kwargs or {}))
        state = args[1] if isinstance(args[1], Tensor) else list(args[1])
        return operator(args[0], state, list(args[2]), *args[3:])


def symbolic_length(thing: Sized) -> Any:
    """As `len`, but of a tensor its first size even where that is a symbol; Python's own would fix it."""
    return thing.shape[0] if isinstance(thing, Tensor) else len(thing)


@contextmanager
def symbolic_lengths(module: nn.Module) -> Iterator[None]:
    """While active, `len` is `symbolic_length` in the packages, except torch, of what `module` consists of."""
    parts = [part for each in module.modules() for part in (each, *vars(each).values())]
    packages = {type(part).__module__.partition(".")[0] for part in parts} - {"builtins", "torch"}
    loaded = [vars(each) for name, each in sys.modules.items() if name.partition(".")[0] in packages]
    patched = [names for names in loaded if "len" not in names and names is not globals()]
    for names in patched:
        names["len"] = symbolic_length
    try:
        yield
    finally:
        for names in patched:
            del names["len"]


def capture_program(module: nn.Module, examples: Sequence[Tensor], axes: Sequence[Axes]) -> ExportedProgram:
    """Trace the graph of `module(*examples)`, in which the named axes may have any size.

    It keeps none of the examples' content. Raises whatever torch.export does where the computation depends on
    values, or fixes a size.
    """
    blank = tuple(torch.zeros_like(example) for example in examples)
    varying = [{index: Dim.DYNAMIC for index, size in enumerate(one) if isinstance(size, str)} for one in axes]
    with (
        warnings.catch_warnings(),
        torch.no_grad(),
        symbolic_lengths(module),
        RecurrentLayersKept(),
        _config.patch(backed_size_oblivious=True),  # type: ignore[attr-defined]  # sizes of 0 and 1 are like any other
    ):
        warnings.simplefilter("ignore")  # about torch's own deprecated parts
        program = torch.export.export(module, blank, dynamic_shapes=(tuple(varying),))
    # A guard "size != 1" says that the graph goes the general way, not the one that torch takes where it need not
    # broadcast. The general way gives the same result; comparing outputs after the export checks that.
    program._guards_code = [guard for guard in program._guards_code if " != " not in guard]
    return program


def strip_program(program: ExportedProgram) -> ExportedProgram:
    """The program without traces of this source: torch's own recurrent operators, no example inputs or stack traces."""
    operators = {RECURRENT[name]._opoverload: getattr(torch.ops.aten, name).input for name in RECURRENT}
    for node in program.graph.nodes:
        node.target = operators.get(node.target, node.target)
        for fact in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
            node.meta.pop(fact, None)
    program.graph_module.recompile()
    program.example_inputs = None
    return program
