"""What a stream yields and a task consumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, device
from typing_extensions import Self


class Movable(Protocol):
    """A batch as the trainer sees it: it knows how many examples it holds, and it can move to a device."""

    @property
    def count(self) -> int: ...

    def to(self, device: device) -> Self: ...


B = TypeVar("B", bound=Movable)


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs (N, ...) and targets (N,), of N examples."""

    inputs: Tensor
    targets: Tensor

    @property
    def count(self) -> int:
        return self.targets.shape[0]

    def to(self, device: device) -> Batch:
        """The same batch on `device`; itself when it is there already."""
        if self.inputs.device == device:
            return self
        return Batch(self.inputs.to(device, non_blocking=True), self.targets.to(device, non_blocking=True))
