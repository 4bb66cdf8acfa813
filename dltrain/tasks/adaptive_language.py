"""Language models that adapt to the text they are evaluated on: by a cache of it, or by learning from it.

Each is scored through `dltrain.core.evaluate` like a task, and its counts are the task's own, so the task reports them.
A token is predicted only from the tokens before it, so the probabilities stay honest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dltrain.batch import NO_TARGET
from dltrain.data.text.language_model import LanguageModel
from dltrain.data.text.passages import Passages
from dltrain.task import Counts, Score
from dltrain.tree import map_tensors

EPSILON = 2e-5
"""Added to the root mean square of a weight's gradient: a weight without gradients takes no infinite step."""

WINDOWS = "windows"


@runtime_checkable
class Adapts(Protocol):
    """Scores passages with a LanguageModel, and counts the same from other probabilities."""

    def score(self, model: nn.Module, batch: Passages, carry: Any) -> Score:
        """As a task's; `nats` among the counts is the sum over the batch, with its graph where gradients are on."""

    def tally(self, log_probabilities: Callable[[slice], Tensor], targets: Tensor) -> Counts:
        """The counts of targets (M,); `log_probabilities` gives (rows, vocabulary) of a slice of them."""


class CacheState(NamedTuple):
    """The newest tokens read: the model's state after them, their features (S, N, H) float32 and the tokens (S, N)."""

    state: Any
    features: Tensor
    tokens: Tensor


@dataclasses.dataclass(frozen=True)
class NeuralCache:
    """The continuous cache (Grave, Joulin and Usunier 2017, arXiv:1612.04426).

    p = (1 - weight) p_model + weight p_cache. The cache of a token holds the features h_i of the last `size` positions
    before it, each with the token after it; p_cache(w) is proportional to the sum of exp(flatness h_t . h_i) over the
    i that w follows. The first token of a text has no cache, and the model's own probability.

    All tokens of a passage enter the cache, also those without a target. Passages that continue nothing start with an
    empty cache.
    """

    task: Adapts
    size: int
    weight: float
    flatness: float

    def score(self, model: nn.Module, batch: Passages, carry: CacheState | None) -> Score:
        reader = cast(LanguageModel, model)
        before = carry if batch.continues else None
        reading = reader(batch.inputs, None if before is None else before.state)
        rows, columns = (batch.targets != NO_TARGET).nonzero(as_tuple=True)
        scored = reading.features[rows, columns]  # (M, H)
        features, tokens = reading.features.float(), batch.inputs
        if before is not None:
            features, tokens = torch.cat([before.features, features]), torch.cat([before.tokens, tokens])
        attention = self.attend(features, len(batch.inputs))
        followers = tokens[1:]  # (K, N): the token after each position of the cache

        def mixed(some: slice) -> Tensor:
            row, column = rows[some], columns[some]
            return self.mix(reader.log_probabilities(scored[some]), attention[column, row], followers[:, column].T)

        counts = self.task.tally(mixed, batch.targets[rows, columns])
        return Score(counts, CacheState(reading.state, features[-self.size :], tokens[-self.size :]))

    def attend(self, features: Tensor, length: int) -> Tensor:
        """For each of the last `length` positions of features (S + T, N, H), its share of each earlier one.

        (N, T, S + T - 1) float32; rows sum to one, except that of a position without an earlier one, which is zero.
        """
        known = features.transpose(0, 1)  # (N, S + T, H)
        with torch.autocast(features.device.type, enabled=False):
            alike = known[:, -length:] @ known[:, :-1].transpose(1, 2)
        positions = torch.arange(len(features), device=features.device)
        ages = positions[-length:, None] - positions[:-1]
        absent = (ages < 1) | (ages > self.size)
        return (self.flatness * alike).masked_fill(absent, -torch.inf).softmax(2).masked_fill(absent, 0)

    def mix(self, log_probabilities: Tensor, attention: Tensor, followers: Tensor) -> Tensor:
        """Log-probabilities (M, vocabulary) of model and cache together; attention and followers are (M, K)."""
        cache = torch.zeros_like(log_probabilities).scatter_add_(1, followers, attention)
        weight = torch.where(attention.any(1, keepdim=True), self.weight, 0.0)
        return torch.logaddexp(log_probabilities + torch.log1p(-weight), (weight * cache).log())


class AdaptedWeights(NamedTuple):
    """The carry of the task's last score, and the current weights."""

    carry: Any
    weights: Mapping[str, Tensor]


