"""The image sets: splits, normalisation, batches, the sample, and what happens without the files."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from dltrain.data.images import mnist
from dltrain.data.images.batches import ImageBatching, Images
from dltrain.data.images.mnist import IDXImages
from dltrain.data.images.options import Augmentation
from dltrain.data.images.pixels import average_border, get_normalization, measure_pixels, normalize_pixels
from dltrain.data.images.samples import DIGITS, read_sample
from dltrain.data.images.sets import IMAGE_SETS
from dltrain.data.splits import hold_out
from dltrain.errors import DataError, UsageError
from dltrain.registry import datasets

REAL = os.environ.get("DLTRAIN_DATA")


def encoded(array: numpy.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def numbered_images(n: int, height: int = 6, width: int = 5) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Random images whose first two pixels hold the image's own number, and labels 0..9 in uneven shares."""
    random = numpy.random.default_rng(n)
    images = random.integers(0, 256, (n, height, width), numpy.uint8)
    images[:, 0, 0], images[:, 0, 1] = numpy.arange(n) // 256, numpy.arange(n) % 256
    labels = numpy.minimum(random.geometric(0.3, n) - 1, 9).astype(numpy.uint8)
    labels[:10] = numpy.arange(10)
    return images, labels


def numbers_in(pixels: Tensor) -> list[int]:
    return (pixels[:, 0, 0, 0].round().long() * 256 + pixels[:, 0, 0, 1].round().long()).tolist()


