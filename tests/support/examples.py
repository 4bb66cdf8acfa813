"""A small example of every registered dataset, task and model, for the tests that all of them must pass.

A model that one of the tasks below can train with the model's default options needs no example, and neither does a task
whose kind of data has a dataset here, an optimizer or a schedule. A new dataset does: it needs files to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy
import pytest
import yaml
from PIL import Image

from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.experiment import load_experiment
from dltrain.runs.building import Training, build_training
from support.cifar import write_cifar
from support.documents import write_table
from support.images import write_emnist, write_images
from support.published_speech import write_commands, write_librispeech
from support.published_texts import write_news, write_reviews
from support.tones import spoken

Options = Mapping[str, Any]


def write_pictures(root: Path) -> None:
    """14 small pictures of each of two classes, reddish and bluish."""
    draw = numpy.random.default_rng(0)
    for label, colour in (("blue", (40, 60, 200)), ("red", (200, 60, 40))):
        (root / label).mkdir(parents=True)
        for number in range(14):
            pixels = numpy.clip(colour + draw.normal(0, 40, (20, 24, 3)), 0, 255).astype(numpy.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")


def write_rows(root: Path) -> None:
    """48 rows of three numbers, the sum of two of them, and whether that is positive."""
    draw = numpy.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{a - b:.3f},{'yes' if a > b else 'no'}" for a, b, c in draw.normal(size=(48, 3))]
    (root / "rows.csv").write_text("\n".join(["a,b,c,difference,positive", *rows]) + "\n")


def write_series(root: Path) -> None:
    """60 steps of two noisy waves."""
    draw, time = numpy.random.default_rng(0), numpy.arange(60)
    waves = numpy.stack([numpy.sin(time / 3), numpy.cos(time / 5)], 1) + 0.1 * draw.normal(size=(60, 2))
    (root / "series.csv").write_text("\n".join(["x,y", *(f"{x:.4f},{y:.4f}" for x, y in waves)]) + "\n")


def write_texts(root: Path) -> None:
    """Lines of random words; ptb.train.txt, ptb.valid.txt and ptb.test.txt."""
    draw, words = Random(0), [f"word{number}" for number in range(20)]
    for split, count in (("train", 60), ("valid", 12), ("test", 12)):
        lines = [" ".join(draw.choices(words, k=draw.randint(4, 18))) for _ in range(count)]
        (root / f"ptb.{split}.txt").write_text("\n".join(lines) + "\n")


def write_speech(root: Path) -> None:
    """24 clips of letters as tones: a Common Voice release in `en`, and its training table as clips.tsv."""
    soundfile = pytest.importorskip("soundfile")
    draw = Random(0)
    (root / "en" / "clips").mkdir(parents=True)
    for split, count in (("train", 16), ("dev", 4), ("test", 4)):
        rows = ["client_id\tpath\tsentence\tlocale"]
        manifest = ["path\ttext\tspeaker"]
        for number in range(count):
            word, name = "".join(draw.choices("abcd", k=draw.randint(2, 6))), f"{split}{number}.wav"
            soundfile.write(root / "en" / "clips" / name, spoken([word], [0.1], 8000)[0], 8000)
            rows.append(f"{split}-{number % 4}\t{name}\t{word}\ten")
            manifest.append(f"en/clips/{name}\t{word}\t{split}-{number % 4}")
        (root / "en" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
        (root / f"{split}.tsv").write_text("\n".join(manifest) + "\n")


def write_labelled(root: Path) -> None:
    write_table(root / "texts.csv", rows=60)


def write_digits(root: Path) -> None:
    write_images(root, training=60, test=20)


def make_emnist_writer(variant: str, classes: int) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        write_emnist(root, variant, training=5 * classes, test=2 * classes)

    write.__name__ = f"write_{variant}"
    return write


def write_cifar10(root: Path) -> None:
    write_cifar(root, variant="cifar10")


def write_cifar100(root: Path) -> None:
    write_cifar(root, variant="cifar100")


@dataclass(frozen=True)
class DatasetExample:
    """What writes the files that a dataset reads, and its options: `variants` are tested beside the plain ones."""

    write: Callable[[Path], object] | None
    options: Options = field(default_factory=dict)
    variants: Sequence[Options] = ()
    shuffled: bool = True
    """Whether each epoch has the training examples in another order."""


AUGMENT = {"rotation_degrees": 20, "shift": 0.1, "flip": "horizontal", "erase": 0.5}
DIGITS: Options = {"download": False, "batch_size": 9, "validation": 0.2}
EMNIST = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 26, "mnist": 10}
TEXTS: Options = {"batch_size": 4, "sequence_length": 10}
SPEECH: Options = {"sample_rate_hz": 8000, "features": {"bands": 10}, "subsampling": 2, "batch_size": 4}
SPOKEN = {"time_masks": 1, "time_mask_seconds": 0.1, "tempo": [0.9, 1.0, 1.1], "warp": [0.9, 1.1], "noise": 0.5}

DATASETS: Mapping[str, DatasetExample] = {
    "mnist": DatasetExample(write_digits, DIGITS, [{"augment": AUGMENT, "workers": 2}, {"sample": True}]),
    "fashion_mnist": DatasetExample(write_digits, {**DIGITS, "root": "MNIST"}),
    "kmnist": DatasetExample(write_digits, {**DIGITS, "root": "MNIST"}),
    "idx": DatasetExample(write_digits, {**DIGITS, "root": "MNIST"}, [{"fold": {"index": 1, "of": 3}}]),
    **{
        f"emnist_{part}": DatasetExample(make_emnist_writer(f"emnist_{part}", classes), DIGITS)
        for part, classes in EMNIST.items()
    },
    "cifar10": DatasetExample(write_cifar10, DIGITS),
    "cifar100": DatasetExample(write_cifar100, DIGITS),
    "image_folder": DatasetExample(
        write_pictures,
        {"height": 16, "width": 16, "batch_size": 4, "validation": 0.2, "test": 0.2},
        [{"augment": AUGMENT}],
    ),
    "table": DatasetExample(
        write_rows, {"training": "rows.csv", "target": "difference", "features": ["a", "b", "c"], "batch_size": 6}
    ),
    "bundled_table": DatasetExample(None, {"table": "iris", "batch_size": 16}, [{"fold": {"index": 2, "of": 3}}]),
    "series": DatasetExample(write_series, {"file": "series.csv", "window": 6, "horizon": 2, "batch_size": 5}),
    "labelled_text": DatasetExample(write_labelled, {"training": ["texts.csv"], "batch_size": 6}),
    "ag_news": DatasetExample(write_news, {"batch_size": 6, "download": False}),
    "imdb": DatasetExample(write_reviews, {"batch_size": 6, "download": False}),
    "text": DatasetExample(
        write_texts,
        {"training": ["ptb.train.txt"], "validation": 0.2, "test": 0.2, **TEXTS},
        [{"form": "sentences"}, {"random_lengths": True}, {"unit": "character"}],
        shuffled=False,
    ),
    "ptb": DatasetExample(write_texts, TEXTS, [{"form": "sentences"}], shuffled=False),
    "audio": DatasetExample(
        write_speech,
        {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv", **SPEECH},
        [{"augment": SPOKEN, "workers": 1}, {"normalize": "corpus"}],
    ),
    "librispeech": DatasetExample(write_librispeech, SPEECH),
    "speech_commands": DatasetExample(write_commands, SPEECH),
    "common_voice": DatasetExample(write_speech, SPEECH, [{"precompute": False, "normalize": "speaker"}]),
}

TASKS: Mapping[str, tuple[str, Options]] = {
    "binary_classification": ("table", {"target": "positive"}),
    "regression": ("table", {}),
    "tabular_classification": ("bundled_table", {}),
    "language_modelling": ("text", {}),
    "image_classification": ("mnist", {}),
    "reconstruction": ("mnist", {}),
}
"""The dataset and its options that a task is tested with, where any dataset of its kind would not do."""


@dataclass(frozen=True)
class ModelExample:
    """Options of a model, and what it is trained on; by default a task that provides its sizes."""

    options: Options = field(default_factory=dict)
    task: str | None = None
    data: tuple[str, Options] | None = None
    learning_rate: float = 1e-2


RESIDUAL = [
    {"conv2d": {"filters": 4, "padding": "same"}},
    {"residual": {"layers": [{"conv2d": {"filters": 8, "stride": 2, "padding": "same"}}, "batch_norm", "relu"]}},
    {"reshape": [8, 196]},
    {"gru": 8},
    {"repeat": {"times": 2, "layers": [{"dense": 16}, "layer_norm", "tanh"]}},
    {"dropout": 0.1},
    {"dense": "classes"},
]
READER = [
    {"embedding": 8},
    {"conv1d": {"filters": 8, "padding": "same"}},
    {"gru": {"units": 6, "bidirectional": True, "returns": "sequence"}},
    "global_max_pool",
    {"dense": "classes"},
]
QUIET = {
    "weight_drop": 0.0, "embedding_dropout": 0.0, "input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0,
}  # fmt: skip

MODELS: Mapping[str, Sequence[ModelExample]] = {
    "cnn": [
        ModelExample({"channels": [4], "hidden": 16}),
        ModelExample({"channels": [4, 4], "convolutions": 2, "padding": 1, "batch_norm": True, "activation": "gelu"}),
    ],
    "lenet": [ModelExample({"batch_norm": True}), ModelExample({"dropout": 0.1, "activation": "tanh"})],
    "mlp": [ModelExample({"hidden": [32], "batch_norm": True}), ModelExample({"hidden": [32, 16], "dropout": 0.1})],
    "sequential": [
        ModelExample({"layers": RESIDUAL}, "image_classification"),
        ModelExample({"layers": READER}, "text_classification"),
    ],
    "torchvision": [
        ModelExample(
            {"architecture": "shufflenet_v2_x0_5"},
            data=("image_folder", {"height": 32, "width": 32}),
            learning_rate=3e-3,
        ),
    ],
    "dense_autoencoder": [ModelExample({"hidden": [64], "noise": 0.1}, learning_rate=3e-3)],
    "conv_autoencoder": [ModelExample({"channels": [8, 16]})],
    "linear": [ModelExample(task="regression", learning_rate=0.1)],
    "dense": [
        ModelExample({"hidden": [32], "batch_norm": True}),
        ModelExample({"dropout": 0.1, "activation": "silu"}, "regression"),
    ],
    "series_rnn": [ModelExample({"cell": cell, "hidden": 16, "layers": 2}) for cell in ("rnn", "lstm", "gru")],
    "embedding_bag": [ModelExample({"pooling": "sum"}), ModelExample({"hidden": 16, "dropout": 0.1})],
    "text_rnn": [
        ModelExample({"embedding": 8, "hidden": 8}),
        ModelExample({"cell": "gru", "layers": 2, "hidden": 8, "pooling": "mean", "dropout": 0.1}),
    ],
    "text_cnn": [ModelExample({"embedding": 8, "kernels": [2, 3], "filters": 6, "dropout": 0.1})],
    "rnn": [
        ModelExample({"hidden": 16, "variational": True, "dropout": 0.1, "initial_range": 0.3}),
        ModelExample({"cell": "gru", "hidden": 24, "weight_drop": 0.05, "tied": True, "output_bias": False}),
        ModelExample({"cell": "rnn_tanh", "hidden": 16, "adaptive_cutoffs": [9]}),
        ModelExample({"cell": "rnn_relu", "hidden": 16}, data=("text", {"form": "sentences"})),
    ],
    "awd_lstm": [
        ModelExample({"embedding": 16, "hidden": 16, "layers": 2, **QUIET, "weight_drop": 0.1}),
        ModelExample({"embedding": 16, "hidden": 16, **QUIET}, data=("text", {"random_lengths": True})),
    ],
    "transformer": [
        ModelExample({"width": 16, "heads": 2, "layers": 2, "context": 12}),
        ModelExample({"width": 16, "heads": 2, "layers": 1, "context": 6, "positions": "learned", "tied": False}),
    ],
    "crnn": [
        ModelExample({"channels": [4, 4], "hidden": 16}),
        ModelExample(
            {"channels": [8], "hidden": 16, "layers": 2, "cell": "gru", "layer_norm": False, "dropout": 0.05},
            data=("audio", {"augment": SPOKEN}),
            learning_rate=3e-2,
        ),
    ],
    "conformer_ctc": [ModelExample({"channels": [4, 4], "width": 16, "heads": 2, "layers": 2, "kernel": 5})],
}


OPTIMIZERS: Mapping[str, Options] = {
    "sgd": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    "adam": {"amsgrad": True},
    "rmsprop": {"momentum": 0.9, "centered": True},
}
"""Options of an optimizer with which it has more to remember."""


class Examples:
    """Writes the files of each example once, into a folder of its own, and makes configs that use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def data(self, name: str, options: Options) -> dict[str, Any]:
        """The `data` section of a config, and the files that it reads."""
        example = DATASETS.get(name)
        if example is None:
            pytest.fail(f"dataset '{name}' has no example: add one to DATASETS in {__file__}")
        section = {"name": name, **example.options, **options}
        if example.write is not None:
            root = self.folder / example.write.__name__
            if not root.exists():
                root.mkdir()
                example.write(root)
            section["root"] = str(root / section.get("root", ""))
        return section

    def task(self, name: str, **options: Any) -> dict[str, Any]:
        """A config with a task and data for it, but no model."""
        if name in TASKS:
            dataset, chosen = TASKS[name]
        else:
            kind = load_package_catalogue().find("task", name).facts["data"]
            known = [each for each in load_package_catalogue().of("dataset") if each.facts["data"] == kind]
            dataset, chosen = next((each.name for each in known if each.name in DATASETS), known[0].name), {}
        return {"task": name, "data": self.data(dataset, {**chosen, **options})}

    def model(self, name: str, number: int = 0) -> dict[str, Any]:
        """A config that trains a model, with the options of one of its examples."""
        example = examples_of(name)[number]
        task = example.task or task_for(name)
        config = self.task(task)
        if example.data is not None:
            config["data"] = self.data(*example.data)
        optimizer = {"name": "adam", "learning_rate": example.learning_rate}
        return {**config, "model": {"name": name, **example.options}, "optimizer": optimizer, "trainer": TRAINER}

    def model_for_task(self, name: str, **options: Any) -> dict[str, Any]:
        """A config that trains the first model that fits a task."""
        for entry in load_package_catalogue().of("model"):
            for number, example in enumerate(examples_of(entry.name)):
                if (example.task or task_for(entry.name)) == name and not example.data:
                    return {**self.model(entry.name, number), **self.task(name, **options)}
        return {**self.model(fitting_model(name)), **self.task(name, **options)}


TRAINER = {"epochs": 2, "device": "cpu", "threads": 1, "log_every_steps": 3, "checkpoint_every_steps": 2}


def examples_of(model: str) -> Sequence[ModelExample]:
    return MODELS.get(model, [ModelExample()])


def task_for(model: str) -> str:
    """The first task that provides the sizes that a model is built with."""
    entry = load_package_catalogue().find("model", model)
    known = [*(each for each in load_package_catalogue().of("task") if entry.takes(each.facts["sizes"]))]
    if not known:
        pytest.fail(f"no task provides the sizes {entry.provided} of model '{model}'")
    return known[0].name


def fitting_model(task: str) -> str:
    sizes = load_package_catalogue().find("task", task).facts["sizes"]
    known = [
        each.name for each in load_package_catalogue().of("model") if each.takes(sizes) and each.provided != ("sizes",)
    ]
    if not known:
        pytest.fail(f"no model fits task '{task}': add an example with task='{task}' to MODELS in {__file__}")
    return known[0]


def build_config(path: Path, config: Options) -> Training:
    """What a config describes, ready to be trained."""
    return build_training(load_experiment(write_config(path, config)).experiment)


def write_config(path: Path, config: Options) -> Path:
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    return path
