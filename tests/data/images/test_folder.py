"""Folders of pictures: what becomes of a file, splits and folds, the cache, and each thing that may be wrong."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dltrain.data.images import decoded as decoded_pictures
from dltrain.data.images.check_folder import verify
from dltrain.data.images.class_folders import list_pictures
from dltrain.data.images.folder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder
from dltrain.data.images.mnist import IDXImages
from dltrain.data.images.options import Augmentation
from dltrain.data.images.pictures import PictureFormat, UnreadablePicture, open_picture, read_picture, resize_picture
from dltrain.data.images.pixels import get_normalization, normalize_pixels
from dltrain.data.images.reader import read_image
from dltrain.data.images.samples import PATCHES
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold
from dltrain.registry import datasets

Counts = Mapping[str, int]
CLASSES = {"ant": 20, "bee": 12, "cat": 8}
RGB, GREY = PictureFormat(3, 8, 8, "fit"), PictureFormat(1, 8, 8, "fit")


def coloured(number: int, height: int = 8, width: int = 8) -> Image.Image:
    """A picture whose top left pixel holds its number."""
    pixels = numpy.random.default_rng(number).integers(0, 256, (height, width, 3), numpy.uint8)
    pixels[0, 0] = number // 256, number % 256, 7
    return Image.fromarray(pixels)


def write_folder(folder: Path, classes: Counts, first: int = 0) -> Path:
    """PNG files in a folder for each class, numbered from `first` on over all classes."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(first, first + count):
            coloured(number).save(folder / name / f"{number:03}.png")
        first += count
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """40 pictures to train on and 10 to test on."""
    write_folder(tmp_path / "pictures" / "train", CLASSES)
    write_folder(tmp_path / "pictures" / "test", {"ant": 4, "bee": 3, "cat": 3}, 100)
    return tmp_path / "pictures"


def built(root: Path, assets: Mapping[str, Any] | None = None, seed: int = 0, **options: Any) -> ImageFolder:
    options = {"root": str(root), "height": 8, "width": 8, "batch_size": 9, **options}
    dataset = datasets["image_folder"]("image_folder", seed, assets, **options)
    assert isinstance(dataset, ImageFolder)
    return dataset


def pixels_in(dataset: ImageFolder, inputs: Tensor) -> Tensor:
    scale, offset = get_normalization(dataset.assets)
    return ((inputs - offset) / scale).round().long()


def numbers_in(dataset: ImageFolder, stream: Any, epoch: int = 0) -> list[int]:
    """The pictures' own numbers, in the order of the stream."""
    pixels = [pixels_in(dataset, batch.inputs)[:, :2, 0, 0] for batch in stream.epoch(epoch)]
    return [int(high * 256 + low) for part in pixels for high, low in part]


