"""What can be named in a config: read from the source text of the modules that register it, without running them.

Importing a model's module would import torch, and importing a plug-in would run its code. So the decorators, the
signatures and the docstrings are read from the syntax tree; annotations and defaults are evaluated with the few names
that options are declared with.
"""

from __future__ import annotations

import ast
import builtins
import functools
import operator
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import annotated_types

from dltrain import options as option_types
from dltrain.config.annotations import REQUIRED, Option, alternatives, parts, split_docstring, unsupported
from dltrain.config.faults import Fault, Place, Refused, Source, nearest, report

KINDS = {"models": "model", "datasets": "dataset", "tasks": "task", "optimizers": "optimizer", "schedules": "schedule"}
"""The registries of `dltrain.registry`, and the kind of thing that each one names."""

HOMES = ("models", "data", "tasks", "core")
"""The packages or modules of dltrain whose registrations are known without a plug-in."""

ALL_SIZES = ("sizes",)
"""What is provided to a model that takes all of the task's sizes: one mapping."""


@dataclass(frozen=True)
class Entry:
    """One registered class or function.

    `provided` are the positional parameters, which dltrain fills: of a model sizes of the task by name, or one
    parameter `sizes` for all of them. `options` are the keyword-only ones, which a config sets. `module` is the dotted
    name to import, or the plug-in's path.
    """

    kind: str
    name: str
    facts: Mapping[str, Any]
    module: str
    place: Place
    provided: tuple[str, ...]
    options: tuple[Option, ...]
    summary: str
    doc: str

    @property
    def line(self) -> int:
        return self.place.line

    def takes(self, sizes: Iterable[str]) -> bool:
        """Whether a model needs nothing but these sizes; one that takes them all looks itself which there are."""
        return self.provided == ALL_SIZES or set(self.provided) <= set(sizes)


class Catalogue:
    """All entries, by kind and name. Raises Refused for two of one kind and name."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = tuple(entries)
        self._by_name: dict[tuple[str, str], Entry] = {}
        for entry in self._entries:
            first = self._by_name.setdefault((entry.kind, entry.name), entry)
            if first is not entry:
                message = f"{entry.kind} '{entry.name}' is already registered, at {first.place}; rename it"
                raise Refused(Fault(entry.place, message))

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self._entries

    def find(self, kind: str, name: str) -> Entry | None:
        return self._by_name.get((kind, name))

    def of(self, kind: str) -> list[Entry]:
        """The entries of a kind, by name."""
        return sorted((entry for entry in self.entries if entry.kind == kind), key=lambda entry: entry.name)

    def names(self, kind: str) -> list[str]:
        return [entry.name for entry in self.of(kind)]

    def with_plugin(self, path: Path, shown: str | None = None) -> Catalogue:
        """With what a file, called `shown` in messages, registers; raises Refused, OSError or UnicodeDecodeError."""
        source = path.read_text(encoding="utf-8-sig")
        return Catalogue((*self.entries, *read_module(source, shown or str(path), str(path))))


class Shipped(Catalogue):
    """What dltrain's own modules register; `sources` are their texts by name, in which only what is asked for is read.

    A config names five entries of more than sixty, and understanding a module takes a millisecond or two.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources
        self._known: dict[str, list[Entry]] = {}

    @functools.cached_property
    def _everything(self) -> Catalogue:
        return Catalogue(entry for module in self._sources for entry in self._read(module))

    def _read(self, module: str) -> list[Entry]:
        if module not in self._known:
            shown = str(Path(*module.split("."))) + ".py"
            self._known[module] = read_module(self._sources[module], shown, module)
        return self._known[module]

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self._everything.entries

    def find(self, kind: str, name: str) -> Entry | None:
        written = re.compile(rf'\.register\(\s*"{re.escape(name)}"')
        inside = [self._read(module) for module, text in self._sources.items() if written.search(text)]
        return next((each for entries in inside for each in entries if (each.kind, each.name) == (kind, name)), None)


