"""Autoencoders: errors in pixels, principal components, sizes, exactness, and the picture."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dltrain.batch import Examples
from dltrain.data.images.pixels import normalize_pixels, restore_pixels, scale_pixels
from dltrain.errors import UsageError
from dltrain.models.autoencoder import ConvAutoencoder, DenseAutoencoder, Noise
from dltrain.observers import pictures
from dltrain.runs import examples
from dltrain.tasks.reconstruction import Reconstruction
from support.commands import call, good
from support.images import patterns

Write = Callable[[Mapping[str, Any]], Path]

GREY = {"channels": 1, "height": 5, "width": 4, "mean": 0.3, "std": 0.2}
COLOURS = {"channels": 3, "height": 5, "width": 4, "mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.3]}
NORMALISED = [{**one, "normalize": kind} for one in (GREY, COLOURS) for kind in ("standard", "symmetric", "unit")]


class Fixed(nn.Module):
    """Gives one number everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(images, self.value)


def images(assets: Mapping[str, Any], count: int = 6) -> Tensor:
    shape = (count, assets["channels"], assets["height"], assets["width"])
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def batch(assets: Mapping[str, Any], pixels: Tensor) -> Examples:
    return Examples(normalize_pixels(assets, pixels), torch.zeros(len(pixels), dtype=torch.int64))


def measured(task: Reconstruction, model: nn.Module, whole: Examples) -> dict[str, float]:
    with torch.inference_mode():
        return task.report(task.score(model, whole, None).counts)


