"""Output layers of language models: from features to the probabilities of the next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class _CrossEntropyInPlace(torch.autograd.Function):
    """-log softmax(features @ weight.T + bias) at the targets, with one buffer of M x vocabulary for it all.

    The logits become the probabilities and these, in the backward pass, the logits' gradient, each in place of the one
    before; exponentials are taken once. The targets' weights are applied to the features, of which there are fewer.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        computed = functional.linear(features, weight, bias)
        logits = widen_to_float32(computed)  # (M, V)
        highest = logits.amax(1)
        nats = highest - logits.gather(1, targets[:, None]).squeeze(1)
        probabilities = torch.softmax(logits, 1, out=logits)
        nats -= probabilities.amax(1).log_()  # the highest logit's: one over the sum of exp(logit - highest)
        ctx.save_for_backward(features, weight, targets, probabilities)
        ctx.dtype = computed.dtype
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, targets, by_logit = ctx.saved_tensors
        by_logit.scatter_add_(1, targets[:, None], by_logit.new_full((len(targets), 1), -1.0))
        by_bias = by_logit.t() @ gradient if ctx.needs_input_grad[2] else None
        by_logit = by_logit.to(ctx.dtype)
        of_target = gradient[:, None]
        by_features = (by_logit @ weight.to(ctx.dtype)).to(features.dtype) * of_target
        by_weight = (by_logit.t() @ (features * of_target).to(ctx.dtype)).to(weight.dtype)
        return by_features.to(features.dtype), by_weight, by_bias, None


def widen_to_float32(tensor: Tensor) -> Tensor:
    """Convert half-precision numbers to float32: log-probabilities in bfloat16 have two digits."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def compute_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """-log softmax(features @ weight.T + bias) at the targets, (M,) float32, of features (M, H) and weight (V, H).

    On a CPU the backward pass runs once: it reuses the forward pass's memory.
    """
    if features.device.type == "cpu":
        nats: Tensor = _CrossEntropyInPlace.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
        return nats
    logits = widen_to_float32(functional.linear(features, weight, bias))
    return functional.cross_entropy(logits, targets, reduction="none")


class Softmax(nn.Linear):
    """A linear layer and a softmax over all tokens."""

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        return compute_cross_entropy(features, self.weight, self.bias, targets)

    def log_probabilities(self, features: Tensor) -> Tensor:
        return widen_to_float32(self(features)).log_softmax(1)


class AdaptiveSoftmax(nn.AdaptiveLogSoftmaxWithLoss):
    """A softmax over frequent tokens and clusters of rarer ones, each with a smaller softmax of its own.

    Grave et al. 2017, arXiv:1609.04309, with the layers of torch's module. Its own forward pass does without: it takes
    logarithms in half precision under autocast. Tokens must be numbered by falling frequency.
    """

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        bounds = torch.tensor(self.cutoffs[:-1], device=targets.device)
        clusters = torch.bucketize(targets, bounds, right=True)  # 0: the frequent tokens
        at_head = torch.where(clusters == 0, targets, self.shortlist_size - 1 + clusters)
        nats = compute_cross_entropy(features, self.head.weight, self.head.bias, at_head)
        for number, (low, tail) in enumerate(zip(self.cutoffs, self.tail, strict=False), 1):
            rows = (clusters == number).nonzero().squeeze(1)
            narrowing, words = tail.parameters()
            narrow = functional.linear(features[rows], narrowing)
            nats = nats.index_add(0, rows, compute_cross_entropy(narrow, words, None, targets[rows] - low))
        return nats

    def log_probabilities(self, features: Tensor) -> Tensor:
        head = widen_to_float32(self.head(features)).log_softmax(1)
        frequent, clusters = head[:, : self.shortlist_size], head[:, self.shortlist_size :]
        inside = [widen_to_float32(tail(features)).log_softmax(1) for tail in self.tail]
        rare = [log_p + clusters[:, number : number + 1] for number, log_p in enumerate(inside)]
        return torch.cat([frequent, *rare], 1)


class NextTokenModel(nn.Module):
    """The half of a language model that `output` is: features to the probabilities of the next token."""

    output: Softmax | AdaptiveSoftmax

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, (M,) float32 in nats, of features (M, H) and targets (M,) int64."""
        return self.output.nats(features, targets)

    def log_probabilities(self, features: Tensor) -> Tensor:
        """log p of every token, (M, vocabulary) float32, of features (M, H)."""
        return self.output.log_probabilities(features)


def build_tied_softmax(embedding: nn.Embedding, width: int, source: str, bias: bool) -> Softmax:
    """A softmax whose weights are the embedding's (Inan et al. 2017, Press and Wolf 2017).

    `source` is the option that sets `width`. Raises ValueError where the widths differ.
    """
    vocabulary, embedded = embedding.weight.shape
    if width != embedded:
        raise ValueError(
            f"tied: the output layer reads {width} features ({source}) and the embedding has {embedded}: "
            f"set embedding to {width}, {source} to {embedded}, or tied to false"
        )
    softmax = Softmax(width, vocabulary, bias)
    softmax.weight = embedding.weight
    return softmax


def build_adaptive_softmax(width: int, vocabulary: int, cutoffs: Sequence[int], bias: bool) -> AdaptiveSoftmax:
    """An adaptive softmax. Raises ValueError for cutoffs that do not rise, or leave a cluster no token or no width."""
    if sorted({*cutoffs, vocabulary}) != [*cutoffs, vocabulary]:
        raise ValueError(
            f"adaptive_cutoffs: {list(cutoffs)} must rise, and end below the {vocabulary} tokens of the vocabulary"
        )
    most = next(number for number in range(32) if width < 4 ** (number + 1))
    if len(cutoffs) > most:
        raise ValueError(
            f"adaptive_cutoffs: each cluster has a quarter of the width of the one before, and {width} features "
            f"suffice for {most}, not for {len(cutoffs)}: give fewer cutoffs or more features"
        )
    return AdaptiveSoftmax(width, vocabulary, list(cutoffs), head_bias=bias)
