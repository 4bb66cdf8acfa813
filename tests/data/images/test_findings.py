"""Folders that are read in another way than was meant: names of splits, formats, depth, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from dltrain.data.images.check_folder import FolderReport, verify
from dltrain.data.images.folder import ImageFolder
from dltrain.data.images.pictures import PictureFormat, open_picture, read_picture
from dltrain.data.images.reader import ImageReader
from dltrain.errors import DataError

TWO = ("cat", "dog")


def write(root: Path, splits: Sequence[str] = ("",), classes: Sequence[str] = TWO, count: int = 4) -> Path:
    draw = numpy.random.default_rng(0)
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), numpy.uint8)).save(folder / f"{index}.png")
    return root


def built(root: Path, assets: Mapping[str, Any] | None = None, **options: Any) -> ImageFolder:
    options = {"height": 8, "width": 8, "validation": 0.25, "cache": str(root.parent / "cache"), **options}
    return ImageFolder("image_folder", 0, assets, root=str(root), **options)


def sizes(dataset: ImageFolder) -> dict[str, int | None]:
    dataset.training(), dataset.validation(), dataset.test()
    return {split.name: split.examples for split in dataset.summarize().splits}


def checked(root: Path) -> list[FolderReport]:
    return verify("image_folder", root)


# Names of splits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "validation", "test"),
    [("Training", "Dev", "Testing"), ("train", "eval", "tests"), ("TRAIN", "Valid", "Test"), ("train", "val", "test")],
)
def test_splits_by_other_names_are_found(training: str, validation: str, test: str, tmp_path: Path) -> None:
    dataset = built(write(tmp_path / "pets", (training, validation, test)))
    assert dataset.assets["labels"] == ["cat", "dog"]
    assert sizes(dataset) == {"training": 8, "validation": 8, "test": 8}
    assert dataset.notice is None
    assert [report.path for report in checked(tmp_path / "pets")] == [
        str(tmp_path / "pets" / name) for name in (training, validation, test)
    ]


def test_folders_next_to_the_splits_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", ("train", "holdout"))
    notice = built(root).notice
    assert notice is not None
    assert notice.startswith(f"{root}: the folder holdout next to train is not read; names of splits are training: tr")
    assert checked(root)[0].notes == [notice]


@pytest.mark.parametrize("names", [("train_images", "test_images"), ("seg_train", "seg_test"), ("Train1", "holdout1")])
def test_classes_that_look_like_splits_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    root = write(tmp_path / "pets", classes=names)
    with pytest.raises(DataError, match="look like splits, but would be classes\nnext: rename them to train"):
        built(root)
    with pytest.raises(DataError, match="look like splits"):
        checked(root)


def test_classes_with_the_same_folders_inside_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", ("first", "second"))
    message = r"first, second would be the classes, but each has the same folders in it \(cat, dog\)"
    with pytest.raises(DataError, match=message):
        built(root)
    with pytest.raises(DataError, match=message):
        checked(root)
    (root / "train").mkdir()
    for name in ("first", "second"):
        (root / name).rename(root / "train" / name)  # the way out, if they are classes
    assert built(root).assets["labels"] == ["first", "second"]


@pytest.mark.parametrize("names", [("train_station", "test_tube"), ("contest", "protest"), ("test", "other")])
def test_classes_with_such_words_in_their_names_are_classes(names: tuple[str, str], tmp_path: Path) -> None:
    assert built(write(tmp_path / "pets", classes=names)).assets["labels"] == sorted(names)


def test_a_root_that_is_one_folder_too_high_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", ("data",))
    with pytest.raises(DataError, match=r"only one class, data; needed is .*\nnext: set data.root to .*pets/data"):
        built(root)


# Formats ---------------------------------------------------------------------------------------------------------


def test_files_are_pictures_by_their_content_in_every_command(tmp_path: Path) -> None:
    root = write(tmp_path / "pets")
    for name in ("a.avif", "b.jp2", "c.jfif"):
        image = Image.new("RGB", (8, 8), (200, 30, 30))
        image.save(root / "cat" / name, format={".jfif": "JPEG"}.get(Path(name).suffix))
    (root / "cat" / "0.png").rename(root / "cat" / "no suffix")
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / "cat" / ".hidden.png").write_bytes(b"")
    dataset = built(root)
    assert dataset.summarize().splits[0].classes["cat"] == 5  # of 7, less the shares for validation and test
    assert dataset.notice == f"{root}: 1 other files are ignored (cat/notes.txt)."
    assert (checked(root)[0].classes["cat"], checked(root)[0].ignored) == (7, ["cat/notes.txt"])
    reader = ImageReader(dataset.assets)
    read = list(reader.read([str(root / "cat")], iter(())))
    assert [Path(one.name).name for one in read] == [
        "1.png",
        "2.png",
        "3.png",
        "a.avif",
        "b.jp2",
        "c.jfif",
        "no suffix",
    ]
    assert not any(isinstance(one.value, DataError) for one in read)
    assert reader.notes() == [f"1 file is skipped, since it is no image file ({root}/cat/notes.txt)"]


def test_a_run_of_an_earlier_version_reads_the_files_that_it_read(tmp_path: Path) -> None:
    root = write(tmp_path / "pets")
    before = built(root)
    former = {name: value for name, value in before.assets.items() if name != "white"}
    Image.new("RGB", (8, 8)).save(root / "cat" / "a.avif")
    assert sizes(built(root, former)) == sizes(before)
    assert sum(count or 0 for count in sizes(built(root)).values()) == 9


# Depth -----------------------------------------------------------------------------------------------------------


def write_depths(root: Path, kind: type[numpy.unsignedinteger[Any]], low: int = 20, high: int = 230) -> Path:
    draw = numpy.random.default_rng(0)
    for name, top in (("flat", low + 8), ("stripes", high)):
        (root / name).mkdir(parents=True)
        for index in range(8):
            pixels = numpy.full((24, 24), low, kind)
            pixels[::2] = top
            Image.fromarray(pixels + draw.integers(0, 5, (24, 24)).astype(kind)).save(root / name / f"{index}.png")
    return root


def test_sixteen_bits_that_leave_the_upper_ones_empty_are_reported(tmp_path: Path) -> None:
    root = write_depths(tmp_path / "depths", numpy.uint16)
    notice = built(root, mode="grey").notice or ""
    assert "16 of 16 pictures have 16 bits, but no value above 234, and of 16 bits the upper 8 are kept: " in notice
    assert "set data.white to the value that is white, or to largest" in notice
    assert "all 16 pictures have one and the same colour (0 of 255)" in notice
    assert "no value above 234" in checked(root)[0].notes[0]


def test_the_largest_value_becomes_white(tmp_path: Path) -> None:
    root, same = write_depths(tmp_path / "a", numpy.uint16), write_depths(tmp_path / "b", numpy.uint8)
    deep, shallow = built(root, mode="grey", white="largest"), built(same, mode="grey")
    assert (deep.assets["white"], deep.notice) == (234, None)
    first, second = (numpy.asarray(open_picture(path / "stripes" / "0.png", form).image, numpy.float64)
                     for path, form in ((root, PictureFormat(1, 24, 24, "fit", 234)),
                                        (same, PictureFormat(1, 24, 24, "fit"))))  # fmt: skip
    assert numpy.array_equal(first, numpy.floor(second * 255 / 234 + 0.5))
    assert "white" in shallow.assets
    again = built(root, deep.assets, mode="grey")
    Image.fromarray(numpy.full((24, 24), 500, numpy.uint16)).save(root / "bright.png")
    reader = ImageReader(again.assets)
    assert [float(one.value.float().mean()) for one in reader.read([str(root / "bright.png")], iter(()))] == [255.0]
    assert reader.notes() == ["1 of 1 pictures have values above data.white 234, up to 500: they become white"]


def test_sixteen_bits_in_colour_are_reported_too(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    for name in TWO:
        (root / name).mkdir(parents=True)
        for index in range(4):
            write_deep_png(root / name / f"{index}.png", 20 * index)
    assert read_picture(root / "cat" / "1.png", PictureFormat(3, 8, 8, "fit")).max() == 0
    notice = built(root).notice or ""
    assert "8 of 8 pictures have 16 bits for each colour and no value above 255; only the upper 8 are read" in notice


def write_deep_png(path: Path, value: int) -> None:
    """A PNG of 8 x 8 pixels in red, green and blue of 16 bits, which Pillow does not write."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + struct.pack(">H", value) * 24 for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