def refused(root: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        built(root, **options)
    return str(caught.value)


# A file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (30, 7), (7, 30), (100, 64)])
def test_fit_is_pillows_own_padding(size: tuple[int, int]) -> None:
    image = coloured(3, *size)
    edges = numpy.asarray(image)
    outermost = numpy.concatenate([edges[0], edges[-1], edges[:, 0], edges[:, -1]])
    colour = tuple(round(level) for level in numpy.median(outermost, axis=0).tolist())
    form = PictureFormat(3, 12, 16, "fit")
    expected = ImageOps.pad(image, (16, 12), Image.Resampling.LANCZOS, color=colour)
    assert numpy.array_equal(numpy.asarray(resize_picture(image, form)), numpy.asarray(expected))


def test_a_line_is_fitted_too() -> None:
    assert resize_picture(Image.new("L", (1000, 1), 90), GREY).size == (8, 8)


def test_crop_takes_the_middle_and_stretch_all() -> None:
    pixels = numpy.zeros((8, 24, 3), numpy.uint8)
    pixels[:, :8], pixels[:, 8:16], pixels[:, 16:] = 50, 100, 200
    image = Image.fromarray(pixels)
    assert (numpy.asarray(resize_picture(image, PictureFormat(3, 8, 8, "crop"))) == 100).all()
    assert set(numpy.asarray(resize_picture(image, PictureFormat(3, 8, 24, "stretch"))).flat) == {50, 100, 200}
    narrow = numpy.asarray(resize_picture(image, PictureFormat(3, 8, 6, "stretch")))[0, :, 0].astype(int)
    assert abs(narrow[0] - 50) < 12
    assert abs(narrow[-1] - 200) < 12


def test_a_photograph_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    pixels = numpy.zeros((8, 8, 3), numpy.uint8)
    pixels[:4] = 200
    notes = Image.Exif()
    notes[0x0112] = 6  # taken with the camera on its side: turn by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=notes)
    assert numpy.array_equal(read_picture(tmp_path / "a.png", RGB)[0], numpy.rot90(pixels[..., 0], -1))


def palette() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    return image


@pytest.mark.parametrize(
    ("name", "image", "options", "first", "last"),
    [
        ("transparent.png", Image.new("RGBA", (8, 8), (9, 9, 9, 0)), {}, (255, 255, 255), (255, 255, 255)),
        ("half.png", Image.new("LA", (8, 8), (0, 128)), {}, (127, 127, 127), (127, 127, 127)),
        ("palette.png", palette(), {}, (255, 0, 0), (10, 20, 30)),
        ("clear.png", palette(), {"transparency": 0}, (255, 255, 255), (10, 20, 30)),
        ("deep.png", Image.fromarray(numpy.full((8, 8), 0x7FAB, numpy.uint16)), {}, (127, 127, 127), (127, 127, 127)),
        ("bits.png", Image.new("1", (8, 8), 1), {}, (255, 255, 255), (255, 255, 255)),
        ("grey.bmp", Image.new("L", (8, 8), 44), {}, (44, 44, 44), (44, 44, 44)),
        ("moving.gif", palette(), {"save_all": True, "append_images": [Image.new("P", (8, 8), 0)]}, (255, 0, 0),
         (10, 20, 30)),
        ("print.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 255)), {}, (0, 0, 0), (0, 0, 0)),
        ("lossless.webp", Image.new("RGB", (8, 8), (1, 2, 3)), {"lossless": True}, (1, 2, 3), (1, 2, 3)),
        ("a.tif", Image.new("RGB", (8, 8), (1, 2, 3)), {}, (1, 2, 3), (1, 2, 3)),
    ],
)  # fmt: skip
def test_kinds_of_pictures(
    name: str,
    image: Image.Image,
    options: dict[str, Any],
    first: tuple[int, ...],
    last: tuple[int, ...],
    tmp_path: Path,
) -> None:
    image.save(tmp_path / name, **options)
    pixels = read_picture(tmp_path / name, RGB)
    assert pixels.shape == (3, 8, 8)
    assert (tuple(pixels[:, 0, 0]), tuple(pixels[:, -1, -1])) == (first, last)
    grey = read_picture(tmp_path / name, GREY)
    assert grey.shape == (1, 8, 8)
    assert int(grey[0, 0, 0]) == pytest.approx(numpy.dot(first, (0.299, 0.587, 0.114)), abs=1)


def test_a_large_jpeg_is_decoded_small_to_nearly_the_same(tmp_path: Path) -> None:
    ramp = numpy.add.outer(numpy.arange(640), numpy.arange(480))[..., None] * [0.1, 0.15, 0.2]
    image = Image.fromarray(ramp.astype(numpy.uint8))
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.jpg", PictureFormat(3, 32, 32, "stretch")).image.size == (120, 160)  # a quarter
    form = PictureFormat(3, 32, 32, "stretch")
    small, whole = (read_picture(tmp_path / name, form).astype(int) for name in ("a.jpg", "a.png"))
    assert numpy.abs(small - whole).max() <= 3


def test_unreadable_files_are_told_with_the_reason(tmp_path: Path) -> None:
    coloured(0, 40, 40).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(numpy.zeros((4, 4), numpy.float32)).save(tmp_path / "float.tif")
    for name, reason in (
        ("cut.png", "cannot be read: image file is truncated"),
        ("text.png", "not an image that can be read; allowed are PNG and JPEG files, also BMP, GIF, WebP, TIFF, PNM"),
        ("empty.png", "not an image that can be read"),
        ("float.tif", "its pixels are floating-point numbers; allowed are whole ones of 8 or 16 bits"),
        ("none.png", "cannot be read: No such file or directory"),
    ):
        with pytest.raises(UnreadablePicture, match=reason):
            read_picture(tmp_path / name, RGB)


def write_cut_jpeg(path: Path, share: float) -> numpy.ndarray:
    """A smooth JPEG of 64 x 64 without the last `share` of its file; the pixels (H, W, 3) of the complete one."""
    rows, columns = numpy.indices((64, 64))
    Image.fromarray(numpy.stack([rows * 3, columns * 3, rows + columns], 2).astype(numpy.uint8)).save(
        path, quality=90, subsampling=0
    )
    content, whole = path.read_bytes(), numpy.asarray(Image.open(path))
    start = content.index(b"\xff\xda")  # of the pixels; before them are the tables
    path.write_bytes(content[: len(content) - max(2, round(share * (len(content) - start)))])
    return whole


def test_a_jpeg_without_its_end_is_read_with_grey_for_the_rest(tmp_path: Path) -> None:
    form = PictureFormat(3, 64, 64, "fit")
    whole = write_cut_jpeg(tmp_path / "a.jpg", share=0)  # only the mark of its end is missing
    image, original = open_picture(tmp_path / "a.jpg", form)
    assert numpy.array_equal(numpy.asarray(image), whole)
    assert original.incomplete

    whole = write_cut_jpeg(tmp_path / "b.jpg", share=0.3)
    rest = numpy.asarray(open_picture(tmp_path / "b.jpg", form).image)
    assert numpy.array_equal(rest[:32], whole[:32])
    assert (rest[-8:] == 128).all()


def test_a_jpeg_of_which_more_than_half_is_missing_is_unreadable(tmp_path: Path) -> None:
    write_cut_jpeg(tmp_path / "a.jpg", share=0.8)
    with pytest.raises(UnreadablePicture, match="more than half of the picture is missing"):
        read_picture(tmp_path / "a.jpg", RGB)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    with pytest.raises(UnreadablePicture, match="cannot be read"):
        read_picture(tmp_path / "a.jpg", RGB)


def test_pictures_whose_end_is_missing_are_counted_and_named(root: Path) -> None:
    write_cut_jpeg(root / "train" / "ant" / "cut.jpg", share=0.2)
    dataset = built(root, validation=0.2)
    assert len(numbers_in(dataset, dataset.training())) + len(numbers_in(dataset, dataset.validation())) == 41
    assert dataset.summarize().facts["training folder, whose end is missing"] == "1"
    assert "the end of 1 of 41 pictures is missing, and grey in its place (ant/cut.jpg)" in str(dataset.notice)


# Splits ----------------------------------------------------------------------------------------------------------


def test_folders_of_splits(root: Path) -> None:
    dataset = built(root, validation=0.2)
    parts = [numbers_in(dataset, stream) for stream in (dataset.training(), dataset.validation(), dataset.test())]
    assert dataset.assets["labels"] == ["ant", "bee", "cat"]
    assert [len(part) for part in parts] == [32, 8, 10]
    assert sorted(parts[0] + parts[1]) == list(range(40))
    assert parts[1] == sorted(parts[1])
    assert parts[2] == list(range(100, 110))


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_a_folder_for_validation(name: str, root: Path) -> None:
    write_folder(root / name, {"ant": 2, "cat": 1}, 200)
    dataset = built(root, validation=0.5)
    assert numbers_in(dataset, dataset.validation()) == [200, 201, 202]
    assert len(numbers_in(dataset, dataset.training())) == 40
    targets = [batch.targets.tolist() for batch in dataset.validation().epoch(0)]
    assert targets == [[0, 0, 2]]


def test_shares_of_one_folder_are_exact_stratified_and_of_the_seed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 20, "bee": 10, "cat": 10})
    found = []
    for seed in (0, 0, 1):
        dataset = built(tmp_path, seed=seed, validation=0.25, test=0.2)
        streams = dataset.training(), dataset.validation(), dataset.test()
        parts = [numbers_in(dataset, stream) for stream in streams]
        assert [len(part) for part in parts] == [24, 8, 8]
        assert sorted(itertools.chain(*parts)) == list(range(40))
        counts = [torch.cat([batch.targets for batch in stream.epoch(0)]).bincount().tolist() for stream in streams]
        assert counts == [[12, 6, 6], [4, 2, 2], [4, 2, 2]]
        found.append(parts[2])
    assert found[0] == found[1] != found[2]