def write_set(folder: Path, train: int = 303, test: int = 21, **shape: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, n in (("train", train), ("t10k", test)):
        images, labels = numbered_images(n, **shape)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(encoded(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(encoded(labels))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path / "MNIST" / "raw")
    return tmp_path


def built(root: Path, variant: str = "mnist", assets: dict[str, Any] | None = None, **options: Any) -> IDXImages:
    dataset = datasets[variant](variant, 0, assets, root=str(root), **{"download": False, **options})
    assert isinstance(dataset, IDXImages)
    return dataset


def pixels_of(dataset: IDXImages, inputs: Tensor) -> Tensor:
    """Normalised inputs as pixels in 0..255 again."""
    scale, offset = get_normalization(dataset.assets)
    return (inputs - offset) / scale


# Splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(("fraction", "kept"), [(0.0, 0), (0.1, 30), (0.29, 88), (0.5, 152), (0.99, 300)])
def test_held_out_are_exactly_the_share_asked_for(fraction: float, kept: int, stratified: bool) -> None:
    labels = numbered_images(303)[1]
    chosen = hold_out(labels if stratified else numpy.zeros(303), fraction, 0)
    assert int(chosen.sum()) == kept == round(303 * fraction)
    if stratified:
        for label in range(10):
            quota = fraction * int((labels == label).sum())
            assert abs(int(chosen[labels == label].sum()) - quota) < 1


def test_held_out_by_largest_remainder_worked_by_hand() -> None:
    # Shares of a tenth of 17, 15, 8: 1.7, 1.5, 0.8 of 4 in all; whole parts 1, 1, 0; then the remainders 0.8 and 0.7.
    labels = numpy.array([0] * 17 + [1] * 15 + [2] * 8)
    chosen = hold_out(labels, 0.1, 3)
    assert [int(chosen[labels == label].sum()) for label in range(3)] == [2, 1, 1]


def test_held_out_depend_on_the_seed_alone() -> None:
    labels = numpy.zeros(200)
    assert numpy.array_equal(hold_out(labels, 0.3, 1), hold_out(labels, 0.3, 1))
    assert not numpy.array_equal(hold_out(labels, 0.3, 1), hold_out(labels, 0.3, 2))
    assert not numpy.array_equal(hold_out(labels, 0.3, 1), hold_out(labels, 0.3, 1, "test"))


def test_training_and_validation_share_no_image_and_miss_none(root: Path) -> None:
    dataset = built(root, validation=0.2, batch_size=64)
    streams = dataset.training(), dataset.validation()
    found = [
        [number for batch in stream.epoch(0) for number in numbers_in(pixels_of(dataset, batch.inputs))]
        for stream in streams
    ]
    assert len(found[1]) == 61
    assert sorted(found[0] + found[1]) == list(range(303))
    assert found[1] == sorted(found[1])


def test_no_validation_is_an_empty_stream(root: Path) -> None:
    dataset = built(root, validation=0.0)
    assert len(dataset.validation()) == 0
    assert list(dataset.validation().epoch(0)) == []
    assert sum(batch.count for batch in dataset.training().epoch(0)) == 303


def test_a_validation_share_that_takes_all_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path, train=10)
    with pytest.raises(DataError, match=r"data.validation=0.99 of 10 images leaves none to train on"):
        built(tmp_path, validation=0.99)


# Batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_a_function_of_seed_epoch_and_position(root: Path, workers: int) -> None:
    options = {"batch_size": 32, "augment": Augmentation(rotation_degrees=20, shift=0.2, flip="horizontal", erase=0.5)}
    plain, other = built(root, **options).training(), built(root, workers=workers, **options).training()
    for epoch, start in ((0, 0), (1, 0), (1, 5), (0, 8)):
        expected = list(plain.epoch(epoch))[start:]
        for batch, again in zip(expected, other.epoch(epoch, start), strict=True):
            assert torch.equal(batch.inputs, again.inputs)
            assert torch.equal(batch.targets, again.targets)


def test_every_epoch_has_every_image_in_another_order_and_the_last_batch_is_ragged(root: Path) -> None:
    dataset = built(root, batch_size=64)
    training = dataset.training()
    orders = []
    for epoch in (0, 1):
        batches = list(training.epoch(epoch))
        assert len(batches) == len(training) == 5
        assert [batch.count for batch in batches] == [64, 64, 64, 64, 273 - 4 * 64]
        orders.append([number for batch in batches for number in numbers_in(pixels_of(dataset, batch.inputs))])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_each_image_keeps_its_label(root: Path) -> None:
    dataset = built(root)
    images, labels = numbered_images(303)
    for stream in (dataset.training(), dataset.validation()):
        for batch in stream.epoch(3):
            pixels = pixels_of(dataset, batch.inputs)
            numbers = numbers_in(pixels)
            assert batch.inputs.dtype == torch.float32
            assert batch.targets.dtype == torch.int64
            assert batch.targets.tolist() == labels[numbers].tolist()
            numpy.testing.assert_allclose(pixels[:, 0].numpy(), images[numbers], atol=1e-3)


def test_the_same_image_is_augmented_alike_in_whatever_batch(root: Path) -> None:
    augmentation = Augmentation(rotation_degrees=45, scale=[0.8, 1.2], shift=0.2, flip="vertical", erase=1.0)
    found = []
    for batch_size in (7, 50):
        dataset = built(root, batch_size=batch_size, augment=augmentation)
        order = torch.cat([batch.inputs for batch in dataset.training().epoch(4)])
        found.append(order)
    torch.testing.assert_close(*found)
    other_epoch = torch.cat([batch.inputs for batch in dataset.training().epoch(5)])
    assert not torch.allclose(found[0].flatten(1).sum(1).sort().values, other_epoch.flatten(1).sum(1).sort().values)


def test_evaluation_keeps_the_order_of_the_files(root: Path) -> None:
    dataset = built(root, evaluation_batch_size=8, augment=Augmentation(erase=1.0))
    batches = list(dataset.test().epoch(0))
    images, labels = numbered_images(21)
    assert [batch.count for batch in batches] == [8, 8, 5]
    assert torch.cat([batch.targets for batch in batches]).tolist() == labels.tolist()
    pixels = pixels_of(dataset, torch.cat([batch.inputs for batch in batches]))
    numpy.testing.assert_allclose(pixels[:, 0].numpy(), images, atol=1e-3)


def test_no_augmentation_is_the_same_as_an_empty_one(root: Path) -> None:
    plain, empty = built(root).training(), built(root, augment=Augmentation()).training()
    assert torch.equal(next(plain.epoch(0)).inputs, next(empty.epoch(0)).inputs)


# Normalisation ---------------------------------------------------------------------------------------------------


def test_statistics_are_those_of_the_training_split_only(root: Path) -> None:
    dataset = built(root, validation=0.3)
    images = numbered_images(303)[0]
    numbers = [
        number for batch in dataset.training().epoch(0) for number in numbers_in(pixels_of(dataset, batch.inputs))
    ]
    training = images[numbers] / 255
    assert dataset.assets["mean"] == pytest.approx(training.mean(), abs=1e-12)
    assert dataset.assets["std"] == pytest.approx(training.std(), abs=1e-12)
    inputs = torch.cat([batch.inputs for batch in dataset.training().epoch(0)]).double()
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inputs.std(correction=0)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("normalize", "low", "high"), [("symmetric", -1.0, 1.0), ("unit", 0.0, 1.0)])
def test_fixed_ranges_are_met(normalize: str, low: float, high: float) -> None:
    inputs = normalize_pixels({"normalize": normalize}, torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16))
    assert inputs.dtype == torch.float32
    assert (float(inputs.min()), float(inputs.max())) == pytest.approx((low, high), abs=2e-7)
    expected = torch.linspace(low, high, 256, dtype=torch.float64)
    torch.testing.assert_close(inputs.flatten().double(), expected, rtol=0, atol=1e-6)


