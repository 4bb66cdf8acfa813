"""Fetching from mirrors on this machine: good ones, wrong ones, and those that break off."""

from __future__ import annotations

import gzip
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltrain.data.images.sets import FILES, IMAGE_SETS, PublishedFile, fetch
from dltrain.errors import DataError
from dltrain.runtime.cuda_wheels import import_torchvision
from support.mirrors import QuietHandler, serve

CONTENTS = {name: gzip.compress(name.encode() * 50, mtime=0) for names in FILES.values() for name in names}
PUBLISHED = [
    PublishedFile(name, len(content), hashlib.md5(content).hexdigest(), 50 * len(name))
    for name, content in CONTENTS.items()
]


class Mirror(QuietHandler):
    def answer(self) -> None:
        _, manner, name = self.path.split("/")
        content = CONTENTS[name.removesuffix(".gz")]
        if manner == "absent":
            self.send_error(404)
            return
        if manner == "wrong":
            content = bytes(len(content))
        if manner == "endless":
            content *= 1000
        self.send_head(len(content))
        self.wfile.write(content[: len(content) // 2] if manner == "broken" else content)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve(Mirror) as address:
        yield address


def test_files_arrive_whole_where_torchvision_looks(tmp_path: Path, server: str) -> None:
    told: list[tuple[str, int, int]] = []
    paths = fetch("mnist", tmp_path, [f"{server}/good/"], PUBLISHED, lambda *news: told.append(news))
    assert paths == [tmp_path / "MNIST" / "raw" / f"{name}.gz" for name in CONTENTS]
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert {path.name for path in paths[0].parent.iterdir()} == {path.name for path in paths}
    assert told[-1] == (f"{PUBLISHED[-1].name}.gz", PUBLISHED[-1].packed_bytes, PUBLISHED[-1].packed_bytes)
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o644


def test_the_next_mirror_is_asked_when_one_fails(tmp_path: Path, server: str) -> None:
    mirrors = [f"{server}/{manner}" for manner in ("absent", "wrong", "broken", "endless", "good")]
    paths = fetch("fashion_mnist", tmp_path, mirrors, PUBLISHED)
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert paths[0].parent == tmp_path / "FashionMNIST" / "raw"


def test_every_mirror_and_its_failure_is_named_and_nothing_left_behind(tmp_path: Path, server: str) -> None:
    mirrors = [
        *(f"{server}/{manner}" for manner in ("absent", "wrong", "broken", "endless")),
        "http://127.0.0.1:9",
        "nonsense",
    ]
    with pytest.raises(DataError) as caught:
        fetch("mnist", tmp_path, mirrors, PUBLISHED)
    first, size = PUBLISHED[0], PUBLISHED[0].packed_bytes
    message = str(caught.value)
    for part in (
        f"{first.name}.gz: no mirror provides it:",
        f"{server}/absent/{first.name}.gz: HTTP Error 404: Not Found",
        f"{server}/wrong/{first.name}.gz: MD5 {hashlib.md5(bytes(size)).hexdigest()}, expected {first.packed_md5}",
        f"{server}/broken/{first.name}.gz: {size // 2} bytes, expected {size}",
        f"{server}/endless/{first.name}.gz: more than {size} bytes, expected {size}",
        f"http://127.0.0.1:9/{first.name}.gz: <urlopen error",
        f"nonsense/{first.name}.gz: unknown url type",
        f"put the set's four files (plain or .gz) into {tmp_path / 'MNIST' / 'raw'}",
        "data.root",
        "data.when_missing=sample, or --sample",
    ):
        assert part in message
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


def test_the_sample_is_offered_for_mnist_only(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch("kmnist", tmp_path, [], PUBLISHED)
    assert "when_missing" not in str(caught.value)


def test_files_that_are_there_are_not_fetched_again(tmp_path: Path, server: str) -> None:
    kept = tmp_path / "train-images.idx3-ubyte"
    kept.write_bytes(b"the user's own")
    paths = fetch("mnist", tmp_path, [f"{server}/good"], PUBLISHED)
    assert paths[0] == kept
    assert fetch("mnist", tmp_path, [f"{server}/absent"], PUBLISHED) == paths
    assert kept.read_bytes() == b"the user's own"


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "MNIST").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"ubyte.gz: missing, and .*raw cannot be written to \(.*\)\nnext: put the"):
        fetch("mnist", tmp_path, [], PUBLISHED)


def test_published_names_are_those_that_are_looked_for() -> None:
    for variant in ("mnist", "fashion_mnist", "kmnist"):
        assert [file.name for file in IMAGE_SETS[variant].files] == list(CONTENTS)
        assert [file.unpacked_bytes for file in IMAGE_SETS[variant].files] == [47040016, 60008, 7840016, 10008]


def test_checksums_and_mirrors_are_torchvisions() -> None:
    try:
        theirs = import_torchvision().datasets
    except Exception as error:
        pytest.skip(f"torchvision: {error}")
    for variant, name in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")):
        ours = IMAGE_SETS[variant]
        assert [(f"{file.name}.gz", file.packed_md5) for file in ours.files] == getattr(theirs, name).resources
        assert set(getattr(theirs, name).mirrors) <= set(ours.mirrors)
        assert ours.folder == name
