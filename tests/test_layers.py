"""Imports point down only; the trainer names no task, model or dataset; nothing uses pickle."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import pytest

import dltrain

PACKAGE = Path(dltrain.__file__).parent

PAGE = PACKAGE.parent / "docs" / "architecture.md"


def read_layers() -> list[list[str]]:
    """The layers that docs/architecture.md shows, the topmost first: names up to two spaces and an explanation."""
    block = PAGE.read_text(encoding="utf-8").partition("## Layers")[2].split("```")[1]
    return [line.partition("   ")[0].split() for line in block.strip().splitlines()]


RANK = {name: rank for rank, names in enumerate(reversed(read_layers())) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The units of dltrain that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("dltrain.")]
    return {part[1] for part in parts if part[1] in RANK}


def module_name(path: Path) -> str:
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported_modules(path: Path, modules: Container[str]) -> set[str]:
    """The modules of dltrain that a file imports while it runs: anywhere in it, but for `if TYPE_CHECKING:`."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if name in modules else node.module for name in inner}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return {name for name in names if name in modules}


def find_cycle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """A cycle among the imports, or what imports one; empty if there is none."""
    left = {name: set(others) for name, others in imports.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_every_file_has_a_layer() -> None:
    assert {unit(path) for path in FILES} == RANK.keys()


def test_no_import_cycle_not_even_inside_a_package() -> None:
    modules = {module_name(path): path for path in FILES}
    assert not find_cycle({name: imported_modules(path, modules) for name, path in modules.items()})


def test_a_cycle_would_be_found() -> None:
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["a", "b", "c"]
    assert find_cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = unit(path)
    wrong = [name for name in imported(path) if name != mine and RANK[name] > RANK[mine]]
    assert not wrong


def test_the_trainer_knows_no_family_and_models_know_torch_alone() -> None:
    families = {"tasks", "models", "data", "config", "observers", "runs"}
    for path in (PACKAGE / "core").glob("*.py"):
        assert not imported(path) & families
    for path in (PACKAGE / "models").glob("*.py"):
        assert imported(path) <= {"models", "architecture", "options", "registry", "data", "runtime"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_can_run_code_from_a_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "pickle" not in modules
    assert not called & {"unsafe_load", "full_load"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    weights_alone = {id(call.func) for call in calls if reads_weights_alone(call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
            assert node.attr not in {"load", "save"} or id(node) in weights_alone


def reads_weights_alone(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    value = given.get("weights_only")
    return isinstance(value, ast.Constant) and value.value is True
