"""torchvision's networks: shapes, grey images, small images, weights of others, normalisation, exact resume."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from dltrain.core.weights import copy_matching_tensors, read_tensors
from dltrain.models.torchvision_models import Architecture, build_torchvision_model
from dltrain.runtime.cuda_wheels import import_torchvision

torchvision = import_torchvision()
Write = Callable[[Mapping[str, Any]], Path]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def images(number: int, channels: int = 3, side: int = 32) -> Tensor:
    return torch.randn(number, channels, side, side)


def test_the_names_are_torchvisions() -> None:
    assert list(get_args(Architecture)) == torchvision.models.list_models(module=torchvision.models)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "architecture",
    ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "regnet_y_400mf",
     "googlenet", "swin_t"],
)  # fmt: skip
def test_images_become_logits(architecture: Any, channels: int) -> None:
    network = build_torchvision_model(channels, 32, 32, 7, architecture=architecture)
    assert network.training
    assert network(images(2, channels)).shape == (2, 7)


@pytest.mark.parametrize(("architecture", "channels"), [("resnet18", 1), ("mobilenet_v3_small", 3)])
def test_gradients_reach_all_weights(architecture: Any, channels: int) -> None:
    network = build_torchvision_model(channels, 32, 32, 5, architecture=architecture)
    functional.cross_entropy(network(images(4, channels)), torch.arange(4)).backward()
    without = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("architecture", ["resnet18", "squeezenet1_1", "densenet121"])
def test_a_grey_image_is_one_of_three_equal_channels(architecture: Any) -> None:
    network = build_torchvision_model(1, 32, 32, 6, architecture=architecture).eval()
    theirs = torchvision.models.get_model(architecture, num_classes=6)
    theirs.load_state_dict(network.state_dict())  # the same names and shapes
    grey = images(2, 1)
    torch.testing.assert_close(network(grey), theirs.eval()(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="images have 2 channels; allowed are 1 \\(grey\\) and 3"):
        build_torchvision_model(2, 32, 32, 5)


def test_small_images_keep_their_resolution() -> None:
    network = build_torchvision_model(1, 16, 16, 5, small_images=True)
    sides = []
    for name in ("layer1", "layer2", "layer4"):
        network.get_submodule(name).register_forward_hook(lambda _, __, maps: sides.append(maps.shape[2]))
    assert network(images(2, 1, 16)).shape == (2, 5)
    assert sides == [16, 8, 2]
    assert network.state_dict()["conv1.weight"].shape == (64, 3, 3, 3)


def test_small_images_are_for_residual_networks() -> None:
    with pytest.raises(ValueError, match="small_images: not for squeezenet1_1; allowed are the resnet, resnext, wide_"):
        build_torchvision_model(3, 32, 32, 5, architecture="squeezenet1_1", small_images=True)


@pytest.mark.parametrize(
    ("architecture", "height", "width", "reason"),
    [
        ("alexnet", 32, 48, "alexnet cannot take images of 32 x 48 pixels: Given input size"),
        ("vit_b_16", 40, 40, "vit_b_16 cannot take images of 40 x 40 pixels: Input shape indivisible by patch size!"),
        ("maxvit_t", 64, 64, "maxvit_t cannot take images of 64 x 64 pixels: Input size .16, 16. of block 0"),
    ],
)
def test_sizes_that_a_network_cannot_take_are_told(architecture: Any, height: int, width: int, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^architecture: {reason}"):
        build_torchvision_model(3, height, width, 5, architecture=architecture)


def test_a_wrong_name_is_told_before_anything_is_read(dltrain: Callable[..., Any], write_settings: Write) -> None:
    config = write_settings(
        {
            "task": "image_classification",
            "data": {"name": "image_folder", "root": "nowhere"},
            "model": {"name": "torchvision", "architecture": "resnet19"},
        }
    )
    found = dltrain("config", "check", config)
    assert found.returncode == 2
    assert "model.architecture cannot be 'resnet19'" in found.stderr
    assert "did you mean 'resnet18'?" in found.stderr


# Weights of others -----------------------------------------------------------------------------------------------


def written(tensors: Any) -> bytes:
    """As torchvision publishes weights."""
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


@pytest.mark.parametrize("write", [written, save])
@pytest.mark.parametrize("channels", [1, 3])
def test_published_weights_are_taken_over_but_for_the_head(write: Callable[[Any], bytes], channels: int) -> None:
    published = torchvision.models.resnet18(num_classes=10)
    for buffer in published.buffers():
        buffer += 1
    network = build_torchvision_model(channels, 32, 32, 4)
    head = network.state_dict()["fc.weight"].clone()
    tensors = read_tensors(write(published.state_dict()))
    taken = copy_matching_tensors(network, tensors, "resnet18.pth")
    assert dict(taken.kept) == {
        "fc.weight": "is (10, 512) there, and (4, 512) here",
        "fc.bias": "is (10,) there, and (4,) here",
    }
    assert torch.equal(network.state_dict()["fc.weight"], head)
    for name, tensor in published.state_dict().items():
        assert name.startswith("fc.") or torch.equal(network.state_dict()[name], tensor)


class Trap:
    """Tells whether a file of weights made anything but tensors."""

    made = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Trap, "made", True))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither a whole safetensors file nor one of PyTorch's with weights alone: "),
        (written({"a": torch.zeros(9)})[:200], "neither a whole safetensors file nor one of PyTorch's"),
        (save({"a": torch.zeros(9)})[:-4], "neither a whole safetensors file nor one of PyTorch's"),
        (written({"a": Trap()}), "neither a whole safetensors file nor one of PyTorch's with weights alone: Weights "),
        (written([torch.zeros(1)]), "holds something else than tensors by name; expected is what a model's state_dict"),
        (written({"a": 3}), "holds something else than tensors by name"),
    ],
)
def test_files_that_are_not_weights_are_refused_and_nothing_is_run(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        read_tensors(content)
    assert not Trap.made


# Normalisation and exactness -------------------------------------------------------------------------------------


def test_batch_norm_is_what_its_definition_says() -> None:
    """Ioffe and Szegedy 2015: biased variance to normalise with, unbiased in the running average of momentum 0.1."""
    network = build_torchvision_model(3, 32, 32, 5)
    layer = network.get_submodule("layer1.0.bn1")
    assert isinstance(layer, nn.BatchNorm2d)
    seen: list[numpy.ndarray] = []
    layer.register_forward_hook(
        lambda _, given, made: seen.extend(one.detach().numpy().astype(numpy.float64) for one in (given[0], made))
    )
    mean, variance = numpy.zeros(64), numpy.ones(64)
    for _ in range(3):
        network(images(6))
        given, made = seen[-2:]
        count = given.size // 64
        batch_mean = given.mean((0, 2, 3))
        batch_variance = ((given - batch_mean[:, None, None]) ** 2).mean((0, 2, 3))
        expected = (given - batch_mean[:, None, None]) / numpy.sqrt(batch_variance + 1e-5)[:, None, None]
        numpy.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
        mean = 0.9 * mean + 0.1 * batch_mean
        variance = 0.9 * variance + 0.1 * batch_variance * count / (count - 1)
    numpy.testing.assert_allclose(layer.running_mean, mean, rtol=0, atol=1e-6)  # type: ignore[arg-type]
    numpy.testing.assert_allclose(layer.running_var, variance, rtol=1e-5)  # type: ignore[arg-type]
    network.eval()(images(6))
    given, made = seen[-2:]
    expected = (given - mean[:, None, None]) / numpy.sqrt(variance + 1e-5)[:, None, None]
    numpy.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
    numpy.testing.assert_allclose(layer.running_mean, mean, rtol=0, atol=1e-6)  # type: ignore[arg-type]
