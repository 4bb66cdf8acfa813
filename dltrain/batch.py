"""What a stream yields and a task consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor, device, float64

from dltrain.errors import DltrainError, UsageError


class Batch(Protocol):
    """A batch as the trainer sees it: a frozen dataclass with tensors among its fields, of a number of examples."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def count(self) -> int:
        """How many examples (or tokens, or characters) the loss is a mean over."""

    @property
    def rate(self) -> float:
        """The factor of the learning rate for this batch: 1, but for batches shorter than usual."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments that a model is called with."""


B = TypeVar("B", bound=Batch)


MEMBERS = ("count", "rate", "arguments")


def check_batch(batch: object, source: str) -> None:
    """Raises DltrainError for what a stream of `source` yields, where that is no batch, such as a plain tuple."""
    missing = [name for name in MEMBERS if not hasattr(batch, name)]
    if is_dataclass(batch) and not missing:
        return
    fault = f"lacks {', '.join(missing)}" if is_dataclass(batch) else "is no dataclass"
    raise DltrainError(
        f"{source} yields a batch of the type {type(batch).__name__}, which {fault}: dltrain.batch.Batch requires a "
        f"frozen dataclass with {', '.join(MEMBERS)}",
        advice="yield dltrain.batch.Examples(inputs, targets), or a dataclass as docs/extending.md describes it",
    )


def to_device(batch: B, target: device) -> B:
    """`batch` with its tensors on the device `target`; `batch` itself if they are there already."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if all(tensor.device == target for tensor in tensors.values()):
        return batch
    return replace(batch, **{name: move_tensor(tensor, target) for name, tensor in tensors.items()})


def move_tensor(tensor: Tensor, target: device) -> Tensor:
    """`tensor` on the device `target`; float64 becomes float32 on MPS, which lacks it."""
    narrowed = tensor.float() if target.type == "mps" and tensor.dtype == float64 else tensor
    return narrowed.to(target, non_blocking=True)


@runtime_checkable
class Divisible(Protocol):
    """A batch whose examples can be computed in several parts: their losses, weighted by count, give the batch's."""

    def divide(self, parts: int) -> Sequence[Batch]:
        """Up to `parts` batches of nearly the same size with this one's examples, in order."""


def divide_batch(batch: Batch, parts: int) -> Sequence[Batch]:
    """The parts of a batch; the batch itself where it cannot be divided, or where a state is carried through it."""
    divisible = parts > 1 and isinstance(batch, Divisible) and not continues_before(batch)
    return batch.divide(parts) if divisible else [batch]  # type: ignore[attr-defined]


def shard_batch(batch: Batch, shards: int) -> Sequence[Batch]:
    """The shards of a batch, fewer where it has fewer examples. Raises UsageError where it cannot be divided.

    Where batches continue each other, a shard continues the same shard of the batch before it.
    """
    if not isinstance(batch, Divisible):
        raise UsageError(
            f"trainer.shards: {shards}, but batches of the type {type(batch).__name__} cannot be divided",
            advice="set trainer.shards: 1, or give the batch a method divide, as docs/extending.md describes",
        )
    return batch.divide(shards)


def continues_before(batch: Batch) -> bool:
    """Whether each example of a batch continues the same one of the batch before it, with a state that is carried."""
    return bool(getattr(batch, "continues", False))


def divide_tensors(batch: B, parts: int) -> list[B]:
    """Divide each of a batch's tensors (N, ...) by its first axis, and leave other values as they are."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    pieces = min(parts, min(len(tensor) for tensor in tensors.values()))
    columns = (tensor.tensor_split(pieces) for tensor in tensors.values())
    return [replace(batch, **dict(zip(tensors, row, strict=True))) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, slots=True)
class Examples:
    """Inputs (N, ...) and targets (N, ...), of N examples.

    `weights` (N,) float32 are how much each example counts in the loss, 1 on average over the training split; None for
    1 each. A loss is the mean over the N examples of weight times loss.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    rate: ClassVar[float] = 1.0

    @property
    def count(self) -> int:
        return self.targets.shape[0]

    @property
    def arguments(self) -> tuple[Tensor]:
        return (self.inputs,)

    def divide(self, parts: int) -> list[Examples]:
        return divide_tensors(self, parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedExamples(Examples):
    """Examples that are each a mixture of two: the targets (N, ...), and `partners`, those of the other ones.

    `shares` (N,) float32 are how much of each loss the targets decide, in 0..1; `partners` decide the rest.
    """

    partners: Tensor
    shares: Tensor

    def separate(self) -> tuple[Examples, Examples]:
        """The same inputs with each of the two targets, weighted by their shares: the losses add up to the batch's."""
        ours, theirs = self.shares, 1 - self.shares
        if self.weights is not None:
            ours, theirs = self.weights * ours, self.weights * theirs
        return Examples(self.inputs, self.targets, ours), Examples(self.inputs, self.partners, theirs)


NO_TARGET = -1
"""The target of a token that counts for nothing: padding, or context that another batch has scored."""