# Contents --------------------------------------------------------------------------------------------------------


def test_one_file_in_two_classes_and_in_two_splits_is_reported(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", ("train", "test"))
    for folder in ("train/dog", "test/cat"):
        (root / folder / "9.png").write_bytes((root / "train" / "cat" / "2.png").read_bytes())
    Image.new("RGB", (9, 8)).save(root / "test" / "dog" / "8.png")
    assert "1 pictures are in two classes (dog/9.png is cat/2.png): remove one of each" in (built(root).notice or "")
    dataset = built(root, built(root).assets)
    dataset.test()
    assert dataset.notice == "test: 1 of 10 pictures are in the training data too, so that scores are too good"
    assert set(dataset.fingerprint) == {"test pictures"}
    training, test = checked(root)
    assert training.notes == ["1 pictures are in two classes: dog/9.png is cat/2.png"]
    assert test.notes == ["1 of 10 pictures are in the training folder too: cat/9.png is dog/9.png"]


def test_sizes_and_turned_pictures_are_among_the_facts(tmp_path: Path) -> None:
    root = write(tmp_path / "pets")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10), (1, 2, 3)).save(root / "cat" / "phone.jpg", exif=exif)
    dataset = built(root)
    dataset.training()
    facts = dataset.summarize().facts
    assert facts["training folder, sizes"] == "8 x 8: 8, 20 x 10: 1"
    assert (facts["training folder, turned by EXIF"], facts["training folder, of a single colour"]) == ("1", "1")