def with_plugins(paths: Sequence[Path]) -> Catalogue:
    """The package's catalogue and that of plug-in files; raises ConfigError."""
    catalogue = package_catalogue()
    for path in paths:
        try:
            catalogue = catalogue.with_plugin(path)
        except Refused as refused:
            raise report([refused.fault], str(path)) from None
        except (OSError, UnicodeDecodeError) as error:
            fault = Fault(Place(Source(str(path))), f"the plug-in cannot be read: {reason(error)}")
            raise report([fault], str(path)) from None
    return catalogue


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8, byte 0x{error.object[error.start]:02x} at offset {error.start}"
    return error.strerror or str(error)


@functools.cache
def package_catalogue() -> Catalogue:
    """What dltrain itself registers."""
    package = Path(__file__).parent.parent
    files = [file for home in HOMES for file in [package / f"{home}.py", *sorted((package / home).rglob("[!_]*.py"))]]
    texts = {file: file.read_text(encoding="utf-8") for file in files if file.exists()}
    names = {file: ".".join(["dltrain", *file.relative_to(package).with_suffix("").parts]) for file in texts}
    return Shipped({names[file]: text for file, text in texts.items() if ".register(" in text})


def read_module(text: str, shown: str, module: str) -> list[Entry]:
    """The entries that a Python source registers; raises Refused where it cannot be understood without running it."""
    if ".register(" not in text:
        return []
    source = Source(shown, tuple(text.splitlines()), rank=500)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line, column = getattr(error, "lineno", None) or 0, getattr(error, "offset", None) or 1
        raise Refused(Fault(Place(source, line, column), f"not Python: {getattr(error, 'msg', error)}")) from None
    return list(_Module(tree, source, module).entries())


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those within `if` and `try` included."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try)):
            for branch in ("body", "handlers", "orelse", "finalbody"):
                for each in getattr(statement, branch, ()):
                    yield from _statements(each.body if isinstance(each, ast.ExceptHandler) else [each])