@pytest.mark.parametrize("assets", NORMALISED)
def test_pixels_and_inputs_are_each_others_inverse(assets: dict[str, Any]) -> None:
    pixels = images(assets)
    torch.testing.assert_close(restore_pixels(assets, normalize_pixels(assets, pixels)), pixels / 255)
    torch.testing.assert_close(
        scale_pixels(assets, pixels / 255), normalize_pixels(assets, pixels), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("assets", NORMALISED)
def test_errors_are_of_pixels_whatever_the_normalisation(assets: dict[str, Any]) -> None:
    """Zero among the inputs is the mean, the middle or black; the metric is the distance of the pixels from it."""
    pixels, task = images(assets), Reconstruction(assets)
    means = np.reshape(assets["mean"], (-1, 1, 1))
    deviations = np.reshape(assets["std"], (-1, 1, 1))
    middle, half = {
        "standard": (means, deviations), "symmetric": (0.5, 0.5), "unit": (0.0, 1.0)
    }[assets["normalize"]]  # fmt: skip
    errors = pixels.numpy() / 255 - middle
    scores = [task.score(Fixed(0.0), batch(assets, part), None).counts for part in pixels.split([4, 2])]
    report = task.report({name: scores[0][name] + scores[1][name] for name in scores[0]})
    assert report["mse"] == pytest.approx((errors**2).mean(), rel=1e-5)
    assert report["psnr"] == pytest.approx(10 * math.log10(1 / (errors**2).mean()), rel=1e-5)
    assert report["loss"] == pytest.approx(((errors / half) ** 2).mean(), rel=1e-5)
    assert task.step(Fixed(0.0), batch(assets, pixels), None).loss.item() == pytest.approx(report["loss"], rel=1e-5)


@pytest.mark.parametrize("assets", NORMALISED)
def test_cross_entropy_is_of_pixels_and_outputs_are_logits(assets: dict[str, Any]) -> None:
    task, model = Reconstruction(assets, loss="bce"), Fixed(-1.5)
    whole = batch(assets, images(assets))
    pixels, chance = images(assets).numpy() / 255, 1 / (1 + math.exp(1.5))
    expected = -(pixels * math.log(chance) + (1 - pixels) * math.log(1 - chance)).mean()
    report = measured(task, model, whole)
    assert report["loss"] == pytest.approx(expected, rel=1e-5)
    assert report["mse"] == pytest.approx(((pixels - chance) ** 2).mean(), rel=1e-5)
    assert task.step(model, whole, None).loss.item() == pytest.approx(expected, rel=1e-5)
    given = restore_pixels(assets, task.reconstructions(model, *whole.arguments))
    torch.testing.assert_close(given, torch.full_like(given, chance))


def test_what_is_given_back_whole_has_no_error() -> None:
    task = Reconstruction(NORMALISED[0])
    whole = batch(NORMALISED[0], images(GREY))
    report = measured(task, nn.Identity(), whole)
    assert report == {"mse": 0.0, "psnr": math.inf, "loss": 0.0}
    assert task.reconstructions(nn.Identity(), whole.inputs) is whole.inputs
    assert task.sizes == {"image_channels": 1, "height": 5, "width": 4, "output_channels": 1}


def test_a_linear_autoencoder_finds_the_principal_components() -> None:
    """Its least error is what the singular values beyond the code leave (Eckart and Young 1936)."""
    torch.manual_seed(0)
    assets = {**GREY, "height": 4, "normalize": "unit"}
    inputs = (torch.randn(40, 5) @ torch.randn(5, 16) / 5 + 0.1 * torch.randn(40, 16) + 0.5).double().view(40, 1, 4, 4)
    code = 3
    values = np.linalg.svd(inputs.view(40, 16).numpy() - inputs.view(40, 16).mean(0).numpy(), compute_uv=False)
    least = (values[code:] ** 2).sum() / inputs.numel()
    task, model = Reconstruction(assets), DenseAutoencoder(1, 4, 4, 1, hidden=[], code=code).double()
    whole = Examples(inputs, torch.zeros(40, dtype=torch.int64))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=400, line_search_fn="strong_wolfe", tolerance_change=0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = task.step(model, whole, None).loss
        loss.backward()
        return loss

    optimizer.step(closure)
    found = measured(task, model, whole)["mse"]
    assert found == pytest.approx(least, rel=1e-4)
    assert found > 0.9999 * least


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (DenseAutoencoder(1, 28, 28, 1), 785 * 256 + 257 * 32 + 33 * 256 + 257 * 784),
        (DenseAutoencoder(1, 4, 5, 1, hidden=[], code=3), 21 * 3 + 4 * 20),
        (DenseAutoencoder(3, 2, 2, 3, hidden=[8, 6], code=2), 13 * 8 + 9 * 6 + 7 * 2 + 3 * 6 + 7 * 8 + 9 * 12),
        # 28 to 14 to 7, dense to the code and back, and the same convolutions transposed
        (ConvAutoencoder(1, 28, 28, 1),
         (9 + 1) * 16 + (9 * 16 + 1) * 32 + (32 * 49 + 1) * 32 + 33 * 32 * 49 + 9 * 32 * 16 + 16 + 9 * 16 + 1),
    ],
)  # fmt: skip
def test_parameters_are_those_of_the_architecture(model: nn.Module, count: int) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7), (13, 12), (28, 28), (17, 32)])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_any_size_of_image_comes_back(size: tuple[int, int], kernel: int) -> None:
    shape = (3, *size)
    if kernel % 2 or min(size) > 2 * kernel:
        model = ConvAutoencoder(*shape, shape[0], channels=[4, 5], kernel=kernel, code=2)
        assert model(torch.zeros(2, *shape)).shape == (2, *shape)
    assert DenseAutoencoder(*shape, shape[0], hidden=[4], code=2)(torch.zeros(2, *shape)).shape == (2, *shape)


def test_images_too_small_for_an_even_kernel_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"convolution 2 of 3 finds an image of 1 x 4 pixels, too small for a kernel of 2: use fewer .* or an odd",
    ):
        ConvAutoencoder(1, 3, 9, 1, channels=[2, 2, 2], kernel=2)