def test_every_picture_keeps_its_class_and_its_pixels(root: Path) -> None:
    dataset = built(root)
    for batch in dataset.training().epoch(2):
        assert batch.inputs.dtype == torch.float32
        pixels = pixels_in(dataset, batch.inputs)
        for one, label in zip(pixels, batch.targets.tolist(), strict=True):
            number = int(one[0, 0, 0] * 256 + one[1, 0, 0])
            assert label == (number >= 20) + (number >= 32)
            assert numpy.array_equal(one.permute(1, 2, 0).numpy(), numpy.asarray(coloured(number)))


def test_pictures_lie_as_deep_as_they_like_and_what_is_hidden_is_passed_over(root: Path) -> None:
    (root / "train" / "bee" / "more" / "deep").mkdir(parents=True)
    coloured(50).save(root / "train" / "bee" / "more" / "deep" / "x.PNG")
    (root / "train" / ".git").mkdir()
    (root / "train" / "ant" / ".thumbnails").mkdir()
    coloured(51).save(root / "train" / "ant" / ".thumbnails" / "x.png")
    (root / "train" / "ant" / ".DS_Store").write_bytes(b"")
    listing = list_pictures(root / "train")
    assert len(listing.names) == 41
    assert listing.names[-9] == "bee/more/deep/x.PNG"
    assert listing.labels[-9] == 1
    assert listing.ignored == []
    assert built(root).notice is None


