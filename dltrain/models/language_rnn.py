"""Recurrent language models, and the recurrent layers and dropout that they are made of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, cast

import torch
from annotated_types import MinLen
from torch import Tensor, nn
from torch.nn import functional

from dltrain.data.text.language_model import Reading
from dltrain.models.output import NextTokenModel, Softmax, build_adaptive_softmax, build_tied_softmax, widen_to_float32
from dltrain.options import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from dltrain.registry import models

LayerState: TypeAlias = "Tensor | tuple[Tensor, Tensor]"
"""The state that a recurrent layer continues from: its output h (1, N, H); of an LSTM (h, c)."""

MANY_STEPS: dict[str, Any] = {
    "LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu,
}  # fmt: skip
ONE_STEP: dict[str, Any] = {"GRU": torch.gru_cell, "RNN_TANH": torch.rnn_tanh_cell, "RNN_RELU": torch.rnn_relu_cell}


def build_recurrent_layer(cell: str, width: int, hidden: int) -> nn.RNNBase:
    """One layer. Layers are stacked outside: cuDNN's dropout between its own keeps a state that no checkpoint holds."""
    if cell == "lstm":
        return nn.LSTM(width, hidden)
    if cell == "gru":
        return nn.GRU(width, hidden)
    return nn.RNN(width, hidden, nonlinearity=cell.removeprefix("rnn_"))


def run_layer(
    layer: nn.RNNBase, inputs: Tensor, state: LayerState | None, weight_drop: float = 0.0
) -> tuple[Tensor, LayerState]:
    """Outputs (T, N, H) of a layer for inputs (T, N, C), and its next state.

    In training a share of `weight_drop` of the recurrent weights is zero, the same ones in all steps, as in Merity et
    al. 2018 (arXiv:1708.02182). A single step outside training skips what the kernels for many steps prepare, which
    costs several times the step.
    """
    by_input, recurrent, *biases = layer.all_weights[0]
    weights = (by_input, functional.dropout(recurrent, weight_drop) if layer.training else recurrent, *biases)
    if state is None:
        zeros = inputs.new_zeros(1, inputs.shape[1], layer.hidden_size)
        state = (zeros, zeros) if layer.mode == "LSTM" else zeros
    if layer.training or torch.compiler.is_exporting() or len(inputs) > 1:
        differentiable = torch.is_grad_enabled()  # what cuDNN calls training; outside it, it has no backward pass
        with scattered_weights() if inputs.is_cuda else nullcontext():
            results = MANY_STEPS[layer.mode](inputs, state, weights, True, 1, 0.0, differentiable, False, False)
        return results[0], results[1:] if isinstance(state, tuple) else results[1]
    if isinstance(state, tuple):
        h, c = (after[None] for after in torch.lstm_cell(inputs[0], (state[0][0], state[1][0]), *weights))
        return h, (h, c)
    h = ONE_STEP[layer.mode](inputs[0], state[0], *weights)[None]
    return h, h


@contextmanager
def scattered_weights() -> Iterator[None]:
    """No warning that cuDNN has to copy weights into one piece of memory, as it must where some of them are dropped."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk of memory")
        yield


def drop_for_all_steps(inputs: Tensor, share: float, training: bool) -> Tensor:
    """Dropout with one mask for all steps: inputs (T, N, C) times (1, N, C)."""
    if not training or share == 0:
        return inputs
    return inputs * functional.dropout(inputs.new_ones(1, *inputs.shape[1:]), share)


@models.register("rnn")
class RecurrentLanguageModel(NextTokenModel):
    """An embedding, stacked recurrent layers and a softmax: the model of Zaremba et al. 2014, arXiv:1409.2329.

    Dropout of units stands on the embedding, between the layers and on the output. The state is a tuple with an item
    for each layer: h (1, N, hidden), or (h, c) of an LSTM. Raises ValueError for widths that cannot
    be tied, and for cutoffs that do not suit the vocabulary.

    Options:
        cell: kind of recurrent layer.
        embedding: width of a token's vector; null for that of a layer.
        hidden: units of each layer.
        layers: number of layers.
        dropout: share of units dropped.
        weight_drop: share of the recurrent weights dropped, the same ones in all steps of a passage (Merity et al.
            2018, arXiv:1708.02182).
        variational: drop the same units in all steps of a passage (Gal and Ghahramani 2016, arXiv:1512.05287).
        tied: use the embedding as the output layer's weights (Inan et al. 2017, Press and Wolf 2017).
        output_bias: add a bias for each token in the output layer.
        adaptive_cutoffs: numbers of the tokens with which clusters of rarer tokens begin, for an adaptive softmax
            (Grave et al. 2017, arXiv:1609.04309), which is faster for large vocabularies; null for a plain one.
        initial_range: weights and biases begin in [-x, x], uniformly; null for what is usual for each kind of layer.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        cell: Literal["rnn_tanh", "rnn_relu", "lstm", "gru"] = "lstm",
        embedding: PositiveInt | None = None,
        hidden: PositiveInt = 200,
        layers: PositiveInt = 2,
        dropout: Fraction = 0.0,
        weight_drop: Fraction = 0.0,
        variational: bool = False,
        tied: bool = False,
        output_bias: bool = True,
        adaptive_cutoffs: Annotated[list[PositiveInt], MinLen(1)] | None = None,
        initial_range: PositiveFloat | None = 0.1,
    ) -> None:
        super().__init__()
        if tied and adaptive_cutoffs is not None:
            raise ValueError("tied: an adaptive softmax has weights of its own: set tied to false, or no cutoffs")
        self.dropout, self.variational, self.weight_drop = dropout, variational, weight_drop
        self.embedding = nn.Embedding(vocabulary, embedding or hidden)
        widths = [embedding or hidden] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(build_recurrent_layer(cell, width, hidden) for width in widths)
        if adaptive_cutoffs is not None:
            self.output = build_adaptive_softmax(hidden, vocabulary, adaptive_cutoffs, output_bias)
        elif tied:
            self.output = build_tied_softmax(self.embedding, hidden, "hidden", output_bias)
        else:
            self.output = Softmax(hidden, vocabulary, output_bias)
        if initial_range is not None:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -initial_range, initial_range)

    def forward(self, tokens: Tensor, state: tuple[LayerState, ...] | None = None) -> Reading:
        features = self._dropped(self.embedding(tokens))  # (T, N, embedding)
        following = []
        for layer, before in zip(self.layers, state or [None] * len(self.layers), strict=True):
            outputs, after = run_layer(cast(nn.RNNBase, layer), features, before, self.weight_drop)
            features = self._dropped(outputs)  # (T, N, hidden)
            following.append(after)
        return Reading(features, tuple(following))

    def _dropped(self, inputs: Tensor) -> Tensor:
        if self.variational:
            return drop_for_all_steps(inputs, self.dropout, self.training)
        return functional.dropout(inputs, self.dropout, self.training)


