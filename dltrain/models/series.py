"""Models for series: the values after a window of steps."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional

from dltrain.models.language_rnn import build_recurrent_layer
from dltrain.options import Fraction, PositiveInt
from dltrain.registry import models


@models.register("autoregression")
class Autoregression(nn.Module):
    """A linear function of the last steps: vector autoregression, the baseline of forecasting.

    Windows (N, window, channels) to (N, outputs). Raises ValueError for more lags than the window has.

    Options:
        lags: how many of the last steps are read; the whole window when not given.
        solve: set the weights to the optimum at once, by least squares; false: train them.
    """

    def __init__(
        self, channels: int, window: int, outputs: int, *, lags: PositiveInt | None = None, solve: bool = True
    ) -> None:
        super().__init__()
        self.solve = solve
        self.lags = lags or window
        if self.lags > window:
            raise ValueError(f"lags: {lags} are more than the {window} steps of a window: lower lags, or raise window")
        self.linear = nn.Linear(self.lags * channels, outputs)
        self.index_axes = {"linear.weight": {1: "channels"}}  # all channels of a step, step after step

    @property
    def output_layer(self) -> nn.Linear:
        return self.linear

    def features(self, windows: Tensor) -> Tensor:
        return windows[:, -self.lags :].flatten(1)

    def forward(self, windows: Tensor) -> Tensor:
        outputs: Tensor = self.linear(self.features(windows))
        return outputs


@models.register("series_rnn")
class SeriesRNN(nn.Module):
    """Stacked recurrent layers over a window, and a linear layer on the last state.

    Windows (N, T, channels) to (N, outputs). Dropout of units stands between the layers and before the linear layer.

    Options:
        cell: kind of recurrent layer: rnn (Elman 1990, with tanh), lstm (Hochreiter and Schmidhuber 1997) or gru (Cho
            et al. 2014, arXiv:1406.1078).
        hidden: units of each layer.
        layers: number of layers.
        dropout: share of units dropped.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        hidden: PositiveInt = 32,
        layers: PositiveInt = 1,
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        widths = [channels] + [hidden] * (layers - 1)
        kind = "rnn_tanh" if cell == "rnn" else cell
        self.layers = nn.ModuleList(build_recurrent_layer(kind, width, hidden) for width in widths)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, windows: Tensor) -> Tensor:
        features = windows.transpose(0, 1)  # (T, N, channels)
        for layer in self.layers:
            features = functional.dropout(cast(nn.RNNBase, layer)(features)[0], self.dropout, self.training)
        outputs: Tensor = self.output(features[-1])
        return outputs
