"""What a task is, to the trainer: a step, a score and a report. What else it can do are capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from dltrain.batch import Movable
from dltrain.goal import Goal

B_contra = TypeVar("B_contra", bound=Movable, contravariant=True)

Counts = Mapping[str, Any]
"""Additive counts: adding those of two sets of examples gives those of both together. Tensors, but for `Each`."""


@dataclass(frozen=True)
class Each:
    """Values of each example: the count for what no sum can tell, such as how examples rank. Adding puts them together.

    `parts` are tensors (n, ...), one for each batch.
    """

    parts: tuple[Tensor, ...]

    def __add__(self, other: Each) -> Each:
        return Each(self.parts + other.parts)

    def values(self) -> Tensor:
        """Those of all examples, (N, ...)."""
        return torch.cat(self.parts)


class Step(NamedTuple):
    """The loss of one batch (its mean over the batch's count), and what the next step starts from."""

    loss: Tensor
    carry: Any = None


class Score(NamedTuple):
    """The counts of one batch, and what the next one starts from."""

    counts: Counts
    carry: Any = None


class Task(Protocol[B_contra]):
    """A task is frozen: it never changes while training."""

    goal: Goal

    @property
    def sizes(self) -> Mapping[str, int]:
        """The sizes that a model is built with, by parameter name."""
        ...

    def step(self, model: nn.Module, batch: B_contra, carry: Any) -> Step: ...

    def score(self, model: nn.Module, batch: B_contra, carry: Any) -> Score: ...

    def report(self, counts: Counts) -> dict[str, float]:
        """The metrics of a whole split: the one division. Holds `loss` and the goal's metric."""
        ...


class Reading(NamedTuple):
    """What a language model makes of tokens (T, N).

    `features` (T, N, H) is what its output layer reads. `state` is where the next tokens go on from: nested tuples of
    tensors, None before the first token. `penalty` () is added to the training loss, or None.
    """

    features: Tensor
    state: Any
    penalty: Tensor | None = None


class LanguageModel(Protocol):
    """A model of the next token, as the language tasks use it; any module with these methods is one."""

    def __call__(self, tokens: Tensor, state: Any) -> Reading:
        """Read tokens (T, N) int64 on from `state`: column n of the state belongs to column n of the tokens."""
        ...

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, (M,) float32 in nats, of features (M, H) and targets (M,) int64."""
        ...

    def log_probabilities(self, features: Tensor) -> Tensor:
        """log p of every token, (M, vocabulary) float32, of features (M, H)."""
        ...


class AcousticModel(Protocol):
    """A model of what was said, as the speech tasks use it; any module with this method is one."""

    def __call__(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, T, F) of `frames` (N,) to log-probabilities (N, T', alphabet) float32 and their lengths (N,).

        T' is T / subsampling, rounded up. What lies after a clip's frames changes nothing.
        """
        ...


Decoder = Callable[[Tensor, Tensor], list[list[int]]]
"""Log-probabilities (N, T, alphabet) and frames (N,) to the symbols of each clip."""


class Word(NamedTuple):
    """A word, its frames `first` <= frame < `end`, and its confidence: its symbols' geometric mean probability."""

    text: str
    first: int
    end: int
    confidence: float


class Transcript(NamedTuple):
    """What a clip says; the words' places are counted in frames of the features."""

    text: str
    words: Sequence[Word]


class Judgement(NamedTuple):
    """A clip by its place in the split, what was said, what was understood, and -log p of the former in nats.

    `nats` is None for a clip with more characters than CTC can place in its frames.
    """

    clip: int
    reference: str
    hypothesis: str
    nats: float | None


@runtime_checkable
class Shows(Protocol):
    """Can show in a few lines of text what a model does by now."""

    def show(self, model: nn.Module, device: torch.device, number: int) -> Sequence[str]:
        """Lines to read; another `number`, such as the epoch's, draws another sample."""
        ...


@runtime_checkable
class Decides(Protocol):
    """Can give a label that is not the most probable one, such as where one mistake costs more than another."""

    def decisions(self, probabilities: Tensor) -> Tensor:
        """Probabilities (N, classes) to the classes that are given, (N,) int64."""
        ...


@runtime_checkable
class Generates(Protocol):
    """Its model continues text; `vocabulary` are a `dltrain.data.text.vocabulary.Vocabulary`'s assets."""

    vocabulary: Mapping[str, Any]


@runtime_checkable
class Classifies(Protocol):
    """Can say, class by class, what was taken for what."""

    labels: Sequence[str]

    def confusion(self, counts: Counts) -> Tensor:
        """(classes, classes) int64: rows are the truth, columns the prediction."""
        ...

    def by_class(self, counts: Counts) -> Mapping[str, Tensor]:
        """Precision, recall, F1 and the number of examples of each class, (classes,) float64 each."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """Can label inputs of the user's."""

    labels: Sequence[str]

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, classes) float32."""
        ...


@runtime_checkable
class Estimates(Protocol):
    """Can give numbers for inputs of the user's, in the units of the user's data."""

    outputs: Sequence[str]

    def estimates(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, outputs) float32."""
        ...


@runtime_checkable
class Forecasts(Estimates, Protocol):
    """Estimates what comes next, in batches that follow each other in time."""

    def in_units(self, values: Tensor) -> Tensor:
        """A batch's targets (N, outputs) in the units of the data, float32 on the CPU."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """Can give back what it was given, as far as it passed through the model."""

    def reconstructions(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, ...) float32, as the inputs are."""
        ...


@runtime_checkable
class Transcribes(Protocol):
    """Can write down what is said in sound of the user's."""

    alphabet: Sequence[str]
    """Symbol 0 is CTC's blank; without a space among them, each character is a word."""

    def transcribe(self, model: nn.Module, features: Tensor, frames: Tensor, decoder: Decoder) -> list[Transcript]:
        """Features (N, T, bands) of `frames` (N,) to what each clip says."""
        ...


@runtime_checkable
class Judges(Protocol):
    """Can tell, clip by clip, what was said and what a decoder makes of it."""

    alphabet: Sequence[str]

    def judge(self, model: nn.Module, batch: Any, decoder: Decoder) -> list[Judgement]: ...

    def tally(self, judgements: Sequence[Judgement]) -> Counts:
        """The counts of some clips, additive as those of `Task.score`."""
        ...

    def compared(self, judgement: Judgement) -> Sequence[tuple[str | None, str | None]]:
        """What was said beside what was understood, aligned; None where one of them has nothing."""
        ...

    def worst(self, judgements: Sequence[Judgement], number: int) -> Sequence[Judgement]:
        """The `number` judgements with the most mistakes; none without any."""
        ...

    def confused(self, counts: Counts, number: int) -> Sequence[tuple[str, str, int]]:
        """The `number` most frequent mistakes: what was said, what was understood, how often; "" for nothing."""
        ...
