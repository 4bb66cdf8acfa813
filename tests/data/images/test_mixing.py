"""Mixup and CutMix: moments of the Beta distribution, counted pixels, and losses of targets by their shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dltrain.batch import MixedExamples, divide_batch, to_device
from dltrain.cli.main import to_dltrain_error
from dltrain.config.experiment import load_experiment
from dltrain.data.images.mixing import MIXING_DRAWS, draw_beta, mark_rectangles, mix_examples
from dltrain.data.images.options import Augmentation
from dltrain.errors import UsageError
from dltrain.models.mlp import MLP
from dltrain.runs.building import Names, construct_dataset
from dltrain.runtime.seeds import draw_uniform
from dltrain.tasks.classification import ImageClassification
from support.commands import call

ASSETS = {"labels": ["a", "b", "c"], "channels": 1, "height": 6, "width": 5, "class_counts": [5, 3, 2]}


def draw(n: int) -> Tensor:
    return draw_uniform(0, 0, torch.arange(n), MIXING_DRAWS)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.4, 1.0, 2.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    from scipy import special

    uniform = torch.tensor([0.001, 0.01, 0.1, 0.25, 0.4999, 0.5, 0.6, 0.9, 0.999])
    expected = torch.from_numpy(special.betaincinv(alpha, alpha, uniform.double().numpy())).float()
    torch.testing.assert_close(draw_beta(alpha, uniform), expected, rtol=0, atol=2e-5)
    shares = draw_beta(alpha, (torch.arange(100_000) + 0.5) / 100_000).double()
    assert abs(float(shares.mean()) - 0.5) < 1e-6
    assert abs(float(shares.var()) - 1 / (4 * (2 * alpha + 1))) < 1e-4
    assert float(shares.min()) >= 0
    assert float(shares.max()) <= 1


def test_mixup_adds_each_image_and_the_one_before_it_by_their_shares() -> None:
    images, targets, chances = torch.rand(8, 3, 4, 5), torch.arange(8), draw(8)
    mixed = mix_examples(images, targets, chances, Augmentation(mixup=0.4))
    torch.testing.assert_close(mixed.shares, draw_beta(0.4, chances[:, 2]))
    assert mixed.targets.tolist() == list(range(8))
    assert mixed.partners.tolist() == [7, *range(7)]
    for index, share in enumerate(mixed.shares.tolist()):
        expected = share * images[index] + (1 - share) * images[index - 1]
        torch.testing.assert_close(mixed.inputs[index], expected)


def test_cutmix_counts_the_pixels_of_each_image() -> None:
    """Each image is of one value, so that its pixels can be counted in the mixture."""
    n, height, width = 500, 20, 31
    images = torch.arange(n).view(-1, 1, 1, 1).expand(n, 1, height, width).float()
    mixed = mix_examples(images, torch.arange(n), draw(n), Augmentation(cutmix=1.0))
    for index in range(n):
        inside = mixed.inputs[index, 0] == float(mixed.partners[index])
        assert bool((inside | (mixed.inputs[index, 0] == index)).all())
        rows, columns = inside.any(1), inside.any(0)
        assert int(inside.sum()) == int(rows.sum()) * int(columns.sum())  # a rectangle
        assert float(mixed.shares[index]) == pytest.approx(1 - int(inside.sum()) / (height * width), abs=1e-6)
    asked = draw_beta(1.0, draw(n)[:, 2])
    assert bool((mixed.shares >= asked - 0.06).all())  # a rectangle is cut off by the image's sides, and rounded


def test_a_rectangle_in_the_middle_has_the_area_asked_for() -> None:
    for area in (0.0, 0.04, 0.25, 0.81, 1.0):
        marked = mark_rectangles(torch.tensor([area]), torch.tensor([[0.5, 0.5]]), (100, 200))
        assert float(marked.float().mean()) == pytest.approx(area, abs=1e-6)


def test_each_image_is_mixed_in_one_way_and_as_often_as_asked() -> None:
    n = 4000
    images = torch.arange(n).view(-1, 1, 1, 1).expand(n, 1, 8, 8).float()
    mixed = mix_examples(images, torch.arange(n), draw(n), Augmentation(mixup=1, cutmix=1, mix_probability=0.6))
    flat = mixed.inputs.flatten(1)
    untouched = (mixed.shares == 1).float().mean()
    of_one_value = ((flat == flat[:, :1]).all(1) & (mixed.shares < 1) & (mixed.shares > 0)).float().mean()
    assert float(untouched) == pytest.approx(0.4, abs=0.05)  # and small rectangles that cover no pixel
    assert float(of_one_value) == pytest.approx(0.3, abs=0.035)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}, {"focal_gamma": 2.0}, {"loss": "hinge"},
        {"class_weights": {"b": 3.0}, "label_smoothing": 0.2},
    ],
)  # fmt: skip
def test_the_loss_of_a_mixture_is_the_shares_mean_of_the_losses_of_both(options: dict[str, Any]) -> None:
    task = ImageClassification(ASSETS, **options)
    model = MLP(1, 6, 5, 3, hidden=[4]).eval()
    images, targets = torch.rand(7, 1, 6, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    mixed = mix_examples(images, targets, draw(7), Augmentation(mixup=0.4, cutmix=1))
    found = task.step(model, mixed, None).loss
    expected = 0.0
    for index, share in enumerate(mixed.shares.tolist()):
        for target, weight in ((mixed.targets[index], share), (mixed.partners[index], 1 - share)):
            one = type(mixed.separate()[0])(mixed.inputs[index : index + 1], target.view(1))
            expected += weight * task.step(model, one, None).loss.item() / 7
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_it_is_torchs_cross_entropy_with_soft_targets() -> None:
    """The same loss by another way: torch takes probabilities as targets, with smoothing."""
    task, model = ImageClassification(ASSETS, label_smoothing=0.1), MLP(1, 6, 5, 3, hidden=[4]).eval()
    images, targets = torch.rand(7, 1, 6, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    mixed = mix_examples(images, targets, draw(7), Augmentation(mixup=0.4))
    soft = mixed.shares[:, None] * functional.one_hot(mixed.targets, 3)
    soft = soft + (1 - mixed.shares)[:, None] * functional.one_hot(mixed.partners, 3)
    expected = functional.cross_entropy(model(mixed.inputs), soft, label_smoothing=0.1)
    torch.testing.assert_close(task.step(model, mixed, None).loss, expected)


def test_parts_of_a_batch_have_the_losses_of_the_whole() -> None:
    task, model = ImageClassification(ASSETS), MLP(1, 6, 5, 3, hidden=[4]).eval()
    mixed = mix_examples(torch.rand(7, 1, 6, 5), torch.arange(7) % 3, draw(7), Augmentation(mixup=0.4))
    parts = divide_batch(to_device(mixed, torch.device("cpu")), 3)
    assert all(isinstance(part, MixedExamples) for part in parts)
    whole = sum(task.step(model, part, None).loss.item() * part.count for part in parts) / 7
    assert task.step(model, mixed, None).loss.item() == pytest.approx(whole, rel=1e-5)


CONFIG = """
task: image_classification
data: {name: mnist, sample: true, batch_size: 100, augment: {mixup: 0.4, cutmix: 1, crop: [0.5, 1]}}
model: {name: mlp, hidden: [4]}
trainer: {epochs: 1, device: cpu, threads: 1}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)
    return Path("a.yaml")


