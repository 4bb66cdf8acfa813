"""The package stays readable: short functions, few positional arguments, and one class for each name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import dltrain

PACKAGE = Path(dltrain.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FUNCTION, MOST_POSITIONAL = 60, 4

POSITIONAL_BY_NATURE = ("torch", "functional.", "nn.", "op.", "self._library.", "MANY_STEPS", "Progress")
"""Beginnings of calls into libraries whose parameters have no names, or have their usual order."""
TENSOR_METHODS = {"view", "permute", "expand", "reshape", "zip"}


def read_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def long_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of dltrain's own functions with too many positional arguments in a row."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(isinstance(each, ast.Starred) for each in node.args):
            continue
        called = ast.unparse(node.func)
        exempt = called.startswith(POSITIONAL_BY_NATURE) or called.rpartition(".")[2] in TENSOR_METHODS
        if len(node.args) > MOST_POSITIONAL and not exempt:
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short_and_calls_name_their_arguments(path: Path) -> None:
    tree = read_tree(path)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
    assert [f"line {call.lineno}: {ast.unparse(call)}" for call in long_calls(tree)] == []


def test_a_class_name_occurs_in_one_file() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in read_tree(path).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
