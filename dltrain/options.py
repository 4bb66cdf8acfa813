"""The types that options are declared with: bounds and choices, without torch.

Annotations of registered constructors may use these names, the built-in types, ``Literal``, ``Annotated`` and
aliases defined by assignment in the same file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
"""A share of a whole, 0 <= x < 1: dropout, momentum, validation split."""
UnitInterval = Annotated[float, Ge(0), Le(1)]
Widths = Annotated[list[PositiveInt], MinLen(1)]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]


Device = Literal[
    "auto", "cpu", "mps", "cuda",
    "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7",
    "cuda:8", "cuda:9", "cuda:10", "cuda:11", "cuda:12", "cuda:13", "cuda:14", "cuda:15",
]  # fmt: skip


@dataclass(frozen=True)
class Augmentation:
    """Random changes to each training image, drawn from (seed, epoch, example).

    Options:
        rotation_degrees: rotate by an angle drawn from [-x, x].
        scale: enlarge by a factor drawn from [low, high].
        shift: move by a share of the width and of the height, each drawn from [-x, x].
        flip: mirror with probability one half.
        erase: probability of blanking a random rectangle (Zhong et al. 2017, arXiv:1708.04896).
    """

    rotation_degrees: Annotated[float, Ge(0), Le(180)] = 0.0
    scale: Annotated[list[PositiveFloat], MinLen(2), MaxLen(2)] | None = None
    shift: Fraction = 0.0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    erase: UnitInterval = 0.0


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
class LogMel:
    """The logarithm of sound's power in bands of the mel scale, window by window.

    Options:
        bands: triangular filters, evenly spaced on the mel scale and of equal area.
        window_ms: length of the Hann windows, in milliseconds.
        hop_ms: milliseconds from one window to the next.
        low_hz: where the lowest band begins.
        high_hz: where the highest band ends; half the sample rate when not given.
        scale: the mel scale: slaney (linear up to 1 kHz) or htk.
        speech_db: windows weaker than the loudest of the clip by more than this are quiet, and do not count in the mean
            and variance that features are normalised with, so that it does not matter how closely a recording was cut;
            and no band is lower than 3 deviations below its mean, so that digital silence is like any quiet. When not
            given, all windows count, and nothing is raised.
        backend: the library that computes them; the two agree to 1e-4.
        device: where torchaudio computes them: cpu, or auto for a CUDA device if there is one; it needs float64.
    """

    bands: PositiveInt = 80
    window_ms: PositiveFloat = 25.0
    hop_ms: PositiveFloat = 10.0
    low_hz: NonNegativeFloat = 0.0
    high_hz: PositiveFloat | None = None
    scale: Literal["slaney", "htk"] = "slaney"
    speech_db: PositiveFloat | None = None
    backend: Literal["torchaudio", "librosa"] = "torchaudio"
    device: Literal["cpu", "auto"] = "cpu"

    def __post_init__(self) -> None:
        if self.device != "cpu" and self.backend == "librosa":
            raise ValueError(f"librosa computes on the cpu, not on device {self.device}; torchaudio can")


@dataclass(frozen=True)
class SpeechAugmentation:
    """Random changes to each training clip's log-mel features, drawn from (seed, epoch, clip).

    Options:
        time_masks: stretches of time that are blanked (SpecAugment, Park et al. 2019, arXiv:1904.08779).
        time_mask_seconds: the longest that one of them may be.
        time_mask_share: the longest that one of them may be, as a share of the clip.
        frequency_masks: ranges of bands that are blanked.
        frequency_mask_bands: the most bands that one of them may cover.
        speed: factors, one of which, all equally likely, a clip is played faster by, with higher frequencies (Ko et al.
            2015); what time and what pitch it has is changed in the features. Instead of tempo. A clip too short for
            its text at the drawn factor keeps its own.
        tempo: the same, with frequencies as they are.
        warp: lowest and highest factor that frequencies are multiplied by, as in a shorter vocal tract (Jaitly and
            Hinton 2013); drawn evenly on a logarithmic scale.
        quiet_seconds: the longest quiet that is put before a clip, and after it: each band at its lowest in the clip.
        gain_db: louder or softer by up to this; changes nothing where each utterance is normalised by itself.
        noise: probability that white noise is added.
        noise_snr_db: lowest and highest ratio of the clip's mean power to the noise's, in decibels.
    """

    time_masks: NonNegativeInt = 0
    time_mask_seconds: PositiveFloat = 0.4
    time_mask_share: UnitInterval = 0.2
    frequency_masks: NonNegativeInt = 0
    frequency_mask_bands: PositiveInt = 15
    speed: Annotated[list[PositiveFloat], MinLen(1)] | None = None
    tempo: Annotated[list[PositiveFloat], MinLen(1)] | None = None
    warp: tuple[PositiveFloat, PositiveFloat] | None = None
    quiet_seconds: NonNegativeFloat = 0.0
    gain_db: NonNegativeFloat = 0.0
    noise: UnitInterval = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 30.0)


@dataclass(frozen=True)
class Plan:
    """How long and in what manner to train: the `trainer` section.

    Options:
        epochs: passes over the training set.
        device: auto (the CUDA device with most free memory, else mps, else cpu), cpu, cuda, cuda:N or mps.
        precision: number format of the forward pass; fp16 uses a gradient scaler.
        accumulate: batches whose gradients are summed before each update.
        clip_norm: scale the gradient down to this norm when it is longer.
        patience: stop after this many epochs without a better validation score.
        ema: decay of an exponential moving average of the weights, which is what is evaluated.
        nt_asgd: average the weights, each update counting alike, from the epoch on whose validation score was worse
            than the best of all but this many epochs before it (Merity et al. 2018, arXiv:1708.02182); the average is
            what is evaluated.
        log_every_steps: updates between two lines of the log.
        checkpoint_every_epochs: epochs between two checkpoints.
        checkpoint_every_steps: updates between two checkpoints, within epochs too.
        checkpoint_every_minutes: minutes between two checkpoints, within epochs too.
        keep_last: how many of the newest checkpoints to keep; the best one is kept besides.
        compile: run the model through torch.compile.
        channels_last: keep weights with the channels innermost; convolutions may run faster so, bf16 ones above all.
        deterministic: only deterministic algorithms, an error where there is none.
        threads: CPU threads; the machine's cores when not given.
    """

    epochs: PositiveInt = 10
    device: Device = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: PositiveInt = 1
    clip_norm: PositiveFloat | None = None
    patience: PositiveInt | None = None
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    nt_asgd: PositiveInt | None = None
    log_every_steps: PositiveInt = 100
    checkpoint_every_epochs: PositiveInt = 1
    checkpoint_every_steps: PositiveInt | None = None
    checkpoint_every_minutes: PositiveFloat | None = None
    keep_last: PositiveInt = 2
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
            tensors replace those of the same name and shape.
        freeze: patterns of the parameters that never change.
        learning_rates: what the learning rate is multiplied by, by pattern; the first that fits counts.
        decay_all: let weight decay act on biases and normalisations too; otherwise it spares them.
    """

    initialization: (
        Literal["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "uniform"] | None
    ) = None
    initial_range: PositiveFloat = 0.1
    init_from: str | None = None
    freeze: list[str] = field(default_factory=list)
    learning_rates: dict[str, PositiveFloat] = field(default_factory=dict)
    decay_all: bool = False