def test_names_of_classes_are_composed_and_links_are_named(tmp_path: Path) -> None:
    import unicodedata

    apart = [unicodedata.normalize("NFD", name) for name in ("caf\u00e9", "Caf\u00e9")]
    root = write(write(tmp_path / "pets", ("train",), ("caf\u00e9", "Caf\u00e9", "tea")), ("test",), (*apart, "tea"))
    (root / "train" / "tea" / "more").symlink_to(root / "train" / "Caf\u00e9")
    dataset = built(root)
    notice = dataset.notice
    assert dataset.assets["labels"] == ["Caf\u00e9", "caf\u00e9", "tea"]
    assert sizes(dataset) == {"training": 9, "validation": 3, "test": 12}
    assert notice == (
        f"{root}/train: 1 other files are ignored (tea/more); the folders Caf\u00e9, caf\u00e9 are different classes, "
        "perhaps meant to be one."
    )


# What systems and cameras leave ----------------------------------------------------------------------------------


def test_folders_that_systems_leave_are_no_classes_and_hold_no_inputs(tmp_path: Path) -> None:
    root = write(tmp_path / "pets")
    for name in ("__MACOSX/cat", "@eaDir", "$RECYCLE.BIN", ".ipynb_checkpoints", "cat/__MACOSX", "cat/.Trashes"):
        write(root / name, classes=("copies",))
    dataset = built(root)
    assert dataset.assets["labels"] == ["cat", "dog"]
    assert sum(count or 0 for count in sizes(dataset).values()) == 8
    assert len(list(ImageReader(dataset.assets).read([str(root)], iter(())))) == 8


def test_pictures_without_class_folders_need_some(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", classes=("",))
    (root / "labels.csv").write_text("file,label\n0.png,cat\n")
    with pytest.raises(DataError, match=r"4 pictures outside a class folder.*\nnext: move each picture into a folder"):
        built(root)


def test_files_with_several_pages_or_frames_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "pets")
    pages = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (10, 200)]
    for name in ("a.tif", "b.gif", "c.webp"):
        pages[0].save(root / "cat" / name, save_all=True, append_images=pages[1:])
    pages[0].save(root / "cat" / "d.mpo", save_all=True, append_images=pages[1:])  # one photograph and its preview
    dataset = built(root)
    dataset.training()
    [treatment] = dataset.summarize().treatments
    assert treatment.what == "pictures of the training folder are the first of several pages or frames of a file"
    assert (treatment.count, treatment.total) == (3, 12)
    reader = ImageReader(dataset.assets)
    list(reader.read([str(root / "cat")], iter(())))
    assert reader.notes() == ["3 of 8 images have several pages or frames: the first one is read"]


@pytest.mark.parametrize("resize", ["fit", "crop", "stretch"])
@pytest.mark.parametrize(("size", "warned"), [((400, 8), True), ((8, 72), True), ((30, 8), False)])
def test_pictures_of_another_shape_than_the_images_are_reported(
    resize: str, size: tuple[int, int], warned: bool, tmp_path: Path
) -> None:
    root = write(tmp_path / "pets", count=8)
    Image.new("RGB", (400, 8)).save(root / "cat" / "single.png")
    assert built(root, resize=resize).notice is None
    for index in range(3):
        Image.new("RGB", size, (index, 0, 0)).save(root / "dog" / f"long{index}.png")
    notice = built(root, resize=resize).notice or ""
    assert notice.startswith(f"{root}: 4 of 20 pictures ") == warned
    assert (f"data.resize: {resize}; " in notice) == warned


def test_inverted_pictures_are_named_where_nothing_inverts_them(tmp_path: Path) -> None:
    for folder, level in (("dark", 10), ("bright", 245)):
        for name in TWO:
            home = tmp_path / folder / name
            home.mkdir(parents=True)
            for index in range(4):
                Image.new("L", (8, 8), level + index).save(home / f"{index}.png")
    dataset = built(tmp_path / "dark")
    notes = {}
    for folder in ("dark", "bright"):
        reader = ImageReader(dataset.assets)
        list(reader.read([str(tmp_path / folder)], iter(())))
        notes[folder] = reader.notes()
    assert notes == {
        "dark": [],
        "bright": [
            "8 of 8 images have a much brighter border (0.97 of 0..1) than those trained on (0.05); if they are "
            "inverted, add --invert yes"
        ],
    }


def test_heic_pictures_are_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    [found] = ImageReader(built(write(tmp_path / "pets")).assets).read([str(path)], iter(()))
    assert str(found.value) == (
        f"{path}: a HEIC picture, which cannot be read; convert it to JPEG first (heif-convert A.heic A.jpg)"
    )


@pytest.mark.parametrize(("sides", "told"), [((10, 20), True), ((10, 10), False), (range(8, 48), False)])
def test_classes_that_the_sizes_of_the_pictures_tell_are_reported(
    sides: Sequence[int], told: bool, tmp_path: Path
) -> None:
    root = write(tmp_path / "pets", count=0)
    for index in range(40):
        side = sides[index * len(sides) // 40]
        Image.new("L", (side, side), index).save(root / TWO[index // 20] / f"{index}.png")
    notice = built(root).notice or ""
    assert ("the sizes of the pictures alone give away 100% of the classes" in notice) == told