@pytest.mark.parametrize(("kind", "options"), [(DenseAutoencoder, {"hidden": [32]}), (ConvAutoencoder, {})])
def test_cross_entropy_lowers_the_squared_error_too(kind: type[nn.Module], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    pixels = torch.from_numpy(patterns(8, 0)[0]).unsqueeze(1)
    assets = {"channels": 1, "height": 28, "width": 28, "normalize": "unit"}
    task, model = Reconstruction(assets, loss="bce"), kind(1, 28, 28, 1, **options)
    whole = batch(assets, pixels)
    before = measured(task, model, whole)["mse"]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        task.step(model, whole, None).loss.backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
        optimizer.step()
    assert measured(task, model, whole)["mse"] < before / 10


def test_noise_is_of_training_alone() -> None:
    torch.manual_seed(0)
    flat = torch.full((4, 1, 60, 60), 2.0)
    noise = Noise(0.5)
    added = noise(flat) - flat
    assert added.mean().item() == pytest.approx(0, abs=0.02)
    assert added.std().item() == pytest.approx(0.5, abs=0.02)
    assert noise.eval()(flat) is flat
    assert Noise(0.0)(flat) is flat
    for model in (DenseAutoencoder(1, 6, 6, 1, noise=0.3), ConvAutoencoder(1, 6, 6, 1, noise=0.3)):
        small = torch.randn(2, 1, 6, 6)
        assert not torch.equal(model(small), model(small))
        assert torch.equal(model.eval()(small), model(small))


@pytest.fixture
def autoencoder(settings: dict[str, Any]) -> dict[str, Any]:
    """A config that trains in well under a second."""
    settings["task"] = "reconstruction"
    settings["model"] = {"name": "dense_autoencoder", "hidden": [8], "code": 4, "noise": 0.2}
    return settings


@pytest.mark.slow
def test_eval_draws_the_first_images_above_what_became_of_them(
    autoencoder: dict[str, Any], write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    autoencoder["data"]["evaluation_batch_size"] = 4
    fitted = good("fit", write_settings(autoencoder), "-o", run)
    assert "validation mse" in fitted.stdout
    told = good("eval", run).stdout
    picture = run / "plots" / "reconstructions-test.png"
    assert told.endswith(f"\npicture: {picture}\n")
    with Image.open(picture) as file:
        assert file.size[0] > 4 * file.size[1] / 2
    drawn: list[Tensor] = []
    monkeypatch.setattr(pictures, "draw_reconstruction_picture", lambda *given: drawn.extend(given[:2]))
    result = json.loads(good("eval", run, "--split", "validation", "--json").stdout)
    assert result["picture"] == str(run / "plots" / "reconstructions-validation.png")
    good("eval", run)
    assert [len(one) for one in drawn] == [10, 10, 10, 10]
    torch.testing.assert_close(drawn[2], torch.from_numpy(patterns(60, 2)[0][:10]).unsqueeze(1) / 255)
    assert result["metrics"].keys() == {"mse", "psnr", "loss"}
    shutil.copytree(run / "best", tmp_path / (run / "best").resolve().name)
    alone = json.loads(good("eval", tmp_path / (run / "best").resolve().name, "--json").stdout)
    assert "picture" not in alone
    refused = call("eval", run, "--worst", 3)
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        f"{run}: --worst is for classifiers, regression and speech recognisers; "
        "the task 'reconstruction' is none of them\n"
        "next: leave it out; a plug-in's task needs labels and probabilities, or compare_numbers (docs/extending.md)"
    )


def test_the_pictured_outputs_are_the_models(
    autoencoder: dict[str, Any], write_settings: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    good("fit", write_settings(autoencoder), "-o", tmp_path / "run", "-q")
    trained = load_trained(find_checkpoint(tmp_path / "run"))
    stream = trained.dataset().test()
    drawn: list[Any] = []
    monkeypatch.setattr(pictures, "draw_reconstruction_picture", lambda *given: drawn.append(given))
    examples.draw_reconstructions(trained, stream, "title", tmp_path / "x.png")
    pixels = torch.from_numpy(patterns(60, 2)[0]).unsqueeze(1)
    assets = trained.record.assets
    with torch.inference_mode():
        outputs = trained.model(normalize_pixels(assets, pixels)) * assets["std"] + assets["mean"]
    torch.testing.assert_close(drawn[0][1], outputs[:10])
    result = json.loads(good("eval", tmp_path / "run", "--json").stdout)
    assert result["metrics"]["mse"] == pytest.approx(float((outputs - pixels / 255).square().mean()), rel=1e-5)


def test_an_autoencoder_gives_no_classes(dltrain: Any, settings: dict[str, Any], write_settings: Any) -> None:
    settings["model"] = "dense_autoencoder"
    refused = dltrain("config", "check", write_settings(settings))
    assert refused.returncode == 2
    assert "model 'dense_autoencoder' needs output_channels, but task 'image_classification' provides" in refused.stderr
