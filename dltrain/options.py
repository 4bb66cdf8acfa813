"""The types that options are declared with: bounds and choices, without torch.

Options that belong to one kind of data are with that kind, such as `dltrain.data.images.options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
"""A share of a whole, 0 <= x < 1: dropout, momentum, validation split."""
UnitInterval = Annotated[float, Ge(0), Le(1)]
Widths = Annotated[list[PositiveInt], MinLen(1)]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]


AUTO = "auto"


@dataclass(frozen=True)
class OrAuto:
    """Metadata of a number in whose place `auto` is allowed; a constructor never gets that."""


BatchSize = Annotated[int, Ge(1), OrAuto()]


@dataclass(frozen=True)
class Location:
    """Metadata of a text that is a path, relative to the file in which it is written.

    `holds` says what is there: a folder of data (where it is does not matter, only what it holds), a file of data
    (inside the folder that the option `root` names, if its constructor has one), or the source of something, which may
    be a file, a folder or an address.
    """

    holds: Literal["folder", "file", "source"]


FolderPath = Annotated[str, Location("folder")]
FilePath = Annotated[str, Location("file")]
FilePaths = Annotated[list[FilePath], MinLen(1)]
SourcePath = Annotated[str, Location("source")]
"""A constructor gets paths that can be opened from the working directory."""

Device = Literal[
    "auto", "gpu", "cpu", "mps", "cuda",
    "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7",
    "cuda:8", "cuda:9", "cuda:10", "cuda:11", "cuda:12", "cuda:13", "cuda:14", "cuda:15",
]  # fmt: skip


@dataclass(frozen=True)
class Fold:
    """One part of a cross-validation: what its test split holds is kept out of training and validation.

    Options:
        index: which fold is the test split, counted from 0.
        of: how many folds the training data is divided into.
    """

    index: NonNegativeInt = 0
    of: Annotated[int, Ge(2)] = 5

    def __post_init__(self) -> None:
        if self.index >= self.of:
            raise ValueError(f"there is no fold {self.index} of {self.of}; they are counted from 0")


@dataclass(frozen=True)
class Plan:
    """How long and how to train: the `trainer` section.

    Options:
        epochs: passes over the training set.
        device: auto (the CUDA device with most free memory, else mps, else cpu), gpu (the same, but never cpu), cpu,
            cuda, cuda:N or mps.
        precision: number format of the forward pass; fp16 uses a gradient scaler.
        max_steps: stop after this many updates, within an epoch too, and evaluate there; `epochs` still counts.
        validate_every_steps: updates between two evaluations within an epoch, besides the one at its end; patience,
            nt_asgd and schedules that wait for scores then count evaluations.
        accumulate: batches whose gradients are summed before each update.
        shards: parts that each batch is divided into. Chance and rounding depend on this number, and not on how many
            processes share the parts, so it belongs to the experiment. Batch normalisation sees one part at a time.
        clip_norm: scale the gradient down to this norm when it is longer.
        patience: stop after this many epochs without a better validation score, or an equal one with a lower loss.
        ema: decay of an exponential moving average of the weights; the average is evaluated. After n updates the decay
            is at most (1 + n) / (10 + n), so that the average of a short run is not that of its first weights.
        nt_asgd: average the weights, each update counting alike, from the epoch on whose validation score was worse
            than the best of all but this many epochs before it (Merity et al. 2018, arXiv:1708.02182); the average is
            what is evaluated.
        log_every_steps: updates between two lines of the log.
        checkpoint_every_epochs: epochs between two checkpoints.
        checkpoint_every_steps: updates between two checkpoints, within epochs too.
        checkpoint_every_minutes: minutes between two checkpoints, within epochs too.
        keep_last: how many of the newest checkpoints to keep; the best ones are kept besides.
        keep_best: how many of the best checkpoints to keep, by the metric that decides; of equal scores the lower loss
            is the better.
        compile: run the model through torch.compile.
        channels_last: keep weights with the channels innermost; convolutions may run faster so, bf16 ones above all.
        deterministic: only deterministic algorithms, an error where there is none.
        threads: CPU threads; when not given OMP_NUM_THREADS, or the cores that this process may use: by its affinity
            and its container's quota. A resumed run takes over the number that it was started with.
    """

    epochs: PositiveInt = 10
    max_steps: PositiveInt | None = None
    validate_every_steps: PositiveInt | None = None
    device: Device = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: PositiveInt = 1
    shards: PositiveInt = 1
    clip_norm: PositiveFloat | None = None
    patience: PositiveInt | None = None
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    nt_asgd: PositiveInt | None = None
    log_every_steps: PositiveInt = 100
    checkpoint_every_epochs: PositiveInt = 1
    checkpoint_every_steps: PositiveInt | None = None
    checkpoint_every_minutes: PositiveFloat | None = None
    keep_last: PositiveInt = 2
    keep_best: PositiveInt = 1
    compile: bool = False
    channels_last: bool = False
    deterministic: bool = False
    threads: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.ema is not None and self.nt_asgd is not None:
            raise ValueError("ema and nt_asgd both say how weights are averaged; give one, and null for the other")


@dataclass(frozen=True)
class Weights:
    """What training starts from, and how far each weight may move: the `weights` section.

    Patterns are names of parameters with * and ?, such as `features.*`; `dltrain summary` lists the names.

    Options:
        initialization: how matrices and filters are drawn; null leaves it to each layer.
        initial_range: the scheme uniform draws from [-x, x].
        init_from: a run directory, a checkpoint, or a .safetensors or .pth file, here or at an https address, whose
            tensors replace those of the same name and shape. The SHA-256 that a file at an address must have follows
            it, as in https://host/net.safetensors#sha256=..., or stands in a mapping of url and sha256.
        match: names (what belongs to a word, a column or a class goes to the same one here) or position (the first to
            the first, whatever they stand for).
        freeze: patterns of the parameters that never change.
        learning_rates: what the learning rate is multiplied by, by pattern; the first that fits counts.
        decay_all: let weight decay act on biases and normalisations too; otherwise it spares them.
    """

    initialization: (
        Literal["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "uniform"] | None
    ) = None
    initial_range: PositiveFloat = 0.1
    init_from: SourcePath | None = None
    match: Literal["names", "position"] = "names"
    freeze: list[str] = field(default_factory=list)
    learning_rates: dict[str, PositiveFloat] = field(default_factory=dict)
    decay_all: bool = False


@dataclass(frozen=True, eq=False)
class Named:
    """Metadata of a type: one of `groups`, chosen by its name.

    In YAML it is the name alone, or a mapping of that one name to its options, or to the value of its first option:
    ``relu``, ``{dense: {units: 64, bias: false}}``, ``{dense: 64}``. Checked, it is ``{name: {option: value, ...}}``
    with every option. `noun` is what one of them is called; those in a list are numbered. `absent` says of names that
    people look for, and that are not there, what to do instead.
    """

    noun: str
    groups: Mapping[str, type]
    """Frozen dataclasses, with an `Options:` section in the docstring."""
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Registered:
    """Metadata of a type: a registered function of one `kind`, chosen by its name.

    In YAML it is the name alone, a mapping with `name` and options, or a mapping of the name to its options, or to the
    value of its first option: ``huber``, ``{name: huber, delta: 2}``, ``{huber: {delta: 2}}``, ``{huber: 2}``. A
    constructor gets a `dltrain.registry.BoundFunction`, but for a default, which stays a name. `takes` is what its
    fact `takes` must name, if it has to.
    """

    kind: str
    takes: str | None = None


ClassLoss = Annotated[Any, Registered("loss", "classes")]
NumberLoss = Annotated[Any, Registered("loss", "numbers")]
ImageLoss = Annotated[Any, Registered("loss", "images")]
ClassMetrics = list[Annotated[Any, Registered("metric", "classes")]]
NumberMetrics = list[Annotated[Any, Registered("metric", "numbers")]]
Augmentations = list[Annotated[Any, Registered("augmentation")]]