def test_an_image_is_prepared_alike_wherever_it_stands() -> None:
    assets = {"normalize": "standard", "mean": 0.1307, "std": 0.3081}
    pixels = torch.randint(0, 256, (65, 1, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = normalize_pixels(assets, pixels)
    for index in (0, 1, 31, 64):
        assert torch.equal(normalize_pixels(assets, pixels[index : index + 1])[0], together[index])
    torch.testing.assert_close(together.double(), (pixels.double() / 255 - 0.1307) / 0.3081, rtol=0, atol=1e-6)


def test_statistics_by_hand() -> None:
    pixels = torch.tensor([[[[0, 255, 255], [0, 51, 0], [255, 0, 0]]]], dtype=torch.uint8)
    assert measure_pixels(pixels) == pytest.approx((3.2 / 9, numpy.std([0, 1, 1, 0, 0.2, 0, 1, 0, 0])))
    assert average_border(pixels) == pytest.approx(3 / 8)
    assert measure_pixels(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)) == (1.0, 1.0)


# Assets ----------------------------------------------------------------------------------------------------------


def test_assets_are_plain_json_and_say_what_a_model_needs(root: Path) -> None:
    assets = built(root, normalize="symmetric").assets
    assert json.loads(json.dumps(assets)) == assets
    shape, statistics = {"channels", "height", "width"}, {"normalize", "mean", "std", "background"}
    assert assets.keys() == {"dataset", "labels", "class_counts"} | shape | statistics
    assert (assets["dataset"], assets["channels"], assets["height"], assets["width"]) == ("mnist", 1, 6, 5)
    assert assets["labels"] == list("0123456789")
    assert assets["normalize"] == "symmetric"


def test_given_assets_are_used_and_the_training_files_left_alone(root: Path) -> None:
    assets = {**built(root).assets, "mean": 0.25, "std": 0.5}
    for file in (root / "MNIST" / "raw").glob("train-*"):
        file.unlink()
    dataset = built(root, assets=assets, normalize="unit")
    assert dataset.assets == assets
    assert dataset.fingerprint == {}
    batch = next(dataset.test().epoch(0))
    expected = (torch.from_numpy(numbered_images(21)[0]) / 255 - 0.25) / 0.5
    torch.testing.assert_close(batch.inputs[:, 0], expected, rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="train-images-idx3-ubyte, train-labels-idx1-ubyte"):
        dataset.training()


def test_building_for_training_reads_no_test_file(root: Path) -> None:
    for file in (root / "MNIST" / "raw").glob("t10k-*"):
        file.write_bytes(b"")
    dataset = built(root)
    assert set(dataset.fingerprint) == {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: the file is empty"):
        dataset.test()


def test_fingerprints_are_of_the_unpacked_content(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    expected = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in raw.iterdir()}
    for file in list(raw.iterdir()):
        (raw / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    dataset = built(root)
    dataset.test()
    assert dataset.fingerprint == expected


def test_images_of_another_size_than_the_models_are_refused(root: Path, tmp_path: Path) -> None:
    assets = built(root).assets
    other = write_set(tmp_path / "other", height=7, width=9)
    with pytest.raises(DataError, match=r"the test images are 7 x 9 pixels, but the model was trained on 6 x 5"):
        built(other, assets=dict(assets)).test()


# Variants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "folder", "first", "last"),
    [
        ("mnist", "MNIST/raw", "0", "9"),
        ("fashion_mnist", "FashionMNIST/raw", "T-shirt/top", "Ankle boot"),
        ("kmnist", "KMNIST/raw", "o", "wo"),
        ("idx", "raw", "0", "9"),
    ],
)
def test_each_variant_has_its_folder_and_its_classes(
    tmp_path: Path, variant: str, folder: str, first: str, last: str
) -> None:
    write_set(tmp_path / folder)
    dataset = built(tmp_path, variant)
    assert dataset.name == dataset.assets["dataset"] == variant
    assert (dataset.assets["labels"][0], dataset.assets["labels"][-1], len(dataset.assets["labels"])) == (
        first,
        last,
        10,
    )
    assert dataset.notice is None


def test_the_files_of_a_users_own_set_decide_its_classes(tmp_path: Path) -> None:
    write_set(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(encoded(numpy.arange(303, dtype=numpy.uint8) % 26))
    dataset = built(tmp_path, "idx")
    assert dataset.assets["labels"] == [str(label) for label in range(26)]
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encoded(numpy.full(21, 26, numpy.uint8)))
    with pytest.raises(DataError, match=r"label 26 at index 0; allowed are 0..25"):
        dataset.test()


def test_a_label_that_mnist_does_not_have_is_refused(root: Path) -> None:
    (root / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(encoded(numpy.full(303, 10, numpy.uint8)))
    with pytest.raises(DataError, match=r"label 10 at index 0; allowed are 0..9"):
        built(root)


# Without the files -----------------------------------------------------------------------------------------------


def test_missing_files_stop_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        built(tmp_path)
    message = str(caught.value)
    for part in (
        "train-images-idx3-ubyte, train-labels-idx1-ubyte (plain or .gz): not found in",
        "dltrain data fetch mnist",
        str(tmp_path / "MNIST" / "raw"),
        "data.root",
        "data.when_missing=sample",
        "--sample",
    ):
        assert part in message


def test_a_missing_set_of_the_users_own_has_no_download_to_offer(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        built(tmp_path, "idx", download=True)
    assert "not found in" in str(caught.value)
    assert "fetch" not in str(caught.value)
    assert "sample" not in str(caught.value)


def test_missing_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(variant: str, root: Path) -> None:
        asked.append(variant)
        write_set(root / "KMNIST" / "raw")

    monkeypatch.setattr(mnist, "fetch", fetch)
    dataset = built(tmp_path, "kmnist", download=True)
    assert sum(batch.count for batch in dataset.test().epoch(0)) == 21
    assert asked == ["kmnist"]


def test_files_that_can_not_be_fetched_stop_or_give_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(IMAGE_SETS["mnist"], mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(IMAGE_SETS, "mnist", nowhere)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no mirror provides it"):
        built(tmp_path, download=True)
    dataset = built(tmp_path, download=True, when_missing="sample")
    assert dataset.name == dataset.assets["dataset"] == DIGITS.name
    assert dataset.notice is not None
    assert "NOT MNIST" in dataset.notice
    assert "no mirror provides it" in dataset.notice


def test_the_sample_never_replaces_files_that_are_there(root: Path) -> None:
    assert built(root, when_missing="sample").name == "mnist"
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        built(root, when_missing="sample")


def test_the_sample_is_used_at_once_when_asked_for(root: Path) -> None:
    dataset = built(root, sample=True)
    assert dataset.name == DIGITS.name
    assert dataset.notice is not None
    assert "as requested" in dataset.notice
    counts = [sum(batch.count for batch in stream.epoch(0)) for stream in (dataset.training(), dataset.validation())]
    assert counts == [1437 - 144, 144]
    assert sum(batch.count for batch in dataset.test().epoch(0)) == 360
    assert set(dataset.fingerprint) == {"digits-train", "digits-test"}


def test_a_model_trained_on_the_sample_is_evaluated_on_it(root: Path) -> None:
    assets = dict(built(root, sample=True).assets)
    again = built(root, assets=assets)
    assert again.name == DIGITS.name
    assert again.notice is not None
    assert sum(batch.count for batch in again.test().epoch(0)) == 360


@pytest.mark.parametrize("variant", ["fashion_mnist", "kmnist", "idx"])
@pytest.mark.parametrize(
    ("options", "option"), [({"sample": True}, "sample: true"), ({"when_missing": "sample"}, "when_missing: sample")]
)
def test_only_mnist_has_a_sample(tmp_path: Path, variant: str, options: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=f"data.{option}: there is no sample of {variant}, only of mnist"):
        built(tmp_path, variant, **options)


@pytest.mark.parametrize("scale", [[1.1, 0.9], [0.5, 1.0, 2.0]])
def test_a_scale_that_is_no_interval_is_refused(root: Path, scale: list[float]) -> None:
    with pytest.raises(UsageError, match=r"data.augment.scale: .*; allowed are two numbers, the lower first"):
        built(root, augment=Augmentation(scale=scale))


def test_the_sample_is_scikit_learns_digits_enlarged() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    parts = [read_sample("train"), read_sample("test")]
    images, labels = (torch.cat(pair) for pair in zip(*parts, strict=True))
    assert [len(part[1]) for part in parts] == [1437, 360]
    assert images.shape == (1797, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.tolist() == digits.target.tolist()
    assert int(images.max()) == 255
    assert average_border(images) == 0.0
    assert not images[:, :, :4].any()
    # Enlarging keeps the mean brightness: 400 pixels of the inner square stand for 64.
    inner = images[:, 0, 4:24, 4:24].double().mean((1, 2)) / 255
    numpy.testing.assert_allclose(inner.numpy(), digits.images.mean((1, 2)) / 16, atol=0.03)


def test_without_scikit_learn_the_sample_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r"scikit-learn, which cannot be imported .*\n.*pip install scikit-learn"):
        read_sample("train")


def test_evaluation_batches_of_nothing() -> None:
    empty = Images(torch.empty(0, 1, 2, 2, dtype=torch.uint8), torch.empty(0).long(), torch.empty(0).long())
    batching = ImageBatching(seed=0, batch_size=10, evaluation_batch_size=10, augmentation=Augmentation(), workers=0)
    assert len(batching.load_evaluation(empty, {"normalize": "unit"})) == 0


# Real data -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(REAL is None, reason="DLTRAIN_DATA does not name the folder with MNIST/raw")
def test_real_mnist() -> None:
    dataset = built(Path(str(REAL)))
    training, validation, test = dataset.training(), dataset.validation(), dataset.test()
    assert (len(training), len(validation), len(test)) == (844, 47, 79)
    assert [sum(batch.count for batch in stream.epoch(0)) for stream in (validation, test)] == [6000, 10000]
    # The constants that MNIST is normalised with everywhere are those of all 60,000 training images.
    assert dataset.assets["mean"] == pytest.approx(0.1307, abs=5e-4)
    assert dataset.assets["std"] == pytest.approx(0.3081, abs=5e-4)
    per_class = torch.bincount(torch.cat([batch.targets for batch in validation.epoch(0)]), minlength=10)
    published = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert (per_class - published / 10).abs().max() < 1
    assert dataset.fingerprint["train-images-idx3-ubyte"] == (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    )