class DynamicEvaluation:
    """Scores each window, then learns from it (Krause, Kahembwe, Murray and Renals 2018, arXiv:1709.07432).

    weights <- weights - learning_rate * gradient of the window's mean loss + decay * (the trained weights - weights).

    With `roots`, the root mean square of each weight's gradient over the training text, the gradient is divided by
    them, and the decay of each weight is multiplied by its root over the mean of all parameters' mean roots, to 1 at
    most. Neither the model nor its dropout changes.
    """

    def __init__(
        self, task: Adapts, learning_rate: float, decay: float, roots: Mapping[str, Tensor] | None = None
    ) -> None:
        self.task = task
        self.learning_rate = learning_rate
        self.decay = decay
        self.divisors: dict[str, Tensor] = {}
        self.decays: dict[str, Tensor] = {}
        if roots is not None:
            mean = torch.stack([root.mean() for root in roots.values()]).mean()
            self.divisors = {name: root + EPSILON for name, root in roots.items()}
            self.decays = {name: (decay * root / mean).clamp(max=1) for name, root in roots.items()}

    def score(self, model: nn.Module, batch: Passages, carry: AdaptedWeights | None) -> Score:
        with torch.inference_mode(False):
            trained = trainable_weights(model)
            before = carry or AdaptedWeights(None, trained)
            score, gradients = differentiate(self.task, model, batch, before.carry, weights=before.weights)
            weights = {
                name: self.update_weight(name, weight, gradients[name], trained[name])
                for name, weight in before.weights.items()
            }
        return Score(score.counts, AdaptedWeights(score.carry, weights))

    def update_weight(self, name: str, weight: Tensor, gradient: Tensor, trained: Tensor) -> Tensor:
        if self.decay:
            weight = torch.lerp(weight, trained, self.decays.get(name, self.decay))
        if name in self.divisors:
            return torch.addcdiv(weight, gradient, self.divisors[name], value=-self.learning_rate)
        return torch.sub(weight, gradient, alpha=self.learning_rate)


@dataclasses.dataclass(frozen=True)
class GradientSquares:
    """Counts the squares of the gradients of each window's mean loss: evaluated over the training text."""

    task: Adapts

    def score(self, model: nn.Module, batch: Passages, carry: Any) -> Score:
        with torch.inference_mode(False):
            score, gradients = differentiate(self.task, model, batch, carry, weights=trainable_weights(model))
            squares = {name: gradient.square() for name, gradient in gradients.items()}
        return Score({**squares, WINDOWS: torch.ones((), dtype=torch.int64)}, score.carry)


def compute_root_mean_squares(counts: Counts) -> dict[str, Tensor]:
    """The root mean square over the windows of each weight's gradient, by parameter, of GradientSquares' counts."""
    return {name: (squares / counts[WINDOWS]).sqrt() for name, squares in counts.items() if name != WINDOWS}


class ScoredModel(nn.Module):
    """A model's score as a module's output, so that `functional_call` can replace the weights."""

    def __init__(self, task: Adapts, model: nn.Module) -> None:
        super().__init__()
        self.task = task
        self.model = model

    def forward(self, batch: Passages, carry: Any) -> Score:
        return self.task.score(self.model, batch, carry)


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, by name; one that the model uses twice appears once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def differentiate(
    task: Adapts, model: nn.Module, batch: Passages, carry: Any, *, weights: Mapping[str, Tensor]
) -> tuple[Score, dict[str, Tensor]]:
    """The model's score with `weights` in place of its own, and the gradients of its mean loss."""
    # Tensors made in inference mode have no gradients, hence the clones. cuDNN's recurrent kernels have none in
    # evaluation mode; PyTorch's own kernels do.
    batch = dataclasses.replace(batch, inputs=batch.inputs.clone(), targets=batch.targets.clone())
    leaves = {f"model.{name}": weight.detach().requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        score: Score = functional_call(ScoredModel(task, model), leaves, (batch, carry))
        if batch.count:
            loss = score.counts["nats"] / batch.count
            gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        else:
            gradients = tuple(map(torch.zeros_like, leaves.values()))
    torch.clear_autocast_cache()  # it would keep a copy of every window's weights until the evaluation ends
    counts = {name: count.detach() for name, count in score.counts.items()}
    return Score(counts, map_tensors(score.carry, Tensor.detach)), dict(zip(weights, gradients, strict=True))
