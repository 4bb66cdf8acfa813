"""The layers that a config can list: their options, and the shape that each one makes. No torch here.

An option of a layer is declared here alone: the check of a config, the JSON Schema, the documentation and the modules
that `dltrain.models.sequential` builds all go by these classes.

Steps come before channels, (T, C), and an image's channels before its height and width, (C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from annotated_types import Gt, Le, MaxLen, MinLen

from dltrain.architecture.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, GlobalMaxPool, MaxPool, Upsample
from dltrain.architecture.shapes import UNKNOWN, ExampleShape, Layer, Size, divides, to_dimension
from dltrain.options import Activation, Fraction, Named, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Dense(Layer):
    """Every unit a weighted sum of all numbers; of a sequence, of each step's numbers.

    An image is not read: put flatten or global_avg_pool before it.

    Options:
        units: numbers that come out.
        bias: add a number to each of them.
    """

    units: Size
    bias: bool = True
    sized = ("units",)

    def after(self, before: ExampleShape) -> ExampleShape:
        if before.is_image:
            raise ValueError(f"it reads (features) or (steps, channels), found {before}: put flatten before it")
        return ExampleShape((*before.sizes[:-1], to_dimension(self.units)))


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each channel with mean 0 and variance 1 over the batch, then scaled and shifted (Ioffe and Szegedy 2015,
    arXiv:1502.03167).

    Sequences of different lengths are not read, since their padding would count: use layer_norm.

    Options:
        momentum: share of each batch in the running mean and variance, which are used outside training.
        epsilon: added to the variance.
    """

    momentum: Annotated[float, Gt(0), Le(1)] = 0.1
    epsilon: PositiveFloat = 1e-5

    def after(self, before: ExampleShape) -> ExampleShape:
        _refuse_padding(before)
        return before


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Each example with mean 0 and variance 1, each step of a sequence by itself (Ba et al. 2016, arXiv:1607.06450).

    Of an image all channels and pixels count together. Then each number is scaled and shifted.

    Options:
        epsilon: added to the variance.
    """

    epsilon: PositiveFloat = 1e-5


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Each group of channels of each example with mean 0 and variance 1 (Wu and He 2018, arXiv:1803.08494).

    Sequences of different lengths are not read, since their padding would count: use layer_norm.

    Options:
        groups: into how many groups the channels are divided.
        epsilon: added to the variance.
    """

    groups: PositiveInt
    epsilon: PositiveFloat = 1e-5

    def after(self, before: ExampleShape) -> ExampleShape:
        _refuse_padding(before)
        channels = before.sizes[-1 if before.is_sequence else 0]
        if not divides(self.groups, channels):
            raise ValueError(f"its {self.groups} groups do not divide the {channels} channels of {before}")
        return before


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, numbers drawn at random become zero and the others larger (Srivastava et al. 2014).

    Options:
        share: probability of each number to be dropped.
    """

    share: Fraction = 0.5


@dataclass(frozen=True)
class Flatten(Layer):
    """All numbers of an example in a row."""

    def after(self, before: ExampleShape) -> ExampleShape:
        if before.varies:
            raise ValueError(
                f"{before} has another length in each batch, and no fixed number of features: use global_avg_pool, "
                "global_max_pool, or a recurrent layer with returns: last"
            )
        return ExampleShape((before.count,))


@dataclass(frozen=True)
class Reshape(Layer):
    """The numbers of an example, in their order, in another shape.

    Options:
        shape: (features), (steps, channels) or (channels, height, width).
    """

    shape: Annotated[list[Size], MinLen(1), MaxLen(3)]
    sized = ("shape",)

    def after(self, before: ExampleShape) -> ExampleShape:
        if before.varies:
            raise ValueError(f"{before} has another length in each batch, and cannot be put into a fixed shape")
        wanted = ExampleShape(tuple(map(to_dimension, self.shape)))
        if before.count is not UNKNOWN and wanted.count is not UNKNOWN and before.count != wanted.count:
            raise ValueError(f"{before} holds {before.count} numbers, and {wanted} needs {wanted.count}")
        return wanted


@dataclass(frozen=True)
class Embedding(Layer):
    """A vector of weights for each token of the vocabulary: the first layer of a model of texts.

    Options:
        width: numbers in each vector.
    """

    width: PositiveInt

    def after(self, before: ExampleShape) -> ExampleShape:
        if not before.tokens:
            raise ValueError(f"it reads tokens, found {before}")
        return ExampleShape((*before.sizes, self.width))


@dataclass(frozen=True)
class Recurrent(Layer):
    """A recurrent layer.

    Options:
        units: numbers that come out for each step.
        bidirectional: a second one reads from the end, and its units come beside the first one's.
        returns: what comes out: the units at the last step (of the backward one at the first), or at every step.
    """

    units: Size
    bidirectional: bool = False
    returns: Literal["last", "sequence"] = "last"
    sized = ("units",)

    def after(self, before: ExampleShape) -> ExampleShape:
        if not before.is_sequence:
            raise ValueError(f"it reads (steps, channels), found {before}")
        units = to_dimension(self.units)
        if self.bidirectional and isinstance(units, int):
            units *= 2
        return ExampleShape((before.sizes[0], units) if self.returns == "sequence" else (units,))


@dataclass(frozen=True)
class RNN(Recurrent):
    """A plain recurrent layer (Elman 1990). Padding after a text's last token changes nothing.

    Options:
        activation: the non-linearity.
    """

    activation: Literal["tanh", "relu"] = "tanh"


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997). Padding after a text's last token changes nothing."""


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014, arXiv:1406.1078). Padding after a text's last token changes nothing."""


@dataclass(frozen=True)
class NonLinearity(Layer):
    """A function of each number by itself."""


@dataclass(frozen=True)
class Block(Layer):
    """Layers within a layer."""


@dataclass(frozen=True)
class Residual(Block):
    """What its layers make of their input, and the input added to it (He et al. 2016, arXiv:1512.03385).

    Where the two have different shapes, the input passes through a dense layer, or a 1 x 1 convolution with the stride
    that gives the size; where there is none, padding: same in the inner layers helps.

    Options:
        layers: the layers that the input is led past.
    """

    layers: Layers


@dataclass(frozen=True)
class Repeat(Block):
    """The same layers several times in a row, each time with weights of their own.

    Options:
        times: how often.
        layers: the layers.
    """

    times: PositiveInt
    layers: Layers


LAYERS: dict[str, type[Layer]] = {
    "dense": Dense,
    "conv1d": Conv1d,
    "conv2d": Conv2d,
    "max_pool": MaxPool,
    "avg_pool": AvgPool,
    "global_avg_pool": GlobalAvgPool,
    "global_max_pool": GlobalMaxPool,
    "upsample": Upsample,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "group_norm": GroupNorm,
    "dropout": Dropout,
    "flatten": Flatten,
    "reshape": Reshape,
    "embedding": Embedding,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    **dict.fromkeys(get_args(Activation), NonLinearity),
    "residual": Residual,
    "repeat": Repeat,
}
ABSENT = {
    "linear": "it is called dense here",
    "softmax": "the tasks take plain scores and apply it themselves; leave it out",
    "input": "the task's data says what comes in; leave it out",
}

Layers = Annotated[list[Annotated[Any, Named("layer", LAYERS, ABSENT)]], MinLen(1)]


def _refuse_padding(before: ExampleShape) -> None:
    if before.varies:
        raise ValueError(f"{before} has another length in each batch, and its padding would count: use layer_norm")
