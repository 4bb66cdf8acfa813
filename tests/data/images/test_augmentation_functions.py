"""Augmentations as plain functions of a plug-in: drawn from (seed, epoch, example), checked, and resumed exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dltrain.cli.main import to_dltrain_error
from dltrain.config.experiment import load_experiment
from dltrain.dataset import Dataset
from dltrain.errors import ConfigError
from dltrain.runs.building import Names, construct_dataset
from dltrain.runtime.seeds import make_generator
from support.commands import call
from support.runs import StopAt, outcome, run_to_end

NOISE = """
import torch
from torch import Generator, Tensor

from dltrain.registry import augmentations


@augmentations.register("noise")
def add_noise(image: Tensor, generator: Generator, *, scale: float = 0.1) -> Tensor:
    return image + scale * torch.randn(image.shape, generator=generator)


@augmentations.register("darken")
def darken(images: Tensor, generator: Generator) -> Tensor:
    return images * torch.rand(len(images), 1, 1, 1, generator=generator)
"""
CONFIG = """plugins: [noise.py]
task: image_classification
data: {name: mnist, sample: true, batch_size: 100, normalize: unit, augment: {functions: [noise: 0.5]}}
model: {name: mlp, hidden: [4]}
trainer: {epochs: 2, device: cpu, threads: 1}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("noise.py").write_text(NOISE)
    Path("a.yaml").write_text(CONFIG)
    return Path("a.yaml")


def build(config: Path, *flags: str) -> Dataset:
    experiment = load_experiment(config, flags).experiment
    return construct_dataset(Names(experiment.plugins), experiment)


def test_each_example_has_its_own_draws(config: Path) -> None:
    """The noise is that of a generator made from (name, seed, epoch, example) by hand."""
    noisy, plain = build(config), build(config, "data.augment=null")
    for epoch in (0, 1):
        first, clean = next(noisy.training().epoch(epoch)), next(plain.training().epoch(epoch))
        assert torch.equal(first.targets, clean.targets)
        noise = (first.inputs - clean.inputs)[0]
        drawn = [
            0.5 * torch.randn(noise.shape, generator=make_generator("augmentation", "noise", 0, epoch, example))
            for example in range(1797)
        ]
        assert min(float((each - noise).abs().max()) for each in drawn) < 1e-5


@pytest.mark.parametrize("function", ["noise", "darken"])
def test_workers_and_repetition_change_nothing(config: Path, function: str) -> None:
    flag = f"data.augment={{functions: [{function}]}}"
    one, two = build(config, flag), build(config, flag, "data.workers=2")
    for left, right in zip(one.training().epoch(1), two.training().epoch(1), strict=True):
        assert torch.equal(left.inputs, right.inputs)


def test_a_killed_run_continues_to_the_same_bytes(config: Path, tmp_path: Path) -> None:
    run_to_end(config, tmp_path / "whole", [])
    run_to_end(config, tmp_path / "killed", [StopAt(5), StopAt(9, kill=True)])
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("image[0]", "noise.py:8: augmentation 'noise' returns a float32 tensor of the shape (28, 28)"),
        ("(255 * image).byte()", "noise.py:8: augmentation 'noise' returns a uint8 tensor of the shape (1, 28, 28)"),
        ("image.numpy()", "noise.py:8: augmentation 'noise' returns ndarray"),
        ("image / 0", "noise.py:8: augmentation 'noise' returns pixels that are not finite"),
        ("image.shap", "AttributeError in noise.py:10: 'Tensor' object has no attribute 'shap'"),
    ],
)
def test_what_it_returns_is_checked(config: Path, wrong: str, message: str, workers: int) -> None:
    Path("noise.py").write_text(NOISE.replace("image + scale * torch.randn(image.shape, generator=generator)", wrong))
    result = call("fit", config, "--set", f"data.workers={workers}")
    assert isinstance(result.exception, Exception)
    error = to_dltrain_error(result.exception)
    assert message in error.message
    assert error.advice
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("(image: Tensor, generator", "(picture: Tensor, generator", "noise.py:9:15: error: the augmentation "),
        (
            "image: Tensor, generator: Generator, *",
            "image: Tensor, *",
            "noise.py:8:1: error: the augmentation ",
        ),
        ("(images: Tensor", "(images: Tensor, image: Tensor", "takes one image or all images of a batch, not both"),
        ("scale: float = 0.1", "scale: FilePath", "the type 'FilePath' of option 'scale'"),
    ],
)
def test_its_signature_is_checked_with_the_config(config: Path, before: str, after: str, message: str) -> None:
    assert before in NOISE
    Path("noise.py").write_text(("from __future__ import annotations\n" + NOISE[1:]).replace(before, after))
    with pytest.raises(ConfigError) as raised:
        load_experiment(config)
    assert message in str(raised.value)


def test_a_name_that_nothing_registers_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"augmentation 'noisy' is not known\n.*\n.*\n    allowed: darken, noise\n"):
        load_experiment(config, ["data.augment.functions=[noisy]"])
    with pytest.raises(ConfigError, match=r"data.augment.functions lists augmentation 'noise' twice"):
        load_experiment(config, ["data.augment.functions=[noise, {name: noise, scale: 2}]"])
    with pytest.raises(ConfigError, match="'scal' is not an option of augmentation 'noise'"):
        load_experiment(config, ["data.augment.functions=[noise: {scal: 2}]"])
