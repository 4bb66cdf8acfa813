"""Changes of colour, crops and RandAugment's operations against torchvision's functions, image by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dltrain.data.images import colours
from dltrain.data.images.augmentation import count_chances, crop_randomly, jitter_colours
from dltrain.data.images.geometry import choose_boxes, crop, shear
from dltrain.data.images.options import Augmentation, RandAugment
from dltrain.data.images.rand_augment import DRAWS, OPERATIONS, Drawn, apply_rand_augment
from dltrain.runtime.cuda_wheels import import_torchvision
from dltrain.runtime.seeds import draw_uniform


@pytest.fixture(scope="module")
def torchvision() -> Any:
    try:
        import_torchvision()
        from torchvision.transforms.v2 import functional
    except Exception as error:
        pytest.skip(f"torchvision: {error}")
    return functional


def make_images(n: int, channels: int = 3, height: int = 20, width: int = 31) -> Tensor:
    """Images of whole pixel values, among them a black one, a white one and a grey one."""
    images = torch.randint(0, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(n)) / 255
    images[0], images[1], images[2] = 0, 1, images[2, :1]
    return images


FACTORS = torch.tensor([0.3, 1.7, 0.0, 1.0, 0.9])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
def test_factors_agree_with_torchvision(torchvision: Any, name: str, channels: int) -> None:
    images = make_images(5, channels)
    found = getattr(colours, f"change_{name}")(images, FACTORS)
    for image, factor, each in zip(images, FACTORS.tolist(), found, strict=True):
        expected = getattr(torchvision, f"adjust_{name}")(image, factor)
        torch.testing.assert_close(each, expected, rtol=0, atol=2e-6)


def test_hues_agree_with_torchvision(torchvision: Any) -> None:
    images, turns = make_images(5), torch.tensor([0.1, -0.5, 0.5, 0.37, -0.2])
    found = colours.turn_hue(images, turns)
    for image, turn, each in zip(images, turns.tolist(), found, strict=True):
        torch.testing.assert_close(each, torchvision.adjust_hue(image, turn), rtol=0, atol=2e-5)
    torch.testing.assert_close(colours.turn_hue(images, torch.zeros(5)), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_operations_without_factors_agree_with_torchvision(torchvision: Any, channels: int) -> None:
    images = make_images(6, channels)
    images[4] = (images[4] * 255 / 4).floor() / 255 + 0.2  # few values: equalize and stretch_contrast change them
    images[4] = colours.to_bytes(images[4]) / 255
    whole = colours.to_bytes(images).byte()
    for found, expected in (
        (colours.stretch_contrast(images), torchvision.autocontrast(images)),
        (colours.equalize(images), torchvision.equalize(whole) / 255),
        (colours.posterize(images, torch.full((6,), 3.0)), torchvision.posterize(whole, 3) / 255),
        (colours.solarize(images, torch.full((6,), 0.5)), torchvision.solarize(images, 0.5)),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_colours_are_drawn_from_their_ranges() -> None:
    chances = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))
    grey = torch.full((4000, 1, 1, 1), 0.4)
    found = jitter_colours(grey, chances, Augmentation(brightness=0.5)).flatten() / 0.4
    assert 0.5 <= float(found.min()) < 0.51
    assert 1.49 < float(found.max()) <= 1.5
    assert abs(float(found.mean()) - 1) < 4.5 * (1 / 12 / 4000) ** 0.5


def test_crops_agree_with_torchvision(torchvision: Any) -> None:
    images = make_images(4)
    boxes = torch.tensor([[0, 0, 20, 31], [3, 4, 10, 15], [19, 30, 1, 1], [0, 11, 7, 20]]).float()
    found = crop(images, boxes)
    for image, box, each in zip(images, boxes.int().tolist(), found, strict=True):
        expected = torchvision.resized_crop(image, *box, size=[20, 31])
        torch.testing.assert_close(each, expected, rtol=0, atol=2e-5)


def test_boxes_have_the_area_and_aspect_drawn_and_reach_every_side() -> None:
    draw = torch.Generator().manual_seed(0)
    area = 0.1 + 0.9 * torch.rand(5000, generator=draw)
    aspect = torch.full((5000,), 1.25)
    boxes = choose_boxes(area, aspect, torch.rand(5000, 2, generator=draw), (64, 128))
    top, left, height, width = boxes.unbind(1)
    assert torch.equal(boxes, boxes.round())
    assert bool((top >= 0).all() & (left >= 0).all() & (top + height <= 64).all() & (left + width <= 128).all())
    inside = area < 0.7  # larger ones of this aspect are clipped
    torch.testing.assert_close((height * width / 64 / 128)[inside], area[inside], rtol=0.1, atol=0.01)
    torch.testing.assert_close((width / height / 2)[inside].mean(), torch.tensor(1.25), rtol=0.01, atol=0)
    for start, size, side in ((top, height, 64), (left, width, 128)):
        assert bool((start == 0).any()) & bool((start + size == side).any())


def test_a_crop_of_the_whole_changes_nothing() -> None:
    images = make_images(3)
    chances = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(crop_randomly(images, chances, [1, 1], [1, 1]), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("slopes", [(0.3, 0.0), (0.0, -0.25)])
def test_shears_agree_with_an_affine_grid(slopes: tuple[float, float]) -> None:
    """Of a square image, whose units are pixels in both directions: output (x, y) is from (x - sy, y)."""
    images = make_images(3, height=24, width=24)
    matrix = torch.tensor([[1.0, -slopes[0], 0.0], [-slopes[1], 1.0, 0.0]]).expand(3, 2, 3)
    grid = torch.nn.functional.affine_grid(matrix, [3, 3, 24, 24], align_corners=False)
    expected = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    found = shear(images, torch.tensor(slopes).expand(3, 2), background=0.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("magnitude", [0.0, 9.0, 30.0])
def test_operations_agree_with_those_of_torchvisions_rand_augment(torchvision: Any, magnitude: float) -> None:
    from torchvision.transforms import InterpolationMode, RandAugment

    names = {
        "translate_x": "TranslateX", "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness",
        "saturation": "Color", "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize",
        "solarize": "Solarize", "stretch_contrast": "AutoContrast", "equalize": "Equalize", "identity": "Identity",
        "shear_x": "ShearX", "shear_y": "ShearY",
    }  # fmt: skip
    assert set(names) == set(OPERATIONS)
    theirs = RandAugment(magnitude=int(magnitude), num_magnitude_bins=31)._augmentation_space(31, (24, 24))
    assert list(theirs) == ["Identity", *[names[name] for name in list(OPERATIONS)[1:]]]
    images = make_images(4, height=24, width=24)
    strength = torch.full((4,), magnitude / 30)
    for name, operation in OPERATIONS.items():
        if name.startswith("shear"):  # theirs is about the corner
            continue
        magnitudes, _ = theirs[names[name]]
        value = float(magnitudes[int(magnitude)]) if magnitudes.ndim else 0.0
        found = operation(images, Drawn(strength, strength, 0.0))
        expected = _apply_theirs(torchvision, names[name], images, value, InterpolationMode.BILINEAR)
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-3 if name.startswith("translate") else 5e-4)


def _apply_theirs(functional: Any, name: str, images: Tensor, value: float, bilinear: Any) -> Tensor:
    whole = colours.to_bytes(images).byte()
    if name in ("TranslateX", "TranslateY"):
        shift = [value, 0.0] if name == "TranslateX" else [0.0, value]
        grid = torch.nn.functional.affine_grid(
            torch.tensor([[1, 0, -2 * shift[0] / 24], [0, 1, -2 * shift[1] / 24]]).expand(4, 2, 3),
            [4, 3, 24, 24],
            align_corners=False,
        )
        return torch.nn.functional.grid_sample(images, grid, align_corners=False)
    calls = {
        "Identity": lambda: images,
        "Rotate": lambda: functional.affine(images, value, [0, 0], 1.0, [0.0, 0.0], interpolation=bilinear),
        "Posterize": lambda: functional.posterize(whole, int(value)) / 255,
        "Solarize": lambda: functional.solarize(images, value / 255),
        "AutoContrast": lambda: functional.autocontrast(images),
        "Equalize": lambda: functional.equalize(whole) / 255,
        "Color": lambda: functional.adjust_saturation(images, 1 + value),
    }
    other = f"adjust_{name.lower()}"
    found: Tensor = calls[name]() if name in calls else getattr(functional, other)(images, 1 + value)
    return found


def test_each_image_has_its_own_operations_in_whatever_batch() -> None:
    augmentation = Augmentation(rand_augment=RandAugment(operations=3, magnitude=None))
    assert augmentation.rand_augment is not None
    images = make_images(40)
    chances = draw_uniform(0, 0, torch.arange(40), count_chances(augmentation))[:, -3 * DRAWS :]
    together = apply_rand_augment(images, chances, augmentation.rand_augment, 0.1)
    for index in (0, 13, 39):
        alone = apply_rand_augment(
            images[index : index + 1], chances[index : index + 1], augmentation.rand_augment, 0.1
        )
        torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-5)


def test_operations_are_drawn_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = {}
    for name in list(OPERATIONS):
        monkeypatch.setitem(
            OPERATIONS,
            name,
            lambda images, drawn, name=name: counts.update({name: counts.get(name, 0) + len(images)}) or images,
        )
    chances = draw_uniform(0, 0, torch.arange(14000), DRAWS)
    apply_rand_augment(torch.zeros(14000, 1, 1, 1), chances, RandAugment(operations=1), 0.0)
    assert set(counts) == set(OPERATIONS)
    assert max(abs(count - 1000) for count in counts.values()) < 4.5 * (14000 / 14 * 13 / 14) ** 0.5
