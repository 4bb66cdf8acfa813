"""What a stream yields and a task consumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor, device
from typing_extensions import Self


class Movable(Protocol):
    """A batch as the trainer sees it: it knows how many examples it holds, and it can move to a device."""

    @property
    def count(self) -> int: ...

    @property
    def rate(self) -> float:
        """What the learning rate is multiplied by for this batch: 1, but for batches shorter than usual."""
        ...

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What a model is called with."""
        ...

    def to(self, device: device) -> Self: ...


B = TypeVar("B", bound=Movable)


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs (N, ...) and targets (N, ...), of N examples."""

    inputs: Tensor
    targets: Tensor
    rate: ClassVar[float] = 1.0

    @property
    def count(self) -> int:
        return self.targets.shape[0]

    @property
    def arguments(self) -> tuple[Tensor]:
        return (self.inputs,)

    def to(self, device: device) -> Batch:
        """The same batch on `device`; itself when it is there already."""
        if self.inputs.device == device:
            return self
        return Batch(self.inputs.to(device, non_blocking=True), self.targets.to(device, non_blocking=True))


NO_TARGET = -1
"""The target of a token that counts for nothing: padding, or context that another batch has scored."""


@dataclass(frozen=True, slots=True)
class Passages:
    """Stretches of text side by side: tokens `inputs` (T, N) int64, and `targets` (T, N) int64, the tokens after them.

    `count` is the number of targets that are not NO_TARGET. `continues` says that each passage goes on where the same
    column of the batch before it ended, so that a state may be carried over.
    """

    inputs: Tensor
    targets: Tensor
    count: int
    continues: bool
    rate: float = 1.0

    @property
    def arguments(self) -> tuple[Tensor, None]:
        return (self.inputs, None)

    def to(self, device: device) -> Passages:
        """The same batch on `device`; itself when it is there already."""
        if self.inputs.device == device:
            return self
        inputs, targets = (tensor.to(device, non_blocking=True) for tensor in (self.inputs, self.targets))
        return Passages(inputs, targets, self.count, self.continues, self.rate)


@dataclass(frozen=True, slots=True)
class Utterances:
    """Spoken clips: `features` (N, T, F) float32, zero after each clip's number of `frames` (N,) int64.

    `targets` (N, S) int64 are indices into the alphabet, NO_TARGET after each clip's `target_lengths` (N,) int64;
    `clips` (N,) int64 are the clips' places in their split. `count` is the number of target characters.
    """

    features: Tensor
    frames: Tensor
    targets: Tensor
    target_lengths: Tensor
    clips: Tensor
    count: int
    rate: ClassVar[float] = 1.0

    @property
    def arguments(self) -> tuple[Tensor, Tensor]:
        return (self.features, self.frames)

    def to(self, device: device) -> Utterances:
        """The same batch on `device`; itself when it is there already."""
        if self.features.device == device:
            return self
        tensors = (self.features, self.frames, self.targets, self.target_lengths, self.clips)
        features, frames, targets, lengths, clips = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return Utterances(features, frames, targets, lengths, clips, self.count)


@dataclass(frozen=True, slots=True)
class Documents:
    """Texts with a label each: tokens (N, T) int64, 0 after each text's number of tokens `lengths` (N,) int64.

    `targets` (N,) int64 are classes.
    """

    tokens: Tensor
    lengths: Tensor
    targets: Tensor
    rate: ClassVar[float] = 1.0

    @property
    def count(self) -> int:
        return self.targets.shape[0]

    @property
    def arguments(self) -> tuple[Tensor, Tensor]:
        return (self.tokens, self.lengths)

    def to(self, device: device) -> Documents:
        """The same batch on `device`; itself when it is there already."""
        if self.tokens.device == device:
            return self
        tensors = (self.tokens, self.lengths, self.targets)
        tokens, lengths, targets = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return Documents(tokens, lengths, targets)
