"""What the documentation shows: its pages, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`((?:\w+=\S+ )?dltrain [^`]+)`")
COMMAND = re.compile(r"(^|[|;&] *)([A-Z]+=\S+ )*(dltrain|make|recipes/\w+)( |$)")
OPERATORS = {"|", "&&", ";", ">", "||"}


@dataclass(frozen=True)
class Step:
    """A command in a block that a reader may run, the lines printed below it, and its exit code."""

    arguments: list[str]
    printed: list[str]
    exit_code: int


def list_commands(text: str) -> Iterator[list[str]]:
    """The words of each command in a block: after "$ " if any line has that, else every line."""
    lines = text.replace("\\\n", " ").splitlines()
    typed = [line[2:] for line in lines if line.startswith("$ ")] or lines
    for line in typed:
        if COMMAND.search(line):
            yield from split_pipeline(line)


def split_pipeline(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    words = list(lexer)
    while words:
        command = list(takewhile(lambda word: word not in OPERATORS, words))
        words = words[len(command) + 1 :]
        while command and re.fullmatch(r"[A-Z]+=.*", command[0]):
            command = command[1:]
        if command:
            yield command


def commands_of(page: Path) -> Iterator[list[str]]:
    """Every command that a page shows, in blocks without a language and in code spans."""
    content = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(content):
        if not block["language"]:
            yield from list_commands(block["text"])
    for span in SPAN.finditer(BLOCK.sub("", content)):
        yield from split_pipeline(span[1])


def steps_of(page: Path) -> Iterator[Step]:
    """The commands in blocks marked as runnable, in order."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if (block["mark"] or "").startswith("runnable"):
            exit_code = int(block["mark"].partition(":")[2] or 0)
            for part in block["text"].split("$ dltrain ")[1:]:
                command, *printed = part.splitlines()
                yield Step(shlex.split(command), [line for line in printed if line not in ("...", "")], exit_code)


def write_files(page: Path, folder: Path) -> None:
    """Save the blocks that a page marks as files."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if (block["mark"] or "").startswith("file: "):
            (folder / block["mark"].removeprefix("file: ")).write_text(block["text"])


def run_steps(page: Path, call: Callable[..., tuple[int, str]]) -> None:
    """Run a page's runnable commands and compare what they print with what the page shows, numbers aside.

    `call` runs dltrain with arguments, and returns the exit code and all that is printed.
    """
    for step in steps_of(page):
        exit_code, printed = call(*step.arguments)
        assert exit_code == step.exit_code, printed
        lines = {without_numbers(line) for line in printed.splitlines()}
        missing = [line for line in step.printed if without_numbers(line) not in lines]
        assert missing == [], printed


def without_numbers(line: str) -> str:
    """A line without what differs from one machine to another."""
    line = re.sub(r"torch \S+ on \S+", "torch", line.rstrip()).removesuffix("  best")
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", line)
