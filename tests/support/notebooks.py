"""Notebooks of the documentation: executed as a kernel does, cell by cell, in this process."""

from __future__ import annotations

import ast
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def read_notebook(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def run_cell(source: str, names: dict[str, Any]) -> str:
    """Execute a cell of plain Python; what it prints, and the value of its last line if that is an expression."""
    tree, last = ast.parse(source), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        value = None if last is None else eval(compile(last, "<cell>", "eval"), names)
    return printed.getvalue() + ("" if value is None else f"{value!r}\n")


def run_notebook(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    """For each cell of code, the text of its saved outputs and of those that it gives now."""
    names: dict[str, Any] = {"__name__": "__main__"}
    compared = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            saved = "".join(text for output in cell["outputs"] for text in _read_output(output))
            compared.append((saved, run_cell("".join(cell["source"]), names)))
    return compared


def _read_output(output: dict[str, Any]) -> list[str]:
    return output["text"] if output["output_type"] == "stream" else [*output["data"]["text/plain"], "\n"]
