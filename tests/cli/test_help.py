"""The help texts and the flags of every command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dltrain.cli.completion.generate import COMMANDS, encode_commands
from dltrain.cli.main import application
from dltrain.config.annotations import REQUIRED, list_options
from dltrain.runs.adaptation import CacheAdaptation, DynamicAdaptation
from dltrain.runs.clip_scoring import BONUS, WEIGHT, WIDTH
from support.commands import good

FLAGS = Path(__file__).with_name("flags.txt")


def commands(command: Any = None, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    command = command or get_command(application())
    yield names, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)


def flags(command: Any) -> list[str]:
    names = (name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts))
    return sorted(name for name in names if name.startswith("-") and "completion" not in name)


def test_every_flag_is_a_decision() -> None:
    """A new flag is entered in flags.txt by hand: first see whether a grouped option or the config has it already."""
    lines = [" ".join(["dltrain", *names, *flags(command)]) for names, command in commands()]
    assert "\n".join(lines) + "\n" == FLAGS.read_text(encoding="utf-8")


def test_the_commands_stored_for_completion_are_up_to_date() -> None:
    outdated = "run `make docs`: .venv/bin/python -m dltrain.config.generate"
    assert COMMANDS.read_text(encoding="utf-8") == encode_commands() + "\n", outdated


def test_help_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for names, _ in commands():
        lines = good(*names, "--help").stdout.splitlines()
        assert [line for line in lines if len(line) > 80 or re.search(r"[^]}]\.\.\.$", line)] == [], names


def test_help_names_every_key_of_a_grouped_option_with_its_default() -> None:
    text = " ".join(good("eval", "--help").stdout.split())
    for group in (CacheAdaptation, DynamicAdaptation):
        for each in list_options(group):
            default = "" if each.default is REQUIRED else str(each.default).lower().removesuffix(".0")
            assert f"{each.name}={default}" in text
    for shown in ("beam=WIDTH", f"with lm: {WIDTH}", "lm=FILE", f"lm_weight={WEIGHT:g}", f"word_bonus={BONUS:g}"):
        assert shown in text
