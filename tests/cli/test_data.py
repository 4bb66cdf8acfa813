"""`dltrain data`: what it prints, and how it ends."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from typer.testing import CliRunner

from dltrain.cli.data import app
from dltrain.data.images.sets import FILES, IMAGE_SETS, PublishedFile
from dltrain.errors import DataError, UsageError

REAL = os.environ.get("DLTRAIN_DATA")
IMAGES, LABELS = numpy.arange(24, dtype=numpy.uint8).reshape(4, 2, 3), numpy.array([0, 2, 2, 3], numpy.uint8)


def encoded(array: numpy.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for names in FILES.values():
        for name, array in zip(names, (IMAGES, LABELS), strict=True):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(encoded(array), mtime=0))
    return tmp_path


def published(unpacked: bool) -> tuple[PublishedFile, ...]:
    files = []
    for names in FILES.values():
        for name, array in zip(names, (IMAGES, LABELS), strict=True):
            content, packed = encoded(array), gzip.compress(encoded(array), mtime=0)
            md5 = hashlib.md5(content).hexdigest() if unpacked else None
            files.append(PublishedFile(name, len(packed), hashlib.md5(packed).hexdigest(), len(content), md5))
    return tuple(files)


def publish(monkeypatch: pytest.MonkeyPatch, variant: str, files: tuple[PublishedFile, ...]) -> None:
    monkeypatch.setitem(IMAGE_SETS, variant, replace(IMAGE_SETS[variant], files=files))  # type: ignore[arg-type]


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_a_set_as_published_is_fine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "mnist", published(unpacked=True))
    result = run("check", "mnist", "--root", str(root))
    assert result.exit_code == 0
    assert result.stdout.count(": ok") == 4
    assert "holds   4 x 2 x 3" in result.stdout
    assert "bytes   40 (unpacked), expected 40" in result.stdout
    assert "labels  0..3, of each 1, 0, 2, 1" in result.stdout


def test_the_report_as_json(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "kmnist", published(unpacked=False))
    report = json.loads(run("check", "kmnist", "--root", str(root), "--json").stdout)
    assert report["dataset"] == "kmnist"
    assert report["ok"] is True
    packed = gzip.compress(encoded(LABELS), mtime=0)
    assert report["files"][3] == {
        "name": "t10k-labels-idx1-ubyte",
        "path": str(root / "t10k-labels-idx1-ubyte.gz"),
        "hashed": "packed",
        "bytes_found": len(packed),
        "bytes_expected": len(packed),
        "md5_found": hashlib.md5(packed).hexdigest(),
        "md5_expected": hashlib.md5(packed).hexdigest(),
        "shape": [4],
        "class_counts": [1, 0, 2, 1],
        "fault": None,
    }


def test_a_users_own_set_has_nothing_to_be_compared_with(root: Path) -> None:
    result = run("check", "idx", "--root", str(root))
    assert result.exit_code == 0
    assert "expected none published" in result.stdout


def test_an_unpacked_file_without_a_published_checksum_is_compared_by_its_size(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "kmnist", published(unpacked=False))
    (root / "t10k-labels-idx1-ubyte").write_bytes(encoded(LABELS[::-1].copy()))
    result = run("check", "kmnist", "--root", str(root))
    assert result.exit_code == 0
    assert "bytes   12 (unpacked), expected 12" in result.stdout


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_each_file_that_is_not_fine_is_named(root: Path, monkeypatch: pytest.MonkeyPatch, as_json: list[str]) -> None:
    publish(monkeypatch, "mnist", published(unpacked=True))
    other = encoded(IMAGES + 1)
    (root / "train-images-idx3-ubyte").write_bytes(other)
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(encoded(LABELS[:3])))
    (root / "t10k-images-idx3-ubyte.gz").unlink()
    (root / "t10k-labels-idx1-ubyte").write_bytes(b"")
    result = run("check", "mnist", "--root", str(root), *as_json)
    assert isinstance(result.exception, DataError)
    message = str(result.exception)
    assert f"mnist in {root}: 4 of 4 files are not fine:" in message
    expected = hashlib.md5(encoded(IMAGES)).hexdigest()
    assert (
        f"{root / 'train-images-idx3-ubyte'}: MD5 {hashlib.md5(other).hexdigest()} (unpacked), expected {expected}"
        in message
    )
    assert f"{root / 'train-labels-idx1-ubyte.gz'}: 11 bytes unpacked, expected 12" in message
    assert "t10k-images-idx3-ubyte (plain or .gz): not found in" in message
    assert f"{root / 't10k-labels-idx1-ubyte'}: the file is empty" in message
    if as_json:
        assert json.loads(result.stdout)["ok"] is False
    else:
        assert result.stdout.count("NOT FINE") == 4


def test_images_and_labels_that_do_not_match_are_not_fine(root: Path) -> None:
    (root / "train-labels-idx1-ubyte").write_bytes(encoded(LABELS[:3]))
    result = run("check", "idx", "--root", str(root))
    assert "3 labels, but train-images-idx3-ubyte.gz holds 4 images" in str(result.exception)


def test_fetch_prints_where_the_files_lie(root: Path) -> None:
    result = run("fetch", "mnist", "--root", str(root))
    assert result.exit_code == 0
    assert result.stdout.split() == [str(root / f"{name}.gz") for names in FILES.values() for name in names]


def test_fetch_announces_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_files(name: str, root: Path, progress: object) -> list[Path]:
        for received in (1, 2):
            progress("some-file.gz", received, 2)  # type: ignore[operator]
        return [root / "some-file.gz"]

    monkeypatch.setattr("dltrain.data.images.sets.fetch", fetch_files)
    result = run("fetch", "mnist", "--root", str(tmp_path))
    assert result.stderr == "some-file.gz: 2 bytes\n"
    assert result.stdout == f"{tmp_path / 'some-file.gz'}\n"


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("fetch", "cifar10, cifar100, common_voice, librispeech, speech_commands, ptb, wikitext2."),
        (
            "check",
            "idx, cifar10, cifar100, image_folder, common_voice, audio, librispeech, speech_commands, ptb, "
            "wikitext2, text.",
        ),
    ],
)
def test_an_unknown_set_is_refused(command: str, allowed: str) -> None:
    result = run(command, "nmist")
    assert isinstance(result.exception, UsageError)
    message = str(result.exception)
    assert message.startswith(
        "'nmist': no such data set here; allowed are ag_news, imdb, mnist, fashion_mnist, kmnist, "
    )
    assert f"emnist_mnist, {allowed}" in message


def test_its_help_needs_no_torch() -> None:
    code = "import sys; import dltrain.cli.data; print({'torch', 'numpy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.skipif(REAL is None, reason="DLTRAIN_DATA does not name the folder with MNIST/raw")
def test_real_mnist_is_fine() -> None:
    report = json.loads(run("check", "mnist", "--root", str(REAL), "--json").stdout)
    assert report["ok"] is True
    assert [file["shape"] for file in report["files"]] == [[60000, 28, 28], [60000], [10000, 28, 28], [10000]]
    assert [file["md5_found"] for file in report["files"]] == [
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ]
