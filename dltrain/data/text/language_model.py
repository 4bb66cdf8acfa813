"""The interface of a language model to tasks and commands."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Reading(NamedTuple):
    """A language model's output for tokens (T, N).

    `features` (T, N, H) are the inputs of its output layer. `state` is the state after the tokens: nested tuples of
    tensors, None before the first token. `penalty` () is added to the training loss, or None.
    """

    features: Tensor
    state: Any
    penalty: Tensor | None = None


class LanguageModel(Protocol):
    """A model of the next token, as the language tasks use it; any module with these methods is one."""

    def __call__(self, tokens: Tensor, state: Any) -> Reading:
        """Read tokens (T, N) int64 after `state`: column n of the state belongs to column n of the tokens."""

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, (M,) float32 in nats, of features (M, H) and targets (M,) int64."""

    def log_probabilities(self, features: Tensor) -> Tensor:
        """log p of every token, (M, vocabulary) float32, of features (M, H)."""
