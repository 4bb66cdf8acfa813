"""Small data that the tests make, and a way to run the command line as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dltrain.cli.main import format_error, to_dltrain_error
from dltrain.sweeps import child
from dltrain.sweeps.child import FinishedProcess
from support.commands import call
from support.images import write_images
from support.members import run_here


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache_apart(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared data is shared by the tests, and by nobody else."""
    monkeypatch.setenv("DLTRAIN_CACHE", str(cache_folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(cache_folder / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(cache_folder / "config"))


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
def dltrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in this process, in an empty directory, as `main` does but for signals and --debug."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        result = call(*arguments)
        code, stderr = result.exit_code, result.stderr
        if isinstance(result.exception, Exception):
            error = to_dltrain_error(result.exception)
            code, stderr = error.exit_code, f"{stderr}{format_error(error, '--json' in arguments)}\n"
        return subprocess.CompletedProcess(arguments, code, result.stdout, stderr)

    return run


@pytest.fixture
def dltrain_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, in an empty directory."""

    def run(*arguments: object, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dltrain", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", **environment},
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Members run in this process, without pictures, which take longer than their training; the commands given."""
    for picture in ("report.outcome.draw_curves", "observers.run_pictures.draw_confusion_picture"):
        monkeypatch.setattr(f"dltrain.{picture}", lambda *_, **__: None)
    given: list[list[str]] = []

    def run(words: Sequence[str], *rest: Any) -> FinishedProcess:
        given.append(list(words))
        return run_here(words, *rest)

    monkeypatch.setattr(child, "run_dltrain", run)
    return given