def test_folds_test_every_picture_once_and_leave_the_test_folder_alone(root: Path) -> None:
    for file in (root / "test").rglob("*.png"):
        file.write_bytes(b"")
    tested: list[int] = []
    for index in range(4):
        dataset = built(root, fold=Fold(index, 4), validation=0.1)
        parts = [numbers_in(dataset, stream) for stream in (dataset.training(), dataset.validation(), dataset.test())]
        assert sorted(itertools.chain(*parts)) == list(range(40))
        assert [len(part) for part in parts] == [27, 3, 10]
        assert torch.cat([batch.targets for batch in dataset.test().epoch(0)]).bincount().tolist() == [5, 3, 2]
        tested += parts[2]
    assert sorted(tested) == list(range(40))


def test_folds_of_mnist_test_every_training_image_once(images_root: Path) -> None:
    found = []
    for index in range(5):
        options: dict[str, Any] = {"root": str(images_root), "download": False, "validation": 0.25}
        dataset = IDXImages("mnist", 0, None, fold=Fold(index, 5), **options)
        batches = [list(stream.epoch(0)) for stream in (dataset.training(), dataset.validation(), dataset.test())]
        assert [sum(batch.count for batch in part) for part in batches] == [120, 40, 40]
        assert torch.cat([batch.targets for batch in batches[2]]).bincount().tolist() == [4] * 10
        scale, offset = get_normalization(dataset.assets)
        found += [
            hash(one.numpy().tobytes()) for batch in batches[2] for one in ((batch.inputs - offset) / scale).round()
        ]
        assert set(dataset.fingerprint) == {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}
    assert len(set(found)) == 200


# Batches and statistics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_augmented_batches_are_a_function_of_seed_epoch_and_position(root: Path, workers: int) -> None:
    augment = Augmentation(rotation_degrees=20, scale=[0.9, 1.1], shift=0.1, flip="horizontal", erase=0.5)
    plain, other = built(root, augment=augment).training(), built(root, augment=augment, workers=workers).training()
    for epoch, start in ((0, 0), (1, 2)):
        for batch, again in zip(list(plain.epoch(epoch))[start:], other.epoch(epoch, start), strict=True):
            assert batch.inputs.shape[1:] == (3, 8, 8)
            assert torch.equal(batch.inputs, again.inputs)
            assert torch.equal(batch.targets, again.targets)


def test_a_flip_mirrors_all_channels(root: Path) -> None:
    plain, flipped = (built(root, augment=Augmentation(flip=flip)) for flip in ("none", "horizontal"))  # type: ignore[arg-type]
    turned = 0
    for batch, again in zip(plain.training().epoch(0), flipped.training().epoch(0), strict=True):
        for one, other in zip(batch.inputs, again.inputs, strict=True):
            assert torch.equal(other, one) or torch.equal(other, one.flip(2))
            turned += torch.equal(other, one.flip(2))
    assert 5 < turned < 30


