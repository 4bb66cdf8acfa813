"""What a package index and a contributor find."""

from __future__ import annotations

import re
import sys

import pytest
import yaml

from dltrain import __version__
from support.pages import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dltrain.__version__"}
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_newest_changes_come_first() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    dates = [heading[-11:-1] for heading in headings if heading != "Unreleased"]
    assert "Unreleased" not in headings[1:]
    assert dates == sorted(dates, reverse=True)


def test_hooks_call_the_tools_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert [hook["entry"].split()[0] for hook in hooks] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
    assert all(hook["language"] == "system" for hook in hooks)


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    extras = PROJECT["project"]["optional-dependencies"]
    requirements = [*PROJECT["project"]["dependencies"], *(name for extra in extras.values() for name in extra)]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements} - {"dltrain"}
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", page)} == set()
    assert {extra for extra in extras if f"| `{extra}` |" not in page} == set()