def test_workers_and_repetition_change_nothing(config: Path) -> None:
    def build(*flags: str) -> Any:
        experiment = load_experiment(config, flags).experiment
        return construct_dataset(Names(experiment.plugins), experiment).training()

    for left, right in zip(build().epoch(1), build("data.workers=2").epoch(1, 0), strict=True):
        for name in ("inputs", "targets", "partners", "shares"):
            assert torch.equal(getattr(left, name), getattr(right, name))
    (resumed, *_), whole = list(build().epoch(1, 5)), list(build().epoch(1))
    assert torch.equal(resumed.inputs, whole[5].inputs)


def test_evaluation_is_of_plain_images(config: Path) -> None:
    experiment = load_experiment(config).experiment
    batch = next(iter(construct_dataset(Names(experiment.plugins), experiment).validation().epoch(0)))
    assert type(batch).__name__ == "Examples"


def test_what_cannot_be_is_refused(config: Path) -> None:
    for flag, message in (
        ("data.batch_size=1", "data.augment mixes the images of a batch, and data.batch_size is 1"),
        ("data.augment.crop=[1, 0.5]", "data.augment.crop: [1.0, 0.5]; allowed are two numbers, the lower first"),
        ("data.augment.hue=0.1", "data.augment.hue: the images are grey and have none"),
    ):
        result = call("fit", config, "--set", flag)
        assert isinstance(result.exception, UsageError), flag
        assert message in result.exception.message
        assert not Path("runs").exists()


def test_a_picture_shows_the_mixed_batch_with_both_classes(config: Path) -> None:
    result = call("data", "show", config, "--number", "12", "-o", "batch.png", "--json")
    assert result.exit_code == 0
    assert Path("batch.png").stat().st_size > 1000
    assert "%, " in result.output


TASK = """
from dltrain.registry import tasks
from dltrain.tasks.classification import METRICS, ImageClassification
from dltrain.task import Step
from torch.nn import functional

@tasks.register("own", data="images", sizes=("image_channels", "height", "width", "classes"), metrics=METRICS)
class Own(ImageClassification):
    learns_mixed = False

    def step(self, model, batch, carry):
        return Step(functional.cross_entropy(model(batch.inputs), batch.targets))
"""


def test_a_plugins_task_says_that_it_learns_from_mixtures(config: Path) -> None:
    Path("own.py").write_text(TASK)
    Path("a.yaml").write_text("plugins: [own.py]\n" + CONFIG.replace("image_classification", "own"))
    result = call("fit", config)
    assert isinstance(result.exception, Exception)
    error = to_dltrain_error(result.exception)
    assert "the task does not say that it learns from them" in error.message
    assert "own.py:7" in error.message