@pytest.mark.parametrize("mode", ["rgb", "grey"])
def test_statistics_are_those_of_the_training_split(root: Path, mode: str) -> None:
    dataset = built(root, mode=mode, validation=0.3)
    numbers = numbers_in(built(root, validation=0.3), built(root, validation=0.3).training())
    images = [coloured(number).convert("RGB" if mode == "rgb" else "L") for number in numbers]
    pixels = numpy.stack([numpy.asarray(image).reshape(8, 8, -1) for image in images]) / 255
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    assert numpy.allclose(dataset.assets["mean"], mean if mode == "rgb" else mean[0], rtol=0, atol=1e-12)
    assert numpy.allclose(dataset.assets["std"], std if mode == "rgb" else std[0], rtol=0, atol=1e-12)
    border = numpy.ones((8, 8), bool)
    border[1:-1, 1:-1] = False
    assert dataset.assets["background"] == pytest.approx(pixels[:, border].mean())
    inputs = torch.cat([batch.inputs for batch in dataset.training().epoch(0)]).double()
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(len(mean), dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        inputs.std((0, 2, 3), correction=0), torch.ones(len(mean), dtype=torch.float64), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("normalize", ["symmetric", "unit", "imagenet"])
def test_other_normalisations(root: Path, normalize: str) -> None:
    batch = next(built(root, normalize=normalize).test().epoch(0))
    pixels = numpy.stack([numpy.asarray(coloured(number)) for number in range(100, 110)]) / 255
    mean, std = {"symmetric": (0.5, 0.5), "unit": (0, 1), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}[normalize]
    expected = (pixels - mean) / std  # type: ignore[operator]
    numpy.testing.assert_allclose(batch.inputs.permute(0, 2, 3, 1).numpy(), expected, rtol=0, atol=1e-6)


def test_grey_by_imagenets_statistics_takes_their_mean(root: Path) -> None:
    assets = built(root, mode="grey", normalize="imagenet").assets
    assert (assets["mean"], assets["std"]) == pytest.approx((sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3))


def test_assets_are_plain_json_and_all_that_evaluation_needs(root: Path) -> None:
    assets = built(root, resize="crop", normalize="unit").assets
    assert json.loads(json.dumps(assets)) == assets
    assert (assets["channels"], assets["height"], assets["width"], assets["resize"]) == (3, 8, 8, "crop")
    for file in (root / "train").rglob("*.png"):
        file.unlink()
    dataset = built(root, assets, height=99, mode="grey")
    batch = next(dataset.test().epoch(0))
    assert batch.inputs.shape == (10, 3, 8, 8)
    assert set(dataset.fingerprint) == {"test pictures"}


def test_a_picture_to_predict_is_made_what_those_to_train_on_are(root: Path, tmp_path: Path) -> None:
    coloured(7, 30, 21).save(root / "test" / "ant" / "000.png")
    bright = Image.new("RGB", (20, 9), "white")
    bright.save(root / "test" / "ant" / "001.png")
    for resize in ("fit", "crop", "stretch"):
        dataset = built(root, resize=resize)
        inputs = next(dataset.test().epoch(0)).inputs
        for place in (0, 1):
            pixels, inverted = read_image(root / "test" / "ant" / f"00{place}.png", dataset.assets)
            assert not inverted  # a white border means nothing here
            assert torch.equal(normalize_pixels(dataset.assets, pixels[None])[0], inputs[place])


# The cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that are decoded, as they are."""
    seen: list[str] = []

    def watched(path: Path, form: PictureFormat) -> Any:
        seen.append(path.name)
        return open_picture(path, form)

    monkeypatch.setattr(decoded_pictures, "open_picture", watched)
    return seen


def test_pictures_are_decoded_once_for_their_content_and_form(root: Path, tmp_path: Path, decoding: list[str]) -> None:
    options = {"cache": str(tmp_path / "cache")}
    first = built(root, **options)
    assert len(decoding) == 40
    again = built(root, **options)
    assert numbers_in(first, first.training()) == numbers_in(again, again.training())
    built(root, seed=3, validation=0.3, normalize="unit", batch_size=2, **options)
    built(root, fold=Fold(1, 3), **options)
    for file in (root / "train").rglob("*.png"):
        os.utime(file, (1, 1))  # read again, but the same
    built(root, **options)
    root.rename(root.with_name("elsewhere"))
    root = root.with_name("elsewhere")
    built(root, **options)
    assert len(decoding) == 40
    built(root, mode="grey", **options)
    assert len(decoding) == 80
    coloured(99).save(root / "train" / "ant" / "000.png")
    changed = built(root, **options)
    assert len(decoding) == 120
    assert 99 in numbers_in(changed, changed.training()) + numbers_in(changed, changed.validation())


def test_the_fingerprint_is_of_names_and_contents(root: Path) -> None:
    dataset = built(root)
    dataset.test()
    for split, folder in (("training", "train"), ("test", "test")):
        files = sorted((root / folder).rglob("*.png"))
        lines = [
            f"{file.relative_to(root / folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files
        ]
        assert dataset.fingerprint[f"{split} pictures"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    (root / "train" / "ant" / "000.png").rename(root / "train" / "ant" / "000b.png")
    assert built(root).fingerprint["training pictures"] != dataset.fingerprint["training pictures"]


def test_building_for_training_opens_no_test_picture(root: Path) -> None:
    for file in (root / "test").rglob("*.png"):
        file.write_bytes(b"")
    dataset = built(root)
    assert set(dataset.fingerprint) == {"training pictures"}
    with pytest.raises(DataError, match=r"test: 10 of 10 pictures cannot be used \(100.0%; data.max_bad_fraction"):
        dataset.test()


# What may be wrong -----------------------------------------------------------------------------------------------


def test_a_missing_root_has_ways_out(tmp_path: Path) -> None:
    message = refused(tmp_path / "none")
    assert message.startswith(f"{tmp_path}/none: no such folder\n")
    for part in (f"{tmp_path}/none/train", "data.root", "data.when_missing=sample", "--sample"):
        assert part in message
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file").startswith(f"{tmp_path}/file: not a folder\n")


def test_too_few_classes_are_refused(tmp_path: Path) -> None:
    needed = "; needed is one folder for each of two or more classes"
    assert refused(tmp_path) == f"{tmp_path}: no classes{needed}"
    coloured(0).save(tmp_path / "a.png")
    assert refused(tmp_path).startswith(f"{tmp_path}: no classes, but 1 pictures outside a class folder{needed}\n")
    write_folder(tmp_path, {"ant": 3})
    assert refused(tmp_path) == f"{tmp_path}: only one class, ant{needed}"


def test_an_empty_class_is_refused(root: Path) -> None:
    (root / "train" / "dog").mkdir()
    assert f"{root}/train/dog: no picture of this class\nnext: add some" in refused(root)
    (root / "train" / "dog" / "notes.txt").write_text("")
    assert "no picture of this class, only 1 other files such as notes.txt\nnext" in refused(root)


def test_splits_without_a_training_folder_are_refused(root: Path) -> None:
    (root / "train").rename(root / "learning")
    assert refused(root).startswith(f"{root}: has the folder test, but not train\n")


def test_a_class_that_training_does_not_know_is_refused(root: Path) -> None:
    write_folder(root / "test", {"dog": 1, "emu": 1}, 300)
    dataset = built(root)
    with pytest.raises(
        DataError, match="test: the training pictures have no class dog, emu; they have ant, bee, cat\nnext"
    ):
        dataset.test()
    with pytest.raises(DataError, match="no class dog, emu"):
        built(root, dataset.assets).test()


def test_an_empty_test_folder_is_refused(root: Path) -> None:
    for file in (root / "test").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="test: no pictures in it\nnext: put one folder"):
        built(root).test()


def test_no_share_for_the_test_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path, CLASSES)
    told = r"no folder test, and data.test=0.0 of the training pictures are none\nnext: put test pictures into .*/test"
    with pytest.raises(UsageError, match=f"{told}, or evaluate with --split validation$"):
        built(tmp_path, test=0.0).test()
    with pytest.raises(UsageError, match=f"{told}$"):
        built(tmp_path, test=0.0, validation=0.0).test()


