"""Small data that the tests make, and a way to run the command line as a person does."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

CLASSES = 10


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def patterns(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (count, 28, 28) with a bright bar whose row tells the class, and the classes."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = draw.integers(0, 60, (count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4 : 2 * label + 6, 4:24] = draw.integers(150, 255)
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_images(root: Path, training: int = 200, test: int = 60) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count, seed in (("train", training, 1), ("t10k", test, 2)):
        images, labels = patterns(count, seed)
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte", labels)
    return root


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache_apart(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared data is shared by the tests, and by nobody else."""
    monkeypatch.setenv("DLTRAIN_CACHE", str(cache_folder))


@pytest.fixture(scope="session")
def images_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 200 training and 60 test images in MNIST's layout, easy to tell apart."""
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def settings(images_root: Path) -> dict[str, Any]:
    """A config that trains in well under a second: 20 batches of 9 or fewer, two epochs."""
    return {
        "task": "image_classification",
        "data": {"name": "mnist", "root": str(images_root), "batch_size": 9, "download": False},
        "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.2},
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1, "log_every_steps": 3},
    }


@pytest.fixture
def write_settings(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    def write(tree: Mapping[str, Any], name: str = "small.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(dict(tree), sort_keys=False))
        return path

    return write


@pytest.fixture
def dltrain(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, in an empty directory."""

    def call(*words: object, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dltrain", *map(str, words)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", **environment},
            timeout=120,
            check=False,
        )

    return call


def lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON lines."""
    return [json.loads(text) for text in path.read_text().splitlines()]