class _Module:
    """One syntax tree, and the names that its top level assigns or imports."""

    def __init__(self, tree: ast.Module, source: Source, module: str) -> None:
        self.source, self.module = source, module
        self.definitions: list[ast.ClassDef | ast.FunctionDef] = []
        self.assigned: dict[str, ast.expr] = {}
        self.imported: dict[str, str] = {}
        for statement in _statements(tree.body):
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                self.definitions.append(statement)
            elif isinstance(statement, ast.Assign):
                names = [each.id for each in statement.targets if isinstance(each, ast.Name)]
                self.assigned.update(dict.fromkeys(names, statement.value))
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
                self.assigned[statement.target.id] = statement.value
            elif isinstance(statement, ast.Import):
                self.imported.update({each.asname or each.name: each.name for each in statement.names})
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                for each in statement.names:
                    self.imported[each.asname or each.name] = f"{statement.module}.{each.name}"

    def entries(self) -> Iterator[Entry]:
        for definition in self.definitions:
            for decorator in definition.decorator_list:
                kind = self._kind(decorator)
                if kind is not None and isinstance(decorator, ast.Call):
                    yield self._entry(kind, decorator, definition)

    def _kind(self, decorator: ast.expr) -> str | None:
        """The kind of thing that a decorator registers, None for another decorator."""
        if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)):
            return None
        if decorator.func.attr != "register":
            return None
        module, _, registry = self._dotted(decorator.func.value).rpartition(".")
        return KINDS.get(registry) if module == "dltrain.registry" else None

    def _dotted(self, node: ast.expr) -> str:
        """The full name that an expression of names and dots means, by this module's imports."""
        if isinstance(node, ast.Attribute):
            whole = f"{ast.unparse(node.value)}.{node.attr}"
            return self.imported.get(whole, f"{self._dotted(node.value)}.{node.attr}")
        return self.imported.get(node.id, node.id) if isinstance(node, ast.Name) else "?"

    def _entry(self, kind: str, decorator: ast.Call, definition: ast.ClassDef | ast.FunctionDef) -> Entry:
        name, facts = self._registration(kind, decorator)
        function = self._constructor(definition) if isinstance(definition, ast.ClassDef) else definition
        docstring = ast.get_docstring(definition)
        summary, doc, described = split_docstring(docstring)
        provided: tuple[str, ...] = ()
        options: tuple[Option, ...] = ()
        if function is not None:
            positional = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
            provided = tuple(positional[isinstance(definition, ast.ClassDef) :])
            if (rest := function.args.kwarg) is not None:
                raise self._refused(rest, f"'**{rest.arg}' hides options; name each of them")
            pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
            options = tuple(self._option(argument, default, described) for argument, default in pairs)
        return Entry(kind, name, facts, self.module, self._place(decorator), provided, options, summary, doc)

    def _registration(self, kind: str, decorator: ast.Call) -> tuple[str, dict[str, Any]]:
        first = decorator.args[0] if len(decorator.args) == 1 else None
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value):
            raise self._refused(decorator, f'a {kind} is registered under one literal name, such as register("mine")')
        facts = {}
        for keyword in decorator.keywords:
            try:
                facts[keyword.arg or "**"] = ast.literal_eval(keyword.value)
            except ValueError:
                raise self._refused(keyword.value, f"the fact '{keyword.arg or '**'}' must be a literal") from None
        for fact in {"task": ("data", "sizes"), "dataset": ("data",)}.get(kind, ()):
            if fact not in facts:
                example = 'sizes=("channels", "classes")' if fact == "sizes" else 'data="images"'
                raise self._refused(decorator, f"{kind} '{first.value}' is registered without its fact {example}")
        if kind == "dataset" and not isinstance(facts.get("sizes", {}), dict):
            example = 'sizes={"height": 28, "window": "window"}'
            raise self._refused(decorator, f"the fact sizes must map sizes to numbers or options, such as {example}")
        if not str(facts.get("check", "dltrain.")).startswith("dltrain."):
            raise self._refused(decorator, f"the fact check={facts['check']!r} must name a module of dltrain")
        return first.value, facts

    def _constructor(self, definition: ast.ClassDef) -> ast.FunctionDef | None:
        """A class's `__init__`, or the one that it inherits within the file; None for a class that takes nothing."""
        for statement in definition.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return statement
        local = {each.name: each for each in self.definitions if isinstance(each, ast.ClassDef)}
        bases = [base.value if isinstance(base, ast.Subscript) else base for base in definition.bases]
        for base in bases:
            if isinstance(base, ast.Name) and base.id in local and base.id != definition.name:
                return self._constructor(local[base.id])
        plain = {"object", "Module", "Protocol", "Generic", "ABC"}
        inherits = any(ast.unparse(each).rpartition(".")[2] not in plain for each in bases)
        if inherits or is_decorated(definition, "dataclass"):
            message = f"class {definition.name} has no __init__ in this file to read its options from; write one"
            raise self._refused(definition, message)
        return None

    def _option(self, argument: ast.arg, default: ast.expr | None, described: Mapping[str, str]) -> Option:
        if argument.annotation is None:
            raise self._refused(argument, f"option '{argument.arg}' needs a type, such as {argument.arg}: int")
        if argument.arg == "name":
            raise self._refused(argument, "an option cannot be called 'name', which says what the section chooses")
        annotation = self._type(argument.annotation)
        problem = unsupported(annotation)
        if problem is not None:
            message = f"option '{argument.arg}' has a type that YAML cannot say: {problem}"
            raise self._refused(argument.annotation, message)
        value = REQUIRED if default is None else self._value(default)
        if isinstance(value, int) and not isinstance(value, bool) and parts(alternatives(annotation)[0])[0] is float:
            value = float(value)
        return Option(argument.arg, annotation, value, described.get(argument.arg, ""))

    def _place(self, node: ast.AST) -> Place:
        return Place(self.source, getattr(node, "lineno", 0), getattr(node, "col_offset", 0) + 1)

    def _refused(self, node: ast.AST, message: str) -> Refused:
        return Refused(Fault(self._place(node), message))

    def _type(self, node: ast.expr) -> Any:
        """The type that an annotation means."""
        try:
            return self._annotation(node, ())
        except (TypeError, ValueError, KeyError, IndexError, SyntaxError) as error:
            raise self._refused(node, f"the type {ast.unparse(node)} is not understood: {error}") from None

    def _annotation(self, node: ast.expr, within: tuple[str, ...]) -> Any:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return self._annotation(ast.parse(node.value.strip(), mode="eval").body, within)
            if node.value is None or node.value is ...:
                return node.value
        if isinstance(node, ast.Name):
            if node.id in self.assigned and node.id not in within:
                return self._annotation(self.assigned[node.id], (*within, node.id))
            return self._known(node, self.imported.get(node.id, node.id))
        if isinstance(node, ast.Attribute):
            return self._known(node, self._dotted(node))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return typing.Union[self._annotation(node.left, within), self._annotation(node.right, within)]  # noqa: UP007
        if isinstance(node, ast.Subscript):
            return self._subscript(node, within)
        if isinstance(node, ast.Call):
            arguments = [self._value(each) for each in node.args]
            named = {each.arg or "": self._value(each.value) for each in node.keywords}
            bound = self._annotation(node.func, within)
            if bound in _BOUNDS:
                return bound(*arguments, **named)
        raise self._refused(node, f"the type {ast.unparse(node)} cannot be read without running the file")

    def _subscript(self, node: ast.Subscript, within: tuple[str, ...]) -> Any:
        generic = self._annotation(node.value, within)
        arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if generic is typing.Literal:
            return typing.Literal[tuple(self._value(each) for each in arguments)]
        if generic is typing.Annotated:
            bounds = [each for each in arguments[1:] if not isinstance(each, ast.Constant)]
            return typing.Annotated[tuple(self._annotation(each, within) for each in (arguments[0], *bounds))]
        inner = tuple(self._annotation(each, within) for each in arguments)
        return generic[inner if len(inner) > 1 else inner[0]]

    def _known(self, node: ast.expr, dotted: str) -> Any:
        """The object of a name that options are declared with."""
        home, _, name = dotted.rpartition(".")
        if (home, name) == LAYERS:  # its many classes take a while to make, and one model alone asks for them
            return import_module(LAYERS[0]).Layers
        if (home or "builtins") in _NAMES and name in _NAMES[home or "builtins"]:
            return _NAMES[home or "builtins"][name]
        if not home and name in _ALL_NAMES:
            return _ALL_NAMES[name]
        near = nearest(name, _ALL_NAMES)
        allowed = (
            "int, float, str, bool, list, tuple, dict, Literal, Annotated, and names of dltrain.options or this file"
        )
        raise Refused(Fault(self._place(node), f"the type {ast.unparse(node)} is not known here", allowed, near))

    def _value(self, node: ast.expr, within: tuple[str, ...] = ()) -> Any:
        """The value of a default: a literal, a constant assigned in the file, or a group of options."""
        if isinstance(node, ast.Name) and node.id in self.assigned and node.id not in within:
            return self._value(self.assigned[node.id], (*within, node.id))
        if isinstance(node, ast.Call) and not node.args:
            called = _NAMES["dltrain.options"].get(self._dotted(node.func).removeprefix("dltrain.options."))
            if is_dataclass(called) and isinstance(called, type):
                return called(**{each.arg or "": self._value(each.value, within) for each in node.keywords})
        if isinstance(node, (ast.List, ast.Tuple)):
            items = [self._value(each, within) for each in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        try:
            return ast.literal_eval(node)
        except ValueError:
            message = f"{ast.unparse(node)} cannot be read without running the file; write a literal"
            raise self._refused(node, message) from None


def is_decorated(definition: ast.ClassDef, name: str) -> bool:
    called = [each.func if isinstance(each, ast.Call) else each for each in definition.decorator_list]
    return any(ast.unparse(each).rpartition(".")[2] == name for each in called)


LAYERS = ("dltrain.architecture.layers", "Layers")
_BOUNDS = tuple(getattr(annotated_types, name) for name in ("Ge", "Gt", "Le", "Lt", "MinLen", "MaxLen"))
_NAMES: dict[str, dict[str, Any]] = {
    "builtins": {name: getattr(builtins, name) for name in ("int", "float", "str", "bool", "list", "dict", "tuple")},
    "typing": {name: getattr(typing, name) for name in ("Literal", "Annotated", "Optional", "Union")},
    "annotated_types": {each.__name__: each for each in _BOUNDS},
    "dltrain.options": {
        name: each
        for name, each in vars(option_types).items()
        if not name.startswith("_") and name not in ("annotations", "dataclass")
    },
}
_NAMES["typing_extensions"] = _NAMES["typing"]
_ALL_NAMES: dict[str, Any] = functools.reduce(operator.or_, reversed(list(_NAMES.values())))