def test_a_class_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 30, "bee": 1})
    message = refused(tmp_path, validation=0.9, test=0.5)
    assert message.startswith(f"{tmp_path}/bee: 1 pictures, none of which is left for training")


def test_bad_pictures_are_left_out_named_and_counted(root: Path) -> None:
    (root / "train" / "ant" / "000.png").write_bytes(b"no picture")
    content = (root / "train" / "cat" / "033.png").read_bytes()
    (root / "train" / "cat" / "033.png").write_bytes(content[:80])
    (root / "train" / "bee" / "Thumbs.db").write_text("")
    dataset = built(root, validation=0.2, max_bad_fraction=0.05)
    assert dataset.notice == (
        f"{root}/train: 2 of 40 pictures are left out (ant/000.png: not an image that can be read; allowed are PNG and "
        "JPEG files, also BMP, GIF, WebP, TIFF, PNM, AVIF, JPEG 2000; cat/033.png: cannot be read: image file is "
        "truncated); "
        "1 other files are ignored (bee/Thumbs.db)."
    )
    found = numbers_in(dataset, dataset.training()) + numbers_in(dataset, dataset.validation())
    assert sorted(found) == [number for number in range(40) if number not in (0, 33)]
    message = refused(root, max_bad_fraction=0.04)
    assert f"{root}/train: 2 of 40 pictures cannot be used (5.0%; data.max_bad_fraction allows 4.0%)\n" in message
    assert "\n  cat/033.png: cannot be read: image file is truncated\nnext: run `dltrain data check" in message


