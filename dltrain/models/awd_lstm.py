"""AWD-LSTM."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from dltrain.data.text.language_model import Reading
from dltrain.models.language_rnn import LayerState, drop_for_all_steps, run_layer
from dltrain.models.output import NextTokenModel, build_tied_softmax, widen_to_float32
from dltrain.options import Fraction, NonNegativeFloat, PositiveInt
from dltrain.registry import models


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
