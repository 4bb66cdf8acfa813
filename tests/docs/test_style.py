"""User-facing text avoids the words that docs/style.md bans."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BANNED = re.compile(
    r"\b(told|tells?|telling|mend(s|ed)?|of yours|wants?|wanting|anew|begun|(lies?|lying) (in|where|beside)"
    r"|go(es)? on|going on|what there is|may stand|such as it is|hears?|heard|unheard|as loudly as|understood|said)\b",
    re.IGNORECASE,
)
QUOTED = re.compile("the company said")
"""Text of data sets in examples."""
PATTERNS = ("dltrain/**/*.py", "bench/*.py", "configs/*.yaml", "docs/*.md", "*.md", "recipes/*", "Makefile")


def list_files() -> dict[str, list[Path]]:
    """The checked files by folder."""
    folders: dict[str, list[Path]] = {}
    for path in sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)}):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and name != "docs/style.md":
            folders.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    return folders


def read_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text: of a Python file each string of several words, of any other file its whole content.

    A string of one word, such as a key of JSON output, is no prose. What an f-string inserts counts as one character.
    """
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield 1, content
        return
    tree = ast.parse(content)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value if len(node.value.split()) > 1 else ""


def find_banned(path: Path) -> Iterator[str]:
    for first_line, text in read_texts(path):
        text = QUOTED.sub("…", text)
        for match in BANNED.finditer(text):
            line = first_line + text.count("\n", 0, match.start())
            around = " ".join(text[max(0, match.start() - 40) : match.end() + 30].split())
            yield f"{path}:{line}: '{match[0]}' in '{around}'"


@pytest.mark.parametrize("folder", list_files())
def test_no_banned_word(folder: str) -> None:
    assert [fault for path in list_files()[folder] for fault in find_banned(path)] == []


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('print(f"{name} wants a file of yours")', 2),
        ('"""What is\n\ntold and wanted for."""', 1),
        ('{"said": 1, "text": "hearing, wander, mending"}', 0),
    ],
)
def test_banned_words_are_found_as_whole_words(text: str, faults: int, tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(text)
    assert len(list(find_banned(tmp_path / "sample.py"))) == faults
