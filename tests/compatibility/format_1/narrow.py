"""A plug-in model as users of format 1 wrote them."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor, nn

from dltrain.options import PositiveInt
from dltrain.registry import models

Scale = Annotated[float, Gt(0)]


@models.register("narrow")
class Narrow(nn.Module):
    """One narrow layer.

    Options:
        units: of the hidden layer.
        activation: its non-linearity.
        scale: factor of the outputs.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        units: PositiveInt = 4,
        activation: Literal["relu", "tanh"] = "tanh",
        scale: Scale = 1.0,
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, units)
        self.out = nn.Linear(units, outputs)
        self.activation = nn.ReLU() if activation == "relu" else nn.Tanh()
        self.scale = scale

    def forward(self, rows: Tensor) -> Tensor:
        result: Tensor = self.out(self.activation(self.hidden(rows))) * self.scale
        return result