def test_a_scale_that_ends_before_it_begins_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"data.augment.scale: \[1.1, 0.9\]; allowed are two numbers, the lower first"):
        built(root, augment=Augmentation(scale=[1.1, 0.9]))


# The sample ------------------------------------------------------------------------------------------------------


def test_the_sample_is_called_what_it_is(tmp_path: Path) -> None:
    dataset = built(tmp_path / "none", when_missing="sample")
    assert dataset.name == dataset.assets["dataset"] == PATCHES.name
    assert dataset.notice is not None
    assert dataset.notice.startswith(
        "NOT YOUR PICTURES: this uses the patches sample (two photographs of scikit-learn)"
    )
    assert f"about your pictures.\n{tmp_path}/none: no such folder\n" in dataset.notice
    assert dataset.assets["labels"] == ["flower", "temple"]
    counts = [sum(batch.count for batch in one.epoch(0)) for one in (dataset.training(), dataset.validation())]
    assert counts == [351, 39]
    targets = torch.cat([batch.targets for batch in dataset.test().epoch(0)])
    assert targets.bincount().tolist() == [65, 65]
    again = built(tmp_path / "none", dict(dataset.assets))
    assert again.notice is not None
    assert "as in this model's training." in again.notice
    assert sum(batch.count for batch in again.test().epoch(0)) == 130


def test_the_samples_patches_are_of_the_photographs(tmp_path: Path) -> None:
    from sklearn.datasets import load_sample_image

    dataset = built(tmp_path, sample=True, height=32, width=32, normalize="unit")
    batch = next(dataset.test().epoch(0))
    patch = torch.from_numpy(load_sample_image("flower.jpg")[:32, 512:544].copy()).permute(2, 0, 1)
    assert torch.equal((255 * batch.inputs[1]).round().to(torch.uint8), patch)


def test_the_sample_never_replaces_pictures_that_are_there(root: Path) -> None:
    assert built(root, when_missing="sample").name == "image_folder"
    (root / "train" / "dog").mkdir()
    assert "no picture of this class" in refused(root, when_missing="sample")


# The command line ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_data_check_names_what_is_bad(root: Path, dltrain: Callable[..., Any]) -> None:
    fine = verify("image_folder", root)[0]
    assert fine.lines()[2:] == ["  pictures  40 of 3 classes (ant: 20, bee: 12, cat: 8)", "  sizes     1: 8 x 8"]
    (root / "test" / "bee" / "104.png").write_bytes(b"")
    (root / "train" / "cat" / "notes.txt").write_text("")
    write_folder(root / "val", {"dog": 1})
    found = dltrain("data", "check", "image_folder", "--root", root, "--json")
    assert found.returncode == 3
    assert f"{root}/val: the training pictures have no class dog; they have ant, bee, cat" in found.stderr
    report = json.loads(found.stdout)
    assert report["ok"] is False
    training, validation, test = report["files"]
    assert (training["fault"], training["ignored"]) == (None, ["cat/notes.txt"])
    assert validation["fault"].startswith(f"{root}/val: the training pictures have no class dog")
    assert test["fault"] == f"{root}/test: 1 of 10 pictures cannot be read"
    assert test["bad"][0][0] == "bee/104.png"
    assert "    bee/104.png: not an image" in "\n".join(verify("image_folder", root)[2].lines())


def test_data_check_counts_what_it_does_not_list(root: Path) -> None:
    for number in range(6):
        (root / "train" / "ant" / f"{number:03}.png").write_bytes(b"")
    report = verify("image_folder", root)[0]
    assert report.lines()[0] == "training: NOT FINE"
    assert report.lines()[-1] == "    and 1 more (--json lists all)"
    (root / "test").rename(root / "old")
    (root / "test").mkdir()
    assert verify("image_folder", root)[1].fault == f"{root}/test: no pictures in it"
