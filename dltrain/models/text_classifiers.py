"""Classifiers of texts: a bag of embeddings, recurrent layers, and convolutions over time.

All take tokens (N, T) int64 and lengths (N,) int64 to logits (N, classes). Padding changes nothing.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.models.language_rnn import build_recurrent_layer
from dltrain.models.layers import mark_valid
from dltrain.options import Fraction, PositiveInt, Widths
from dltrain.registry import models


@models.register("embedding_bag")
class EmbeddingBag(nn.Module):
    """The mean of a text's embeddings and a linear layer, perhaps with one between: fastText's classifier.

    Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification", arXiv:1607.01759, without its n-grams. The
    order of words does not count.

    Options:
        embedding: width of a token's vector.
        pooling: mean of a text's vectors, or their sum.
        hidden: units of a dense layer with ReLU before the last one; null for none.
        dropout: share of units dropped before each dense layer.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        embedding: PositiveInt = 64,
        pooling: Literal["mean", "sum"] = "mean",
        hidden: PositiveInt | None = None,
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.embedding = nn.EmbeddingBag(vocabulary, embedding, mode="sum")
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden is not None:
            layers += [nn.Linear(embedding, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(hidden or embedding, classes))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        shares = mark_valid(lengths, tokens.shape[1]).to(self.embedding.weight.dtype)
        if self.pooling == "mean":
            shares = shares / lengths[:, None]
        logits: Tensor = self.classifier(self.embedding(tokens, per_sample_weights=shares))
        return logits


@models.register("text_rnn")
class TextRNN(nn.Module):
    """An embedding, stacked recurrent layers, and a linear layer.

    Dropout of units stands on the embedding, between the layers and before the linear layer.

    Options:
        cell: kind of recurrent layer: long short-term memory (Hochreiter and Schmidhuber 1997) or gated recurrent unit
            (Cho et al. 2014, arXiv:1406.1078).
        embedding: width of a token's vector.
        hidden: units of each layer, in each direction.
        layers: number of layers.
        bidirectional: read the text from its end as well (Schuster and Paliwal 1997).
        pooling: what the linear layer reads: the last state in each direction, or the mean of all.
        dropout: share of units dropped.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        embedding: PositiveInt = 64,
        hidden: PositiveInt = 64,
        layers: PositiveInt = 1,
        bidirectional: bool = True,
        pooling: Literal["last", "mean"] = "last",
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.pooling, self.dropout = pooling, dropout
        self.embedding = nn.Embedding(vocabulary, embedding)
        directions = 2 if bidirectional else 1
        widths = [embedding] + [directions * hidden] * (layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(build_recurrent_layer(cell, width, hidden) for _ in range(directions)) for width in widths
        )
        self.classifier = nn.Linear(directions * hidden, classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(tokens.shape[1], device=tokens.device)[:, None]  # (T, 1)
        # Each text reversed within its length: its own last token comes first, so that padding is read after it.
        backward = torch.where(steps < lengths, lengths - 1 - steps, steps)[:, :, None]  # (T, N, 1)
        features = self._dropped(self.embedding(tokens).transpose(0, 1))  # (T, N, embedding)
        for layer in self.layers:
            forward, *others = cast(nn.ModuleList, layer)
            outputs = [forward(features)[0]]
            for other in others:
                outputs.append(_reorder_steps(other(_reorder_steps(features, backward))[0], backward))
            features = self._dropped(torch.cat(outputs, 2))  # (T, N, directions * hidden)
        logits: Tensor = self.classifier(self._pooled(features, lengths))
        return logits

    def _pooled(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(T, N, H) as (N, H)."""
        if self.pooling == "mean":
            shares = mark_valid(lengths, len(features)) / lengths[:, None]  # (N, T)
            return torch.einsum("tnh,nt->nh", features, shares.to(features.dtype))
        width = features.shape[2] // len(cast(nn.ModuleList, self.layers[0]))
        last = features[lengths - 1, torch.arange(len(lengths), device=lengths.device)]
        return torch.cat([last[:, :width], features[0, :, width:]], 1)  # backward, the last state stands first

    def _dropped(self, features: Tensor) -> Tensor:
        return functional.dropout(features, self.dropout, self.training)


def _reorder_steps(features: Tensor, order: Tensor) -> Tensor:
    """Put features (T, N, C) into another order of steps, `order` (T, N, 1)."""
    return features.gather(0, order.expand_as(features))


@models.register("text_cnn")
class TextCNN(nn.Module):
    """Convolutions of several widths over a text's embeddings, the maximum of each filter over time, a linear layer.

    Kim 2014, "Convolutional Neural Networks for Sentence Classification", arXiv:1408.5882. A text that is shorter than
    a filter is filled up with zero vectors.

    Options:
        embedding: width of a token's vector.
        kernels: how many tokens each group of filters covers.
        filters: filters in each group.
        dropout: share of units dropped before the linear layer.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        embedding: PositiveInt = 64,
        kernels: Widths = [3, 4, 5],
        filters: PositiveInt = 100,
        dropout: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, kernel) for kernel in kernels)
        self.classifier = nn.Linear(filters * len(kernels), classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        vectors = self.embedding(tokens) * mark_valid(lengths, tokens.shape[1])[:, :, None]
        vectors = vectors.transpose(1, 2)  # (N, embedding, T)
        highest = []
        for convolution in self.convolutions:
            kernel = cast(nn.Conv1d, convolution).kernel_size[0]
            maps = convolution(functional.pad(vectors, (0, max(0, kernel - vectors.shape[2]))))  # (N, filters, T')
            positions = (lengths - kernel + 1).clamp(min=1)  # those where the filter is within the text
            whole = mark_valid(positions, maps.shape[2])
            highest.append(maps.masked_fill(~whole[:, None], -torch.inf).amax(2))
        features = functional.dropout(torch.cat(highest, 1).relu(), self.dropout, self.training)
        logits: Tensor = self.classifier(features)
        return logits
