"""Recurrent layers as ONNX operators, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnxscript

op: Any = onnxscript.opset18

GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
"""The positions among torch's gates of those that ONNX expects first, second, ..."""
ACTIVATIONS = {"rnn_tanh": "Tanh", "rnn_relu": "Relu"}


def reorder_gates(weights: Any, gates: Sequence[int], hidden: int) -> Any:
    """Weights (gates * hidden, ...) with their gates in another order."""
    if len(gates) == 1:
        return weights
    parts = [op.Slice(weights, [gate * hidden], [(gate + 1) * hidden], [0]) for gate in gates]
    return op.Concat(*parts, axis=0)


def join_tensors(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)


def make_translation(kind: str) -> Callable[..., tuple[Any, ...]]:
    """The function by which torch.onnx.export translates one of `dltrain.export.capture.RECURRENT`."""

    def translated(input: Any, state: Any, weights: Sequence[Any], *settings: Any) -> tuple[Any, ...]:
        biases, layers, _dropout, _train, bidirectional, batch_first = settings
        states = state if kind == "lstm" else [state]  # (layers * directions, N, hidden) each
        directions, each, hidden = 1 + bidirectional, 4 if biases else 2, int(states[0].shape[2])
        sequence = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
        following: list[list[Any]] = [[] for _ in states]
        for layer in range(layers):
            first = layer * directions
            own = [weights[each * index : each * (index + 1)] for index in range(first, first + directions)]
            before = [op.Slice(one, [first], [first + directions], [0]) for one in states]
            outputs = translate_layer(kind, sequence, before, own, hidden=hidden)
            sequence = op.Reshape(op.Transpose(outputs[0], perm=[0, 2, 1, 3]), [0, 0, -1])
            for known, after in zip(following, outputs[1:], strict=True):
                known.append(after)
        sequence = op.Transpose(sequence, perm=[1, 0, 2]) if batch_first else sequence
        return (sequence, *(join_tensors(known) for known in following))

    return translated


def translate_layer(
    kind: str, sequence: Any, before: Sequence[Any], own: Sequence[Sequence[Any]], *, hidden: int
) -> Any:
    """One layer: outputs (T, directions, N, hidden) and the state after it; `own` are the weights by direction."""
    by_input, by_state, *biases = (
        join_tensors([op.Unsqueeze(reorder_gates(each, GATES[kind], hidden), [0]) for each in alike])
        for alike in zip(*own, strict=True)
    )
    bias = op.Concat(*biases, axis=1) if biases else None
    settings: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if len(own) > 1 else "forward"}
    if kind == "lstm":
        return op.LSTM(sequence, by_input, by_state, bias, None, *before, **settings)
    if kind == "gru":
        return op.GRU(sequence, by_input, by_state, bias, None, *before, linear_before_reset=1, **settings)
    return op.RNN(
        sequence, by_input, by_state, bias, None, *before, activations=[ACTIVATIONS[kind]] * len(own), **settings
    )


TRANSLATIONS = {kind: make_translation(kind) for kind in GATES}
