"""Pictures of the user's as a model's inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dltrain.data.images.pictures import is_picture
from dltrain.data.images.reader import read_image
from dltrain.data.input_files import list_input_files
from dltrain.errors import DataError

DIGITS = {"channels": 1, "height": 28, "width": 28, "background": 0.0}


def saved(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def bright_square(size: int = 28) -> np.ndarray:
    pixels = np.zeros((size, size), np.uint8)
    pixels[size // 4 : size // 2, size // 4 : size // 2] = 200
    return pixels


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels, inverted = read_image(saved(tmp_path / "a.png", bright_square()), DIGITS)
    assert (pixels[0].numpy() == bright_square()).all()
    assert not inverted


@pytest.mark.parametrize(("choice", "turned"), [("auto", True), ("yes", True), ("no", False)])
def test_dark_on_bright_is_inverted(choice: str, turned: bool, tmp_path: Path) -> None:
    pixels, inverted = read_image(saved(tmp_path / "a.png", 255 - bright_square()), DIGITS, choice)  # type: ignore[arg-type]
    assert inverted == turned
    assert (pixels[0].numpy() == (bright_square() if turned else 255 - bright_square())).all()


def test_transparent_paper_is_white(tmp_path: Path) -> None:
    square = 255 - bright_square()
    layers = np.stack([square, square, square, np.where(square < 255, 255, 0).astype(np.uint8)], -1)
    pixels, inverted = read_image(saved(tmp_path / "a.png", layers), DIGITS)
    assert inverted
    assert np.abs(pixels[0].numpy().astype(int) - bright_square()).max() <= 1


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = bright_square().astype(np.uint16) * 256 + 17
    pixels, _ = read_image(saved(tmp_path / "a.png", deep), DIGITS)
    assert (pixels[0].numpy() == bright_square()).all()


def test_a_wide_picture_is_padded_with_its_border_not_squeezed(tmp_path: Path) -> None:
    wide = np.full((28, 84), 10, np.uint8)
    pixels, _ = read_image(saved(tmp_path / "a.png", wide), DIGITS)
    assert (pixels.numpy() == 10).all()
    assert pixels.shape == (1, 28, 28)


def test_colours_for_a_model_of_colours(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 250
    pixels, _ = read_image(saved(tmp_path / "a.png", red), {**DIGITS, "channels": 3, "height": 4, "width": 4})
    assert pixels.shape == (3, 4, 4)
    assert (pixels[0].numpy() == 250).all()
    assert (pixels[1:].numpy() == 0).all()


def test_a_photograph_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    image = Image.fromarray(bright_square())
    notes = Image.Exif()
    notes[0x0112] = 3  # turned by 180 degrees
    image.save(tmp_path / "a.png", exif=notes)
    pixels, _ = read_image(tmp_path / "a.png", DIGITS)
    assert (pixels[0].numpy() == bright_square()[::-1, ::-1]).all()


def test_lists_and_folders(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "c.txt"):
        (tmp_path / name).write_text("")
    skipped: list[Path] = []
    found = list_input_files([str(tmp_path)], iter(()), is_picture, "image", skipped=skipped)
    assert found == [tmp_path / "a.jpeg", tmp_path / "b.PNG"]
    assert skipped == [tmp_path / "c.txt"]
    listed = list_input_files(
        ["x.png", "-"], iter(["y z.png\n", "\n", "w.png\r\n"]), is_picture, "image", skipped=skipped
    )
    assert listed == [Path("x.png"), Path("y z.png"), Path("w.png")]


def test_a_picture_too_large_to_be_meant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", bright_square(100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a.png: cannot be read: Image size \(10000 pixels\) exceeds limit"):
        read_image(path, DIGITS)
