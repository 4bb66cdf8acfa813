"""Augmentation against torchvision's own affine transform, exact mirrors, and counted pixels."""

from __future__ import annotations

import math

import pytest
import torch

from dltrain.data.images.augmentation import CHANCES, augment
from dltrain.data.images.geometry import erase, flip, move
from dltrain.data.images.options import Augmentation
from dltrain.runtime.cuda_wheels import import_torchvision
from dltrain.runtime.seeds import draw_uniform


def images_of(n: int, height: int = 28, width: int = 28, channels: int = 1) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(n))


def chances_of(n: int) -> torch.Tensor:
    return draw_uniform(0, 0, torch.arange(n), CHANCES)


def test_changing_nothing_returns_the_images_themselves() -> None:
    images = images_of(3)
    assert augment(images, chances_of(3), Augmentation(), 0.0) is images


@pytest.mark.parametrize("size", [(28, 28), (20, 31)])
@pytest.mark.parametrize(
    ("degrees", "scale", "shift"),
    [(0, 1, (0, 0)), (30, 1, (0, 0)), (-77, 1, (0, 0)), (0, 1.3, (0, 0)), (0, 1, (3, -2)), (25, 0.8, (-4, 5))],
)
def test_moving_agrees_with_torchvision(
    size: tuple[int, int], degrees: float, scale: float, shift: tuple[int, int]
) -> None:
    try:
        import_torchvision()
        from torchvision.transforms.v2 import InterpolationMode, functional
    except Exception as error:
        pytest.skip(f"torchvision: {error}")
    images = images_of(2, *size, channels=3)
    expected = functional.affine(
        images, degrees, list(shift), scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
    )
    shares = torch.tensor([shift[0] / size[1], shift[1] / size[0]]).expand(2, 2)
    found = move(
        images, torch.full((2,), float(degrees)), torch.full((2,), float(scale)), shifts=shares, background=0.0
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_what_comes_in_from_outside_is_the_background() -> None:
    # An image of nothing but background stays one, however it is moved: its border does not darken.
    blank = torch.full((5, 1, 28, 28), 0.3)
    chances = chances_of(5)
    found = move(blank, 360 * chances[:, 0], 0.5 + chances[:, 1], shifts=chances[:, 2:4] - 0.5, background=0.3)
    torch.testing.assert_close(found, blank)


def test_each_image_is_moved_by_its_own_numbers() -> None:
    images = images_of(1).expand(3, 1, 28, 28)
    degrees, scales = torch.tensor([0.0, 90.0, 180.0]), torch.ones(3)
    found = move(images, degrees, scales, shifts=torch.zeros(3, 2), background=0.0)
    for index, turns in enumerate((0, -1, -2)):  # rot90 turns against the clock
        torch.testing.assert_close(found[index], torch.rot90(images[index], turns, (1, 2)), rtol=0, atol=1e-4)


def test_a_shift_by_whole_pixels_moves_right_and_down_and_fills_with_the_background() -> None:
    images = images_of(1)
    found = move(images, torch.zeros(1), torch.ones(1), shifts=torch.tensor([[7 / 28, 14 / 28]]), background=0.5)
    torch.testing.assert_close(found[:, :, 14:, 7:], images[:, :, :14, :21], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, :, :14], torch.full((1, 1, 14, 28), 0.5))
    torch.testing.assert_close(found[:, :, :, :7], torch.full((1, 1, 28, 7), 0.5))


@pytest.mark.parametrize(("direction", "dimension"), [("horizontal", 3), ("vertical", 2)])
def test_mirrors_are_exact(direction: str, dimension: int) -> None:
    images = images_of(4, 5, 6)
    chosen = torch.tensor([True, False, True, False])
    found = flip(images, chosen, direction)
    for index in range(4):
        expected = images[index].flip(dimension - 1) if chosen[index] else images[index]
        assert torch.equal(found[index], expected)


def test_half_of_the_images_are_mirrored() -> None:
    images = images_of(1, 4, 4).expand(4000, 1, 4, 4)
    found = augment(images, chances_of(4000), Augmentation(flip="horizontal"), 0.0)
    mirrored = (found != images).flatten(1).any(1).float().mean()
    assert abs(float(mirrored) - 0.5) < 4.5 * 0.5 / 4000**0.5


def test_erasing_blanks_one_rectangle_of_the_size_drawn() -> None:
    n = 500
    chances = torch.rand(n, 4, generator=torch.Generator().manual_seed(1))
    found = erase(torch.ones(n, 1, 30, 40), torch.ones(n, dtype=torch.bool), chances, 0.0)
    for image, (area, aspect, _, _) in zip(found[:, 0], chances.tolist(), strict=True):
        blank = image == 0
        rows, columns = blank.any(1).nonzero().flatten(), blank.any(0).nonzero().flatten()
        height, width = len(rows), len(columns)
        assert int(blank.sum()) == height * width
        assert int(rows[-1] - rows[0]) == height - 1
        assert int(columns[-1] - columns[0]) == width - 1
        pixels, ratio = (0.02 + 0.31 * area) * 1200, math.exp(math.log(0.3) * (1 - 2 * aspect))
        assert abs(height - min(math.sqrt(pixels * ratio), 30)) <= 0.501
        assert abs(width - min(math.sqrt(pixels / ratio), 40)) <= 0.501


def test_erasing_reaches_every_corner_and_stays_inside() -> None:
    corners = torch.tensor([[0.0, 0.5, y, x] for y in (0.0, 0.9999999) for x in (0.0, 0.9999999)])
    found = erase(torch.ones(4, 1, 28, 28), torch.ones(4, dtype=torch.bool), corners, 0.0)[:, 0]
    assert [[int(image[y, x]) for y in (0, 27) for x in (0, 27)] for image in found] == [
        [0, 1, 1, 1],
        [1, 0, 1, 1],
        [1, 1, 0, 1],
        [1, 1, 1, 0],
    ]


def test_erasing_takes_the_share_of_images_asked_for() -> None:
    images = torch.ones(4000, 1, 8, 8)
    found = augment(images, chances_of(4000), Augmentation(erase=0.3), 0.25)
    touched = (found == 0.25).flatten(1).any(1).float().mean()
    assert abs(float(touched) - 0.3) < 4.5 * (0.3 * 0.7 / 4000) ** 0.5


def test_angles_scales_and_shifts_fill_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor] = []
    monkeypatch.setattr(
        "dltrain.data.images.augmentation.move",
        lambda images, angles, scales, *, shifts, background: given.extend((angles, scales, shifts)) or images,
    )
    augment(images_of(2000), chances_of(2000), Augmentation(rotation_degrees=10, scale=[0.9, 1.2], shift=0.1), 0.0)
    for numbers, low, high in zip(given, (-10, 0.9, -0.1), (10, 1.2, 0.1), strict=True):
        assert low <= float(numbers.min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(numbers.max()) <= high


def test_an_image_is_changed_alike_in_whatever_batch() -> None:
    augmentation = Augmentation(rotation_degrees=30, scale=[0.8, 1.2], shift=0.2, flip="horizontal", erase=0.5)
    images, chances = images_of(65), chances_of(65)
    together = augment(images, chances, augmentation, 0.1)
    for index in (0, 13, 64):
        alone = augment(images[index : index + 1], chances[index : index + 1], augmentation, 0.1)
        torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-5)
