"""A wheel, installed into a fresh environment, runs the README's tour in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from dltrain import __version__
from support.pages import ROOT, run_steps, write_files

pytestmark = pytest.mark.slow
README = ROOT / "README.md"
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the sources, built without network: setuptools leaves its files beside what it builds."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("dltrain", "configs", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=CACHES, symlinks=True)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", output, source)
    return next(output.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, which finds its dependencies where this Python has them."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    specs = [find_spec(name) for name in ("torch", "typer", "sklearn", "yaml", "PIL")]
    found = {str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin}
    (packages / "dependencies.pth").write_text("\n".join(sorted(found)) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", "-q", wheel)
    return folder


def run(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_wheel_holds_all_that_is_needed_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("dltrain/**/*.py")}
    assert {"dltrain/py.typed", "dltrain/config/catalogue.json"} <= names
    shipped = [*ROOT.glob("configs/*"), *ROOT.glob("recipes/*")]
    shared = {f"dltrain/{path.relative_to(ROOT)}" for path in shipped if path.is_file()}
    assert {name for name in names if name.startswith(("dltrain/configs/", "dltrain/recipes/"))} == shared
    assert {name for name in names if name.endswith(".py")} - shared == expected
    assert {name.partition("/")[0] for name in names} == {"dltrain", f"dltrain-{__version__}.dist-info"}
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_readme_tour_runs_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "dltrain"
    assert run(program, "--version") == f"dltrain {__version__}\n"
    write_files(README, tmp_path)
    shutil.copy(ROOT / "tests" / "compatibility" / "format_1" / "digit.png", tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    where = [environment / "bin" / "python", "-I", "-c", "import dltrain; print(dltrain.__file__)"]
    assert run(*where).startswith(str(environment))
    run_steps(README, call)


def test_shipped_configs_and_recipes_are_found_by_name_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "dltrain"

    def call(*words: str) -> str:
        done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "root: data\n" in call("config", "show", "mnist_cnn")
    assert "run directory    runs/linear_regression\n" in call("fit", "linear_regression")
    assert call("predict", "runs/linear_regression", "x=6").splitlines()[-1].endswith("\t12")
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    recipe = next(environment.glob("lib/python*/site-packages/dltrain/recipes/mnist_cnn"))
    assert os.access(recipe, os.X_OK)
