"""README and docs/: no dead link, no unknown command or flag, and runnable commands print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from dltrain.cli.main import application
from support.pages import PAGES, ROOT, commands_of, run_steps, steps_of, write_files

RUNNABLE = [page for page in PAGES if page.name != "README.md" and list(steps_of(page))]
"""The README's commands run in tests/packaging, from a wheel."""
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_dead_link(page: Path) -> None:
    dead = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(f"{target}#{anchor}")
    assert dead == []


class UnknownCommand(Exception):
    """A command or flag that does not exist, or a value that it does not take."""


@cache
def build_command() -> Any:
    return typer.main.get_command(application())


def parse(arguments: list[str]) -> None:
    """Let Typer parse a command without running it. Raises UnknownCommand."""
    command = build_command()
    while hasattr(command, "commands"):
        name, *arguments = arguments
        if name.startswith("-"):
            if name not in {"--help", *(flag for parameter in command.params for flag in parameter.opts)}:
                raise UnknownCommand(name)
            return
        if name not in command.commands:
            raise UnknownCommand(name)
        command = command.commands[name]
        if not arguments or arguments == ["--help"]:
            return
    try:
        command.make_context("dltrain", list(arguments))
    except Exception as error:
        if not hasattr(error, "format_message"):  # what all usage errors have, whichever click Typer brings along
            raise
        raise UnknownCommand(error.format_message()) from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for command in commands_of(page):
        program, arguments = command[0], [word for word in command[1:] if word != "..."]
        if program == "dltrain":
            try:
                parse(arguments)
            except UnknownCommand as error:
                wrong.append(f"{' '.join(command)}: {error}")
        elif program == "make":
            wrong += [target for target in arguments[:1] if target not in targets]
        elif program.startswith("recipes/"):
            wrong += [program] if not (ROOT / program).is_file() else []
    assert wrong == []


def test_pages_show_commands_and_wrong_ones_are_noticed() -> None:
    assert len([command for page in PAGES for command in commands_of(page) if command[0] == "dltrain"]) > 60
    for wrong in ("fitt x.yaml", "fit x.yaml --sett a=1", "--hep", "predict runs/x y --top many"):
        with pytest.raises(UnknownCommand):
            parse(wrong.split())


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_runnable_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    image = ROOT / "tests" / "compatibility" / "format_1" / "digit.png"
    (tmp_path / "digit.png").write_bytes(image.read_bytes())

    def call(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "dltrain", *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    run_steps(page, call)