@models.register("awd_lstm")
class AWDLSTM(NextTokenModel):
    """AWD-LSTM: an LSTM regularised in every place (Merity et al. 2018, arXiv:1708.02182).

    The defaults are those of its published code for Penn Treebank. The state is a tuple with (h, c), each
    (1, N, units), for each layer. Training adds the two activation penalties to the loss.

    Options:
        embedding: width of a token's vector, and of the last layer, which are tied.
        hidden: units of each layer but the last.
        layers: number of layers.
        weight_drop: share of the recurrent weights dropped, the same for a whole passage.
        embedding_dropout: share of the vocabulary's words dropped, wherever in a passage they stand.
        input_dropout: share of the embedding's units dropped, the same for a whole passage.
        hidden_dropout: share of units dropped between layers, the same for a whole passage.
        output_dropout: share of the last layer's units dropped, the same for a whole passage.
        activation_regularization: weight of the mean square of the last layer's outputs, dropped ones as zeros.
        temporal_activation_regularization: weight of the mean square of their change from step to step.
        output_bias: add a bias for each token in the output layer.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: PositiveInt = 400,
        hidden: PositiveInt = 1150,
        layers: PositiveInt = 3,
        weight_drop: Fraction = 0.5,
        embedding_dropout: Fraction = 0.1,
        input_dropout: Fraction = 0.4,
        hidden_dropout: Fraction = 0.25,
        output_dropout: Fraction = 0.4,
        activation_regularization: NonNegativeFloat = 2.0,
        temporal_activation_regularization: NonNegativeFloat = 1.0,
        output_bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight_drop, self.embedding_dropout = weight_drop, embedding_dropout
        self.input_dropout, self.hidden_dropout, self.output_dropout = input_dropout, hidden_dropout, output_dropout
        self.activation_regularization = activation_regularization
        self.temporal_activation_regularization = temporal_activation_regularization
        self.embedding = nn.Embedding(vocabulary, embedding)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        widths = [embedding, *[hidden] * (layers - 1), embedding]
        self.layers = nn.ModuleList(nn.LSTM(width, units) for width, units in pairwise(widths))
        self.output = build_tied_softmax(self.embedding, embedding, "embedding", output_bias)
        if output_bias:
            nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, state: tuple[LayerState, ...] | None = None) -> Reading:
        features = drop_for_all_steps(self._embedded(tokens), self.input_dropout, self.training)
        shares = [self.hidden_dropout] * (len(self.layers) - 1) + [self.output_dropout]
        following = []
        for layer, share, before in zip(self.layers, shares, state or [None] * len(self.layers), strict=True):
            outputs, after = run_layer(cast(nn.LSTM, layer), features, before, self.weight_drop)
            features = drop_for_all_steps(outputs, share, self.training)
            following.append(after)
        return Reading(features, tuple(following), self._penalty(outputs, features) if self.training else None)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """The tokens' vectors (T, N, embedding); in training, some words of the vocabulary are all zeros."""
        vectors: Tensor = self.embedding(tokens)
        if not self.training or self.embedding_dropout == 0:
            return vectors
        kept = functional.dropout(vectors.new_ones(self.embedding.num_embeddings, 1), self.embedding_dropout)
        return vectors * kept[tokens]

    def _penalty(self, outputs: Tensor, dropped: Tensor) -> Tensor:
        penalty = self.activation_regularization * widen_to_float32(dropped).square().mean()
        if len(outputs) > 1:
            change = widen_to_float32(outputs).diff(dim=0)
            penalty = penalty + self.temporal_activation_regularization * change.square().mean()
        return penalty
