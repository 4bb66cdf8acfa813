"""YAML as a tree of values with their positions, and the same tree back as YAML.

Scalars are resolved by the core schema of YAML 1.2.2 (section 10.3.2), with one exception: digits with a leading zero
stay text, since half of all readers take them for octal. What makes YAML surprising or dangerous is refused: tags,
anchors and aliases (a few hundred bytes of them can stand for gigabytes), merge keys, equal keys, several documents,
and a file that is too large, too deep or not UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.config.faults import Fault, Place, Refused, SourceText
from dltrain.config.paths import find_base
from dltrain.config.source_files import read_source

if TYPE_CHECKING:
    from yaml.error import MarkedYAMLError
    from yaml.events import Event, ScalarEvent

MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_DIGITS = 400


@dataclass(frozen=True)
class ScalarNode:
    """One value. `plain` where it bore no quotes: then `value` is what `text` resolves to, else it is the text."""

    place: Place
    text: str
    plain: bool
    value: Any


@dataclass(frozen=True)
class ListNode:
    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Pair:
    """The value of a key, and the position of the key."""

    key_place: Place
    node: Node


@dataclass(frozen=True)
class MappingNode:
    place: Place
    entries: Mapping[str, Pair] = field(default_factory=dict)


Node = ScalarNode | ListNode | MappingNode

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = {"0x": (re.compile(r"0x[0-9a-fA-F]+"), 16), "0o": (re.compile(r"0o[0-7]+"), 8)}
_FLOAT = re.compile(r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_NAMED: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + text: math.inf for sign in ("", "+") for text in (".inf", ".Inf", ".INF")},
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def resolve_scalar(text: str) -> Any:
    """What a plain scalar stands for: None, a bool, an int, a float, or its own text."""
    if text in _NAMED:
        return _NAMED[text]
    if len(text) > MAX_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    pattern, base = _BASED.get(text[:2], (None, 10))
    if pattern is not None and pattern.fullmatch(text):
        return int(text[2:], base)
    return float(text) if _FLOAT.fullmatch(text) else text


def read_document(
    path: Path, name: str, rank: int, faults: list[Fault], asked_at: Place | None = None
) -> MappingNode | None:
    """The tree of a file, called `name` in messages; None when a fault that was added ended the reading.

    `asked_at` is where another file names this one; its absence is then a fault of that place.
    """
    try:
        text = read_source(path, name, asked_at)
        source = SourceText(name, tuple(_BREAK.split(text)), rank, base=find_base(path, text))
        node = parse_document(text, source, faults)
    except Refused as refused:
        faults.append(refused.fault)
        return None
    if isinstance(node, MappingNode):
        return node
    if node is None or (isinstance(node, ScalarNode) and node.plain and node.text == ""):
        faults.append(Fault(Place(source), "the file is empty", "sections such as task, data and model"))
    else:
        message = f"the file holds {describe_node(node)} where it needs sections"
        faults.append(Fault(node.place, message, "task: image_classification ..."))
    return None


_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what PyYAML counts as a line


def parse_document(text: str, source: SourceText, faults: list[Fault], offset: int = 0) -> Node | None:
    """The tree of a YAML text, None for a text without a document.

    Faults that leave the rest readable are added to `faults`; raises Refused for the others. `offset` is the column
    of the source's first line at which the text starts.
    """
    import yaml

    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(_mask(text))
        return _Composer(loader, source, faults, offset).document()
    except yaml.reader.ReaderError as error:
        before = _BREAK.split(text[: int(error.position)])
        column = len(before[-1]) + 1 + (offset if len(before) == 1 else 0)
        message = f"character U+{int(error.character):04X} is not allowed in YAML"
        raise Refused(Fault(Place(source, len(before), column), message)) from None
    except yaml.MarkedYAMLError as error:
        raise Refused(_explain_syntax(error, source, offset)) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Composer:
    """Builds the tree from the parser's events, so that every bound holds before anything is built."""

    def __init__(self, loader: Any, source: SourceText, faults: list[Fault], offset: int) -> None:
        self.loader, self.source, self.faults, self.offset = loader, source, faults, offset
        self.nodes = 0

    def document(self) -> Node | None:
        from yaml import events

        self.loader.get_event()  # the stream's start
        if self.loader.check_event(events.StreamEndEvent):
            return None
        self.loader.get_event()  # the document's start
        node = self._node(self.loader.get_event(), 1)
        self.loader.get_event()
        if not self.loader.check_event(events.StreamEndEvent):
            place = self._place(self.loader.peek_event().start_mark)
            raise Refused(Fault(place, "a second document starts here; one file holds one config"))
        return node

    def _node(self, event: Event, depth: int) -> Node:
        from yaml import events

        place = self._place(event.start_mark)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Refused(Fault(place, f"the file holds more than {MAX_NODES} values, too many for a config"))
        if depth > MAX_DEPTH:
            raise Refused(Fault(place, f"values are nested more than {MAX_DEPTH} deep"))
        if isinstance(event, events.AliasEvent) or getattr(event, "anchor", None) is not None:
            message = "anchors (&name) and aliases (*name) are not read; write the value out, or use extends"
            raise Refused(Fault(place, message))
        if getattr(event, "tag", None) is not None:
            self.faults.append(Fault(place, "tags (!name) are not read; write the plain value"))
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, place)
        if isinstance(event, events.SequenceStartEvent):
            items = [self._node(each, depth + 1) for each in self._until(events.SequenceEndEvent)]
            return ListNode(place, tuple(items))
        return self._mapping(place, depth)

    def _until(self, end: type[Event]) -> Iterator[Event]:
        while not self.loader.check_event(end):
            yield self.loader.get_event()
        self.loader.get_event()

    def _scalar(self, event: ScalarEvent, place: Place) -> ScalarNode:
        text = _unmask(event.value)
        plain = event.style is None
        if _NOWHERE.search(text):
            self.faults.append(Fault(place, "the text holds an escape for a character that no file or terminal takes"))
        return ScalarNode(place, text, plain, resolve_scalar(text) if plain else text)

    def _mapping(self, place: Place, depth: int) -> MappingNode:
        from yaml import events

        entries: dict[str, Pair] = {}
        for event in self._until(events.MappingEndEvent):
            key = self._node(event, depth + 1)
            node = self._node(self.loader.get_event(), depth + 1)
            if not isinstance(key, ScalarNode) or not isinstance(key.value, str):
                quoted = f' (write "{key.text}")' if isinstance(key, ScalarNode) and key.value is not None else ""
                self.faults.append(Fault(key.place, f"a key must be text, found {describe_node(key)}{quoted}"))
            elif key.plain and key.text == "<<":
                self.faults.append(Fault(key.place, "merge keys (<<) are not read; use extends"))
            elif key.text in entries:
                first = entries[key.text].key_place
                self.faults.append(Fault(key.place, f"'{key.text}' is given twice, first at {first}"))
            else:
                entries[key.text] = Pair(key.place, node)
        return MappingNode(place, entries)

    def _place(self, mark: Any) -> Place:
        return _locate(mark, self.source, self.offset)


def _locate(mark: Any, source: SourceText, offset: int) -> Place:
    line, column = mark.line + 1, mark.column + 1 + (offset if mark.line == 0 else 0)
    if line > len(source.lines) or (line > 1 and line == len(source.lines) and not source.lines[-1]):
        # The end of the file: point behind its last line that holds something.
        line = max((number for number, each in enumerate(source.lines, 1) if each.strip()), default=1)
        column = len(source.lines[line - 1]) + 1
    return Place(source, line, column)


_SYNTAX = (
    ("found character '\\t'", "a tab is not allowed here; indent with spaces"),
    ("found a tab character", "a tab is not allowed here; indent with spaces"),
    ("mapping values are not allowed", "a ':' is not allowed here; indent lines alike, and quote text that holds ': '"),
    ("could not find expected ':'", "this line has no ':' after its key"),
    ("expected <block end>", "this line is not indented like the ones before it"),
    ("expected ',' or ']'", "this list needs ',' or ']' here"),
    ("expected ',' or '}'", "this mapping needs ',' or '}' here"),
    ("found unexpected end of stream", "the quotes that open here are not closed"),
    ("found unexpected document separator", "the quotes that open here are not closed"),
    ("expected the node content", "a value is missing here"),
    ("found unknown escape character", "this backslash escape is not known; use '...' quotes to keep backslashes"),
)


def _explain_syntax(error: MarkedYAMLError, source: SourceText, offset: int) -> Fault:
    """PyYAML's syntax error, in words that say what to change."""
    problem = error.problem or error.context or "not YAML"
    mark = error.problem_mark or error.context_mark
    message = next((words for start, words in _SYNTAX if problem.startswith(start)), None)
    if message is None and "cannot start any token" in problem:
        message = "text cannot start with this character; put it in quotes"
    elif message is not None and message.startswith("the quotes"):
        mark = error.context_mark or mark
    place = Place(source) if mark is None else _locate(mark, source, offset)
    return Fault(place, message or f"not YAML: {problem}")


_VARIABLE = re.compile(r"\$\{env:[^$}\"'\r\n]*\}")  # without $ inside, so that many unclosed ones cost linear time
_MASKED_VARIABLE = re.compile("\\$\ue07b[^\ue07d]*\ue07d")
_MASK = {ord(character): chr(0xE000 + ord(character)) for character in "{}[],:# "}
_UNMASK = {ord(masked): chr(character) for character, masked in _MASK.items()}


def _mask(text: str) -> str:
    """The text with ``${env:...}`` kept whole: inside {...} and [...] its braces and commas would be syntax.

    Each such character becomes one of Unicode's private area, so that positions stay what they were.
    """
    return _VARIABLE.sub(lambda match: match[0].translate(_MASK), text)


def _unmask(text: str) -> str:
    return _MASKED_VARIABLE.sub(lambda match: match[0].translate(_UNMASK), text)


def build_tree(value: Any, source: SourceText) -> Node:
    """Plain dicts, lists and scalars as a tree without positions; strings are taken literally."""
    place = Place(source)
    if isinstance(value, Mapping):
        return MappingNode(place, {str(key): Pair(place, build_tree(each, source)) for key, each in value.items()})
    if isinstance(value, (list, tuple)):
        return ListNode(place, tuple(build_tree(each, source) for each in value))
    plain = not isinstance(value, str)
    return ScalarNode(place, format_value(value) if plain else value, plain, value)


def get_source(node: Node) -> SourceText:
    """The source of a node; of a list, that of its first item, which the environment may have given."""
    return node.items[0].place.source if isinstance(node, ListNode) and node.items else node.place.source


def read_texts(node: Node) -> str | list[str] | None:
    """The text of a scalar, or the texts of a list of scalars; None for any other node and for null."""
    if isinstance(node, ListNode):
        texts = [read_texts(item) for item in node.items]
        return [text for text in texts if isinstance(text, str)] if all(isinstance(t, str) for t in texts) else None
    return node.text if isinstance(node, ScalarNode) and node.value is not None else None


def describe_node(node: Node) -> str:
    """The value in words, short enough for a message."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list" if node.items else "an empty list"
    if node.value is None:
        return "null"
    if isinstance(node.value, str):
        return f"'{clip_text(node.text)}'"
    return clip_text(node.text)


def clip_text(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= 60 else shown[:57] + "..."


_BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*")
_OLD_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""What YAML 1.1 readers take for a bool or null, in whatever case: quoted, so that those read our files too."""

_NOWHERE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""Characters in no name: the other surrogates stand for the bytes 0x80 to 0xff of one that is not UTF-8."""
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\uf8ff\ufeff\ufffe\uffff]")
"""Also what turns the order of a text, and surrogates, which stand for the bytes of a name that are not UTF-8."""


def format_yaml(tree: Mapping[str, Any], remarks: Mapping[str, str] | None = None, path: str = "") -> str:
    """Plain dicts, lists and scalars as YAML that reads back equal: mappings as blocks, lists on one line.

    Of a list with mappings in it each item has a line of its own.

    ``${`` in a string is written ``$${``. `remarks` become comments behind the values at their dotted paths.
    """
    lines = []
    indent = "  " * path.count(".")
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            lines.append(f"{indent}{format_value(key)}:\n{format_yaml(value, remarks, f'{path}{key}.')}")
            continue
        remark = (remarks or {}).get(f"{path}{key}")
        comment = f"  # {remark}" if remark else ""
        if isinstance(value, (list, tuple)) and any(isinstance(each, Mapping) for each in value):
            lines.append(f"{indent}{format_value(key)}:{comment}\n")
            lines += [f"{indent}  - {format_value(each)}\n" for each in value]
        else:
            lines.append(f"{indent}{format_value(key)}: {format_value(value)}{comment}\n")
    return "".join(lines)


def format_value(value: Any) -> str:
    """A plain value as YAML on one line, or a node as YAML that reads back as the same node."""
    if isinstance(value, ScalarNode):
        return value.text or "null" if value.plain and not isinstance(value.value, str) else format_value(value.text)
    if isinstance(value, ListNode):
        return format_value(value.items)
    if isinstance(value, MappingNode):
        return format_value({key: pair.node for key, pair in value.entries.items()})
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{format_value(key)}: {format_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(format_value, value)) + "]"
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, float):
        return _format_float(value)
    text = str(value).replace("${", "$${")
    if _BARE.fullmatch(text) and text.lower() not in _OLD_WORDS and isinstance(resolve_scalar(text), str):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _format_float(value: float) -> str:
    """`value` so that readers of YAML 1.1 and 1.2 both take it for a float: 1.0e-05, not 1e-05."""
    if not math.isfinite(value):
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    mantissa, exponent, power = repr(value).partition("e")
    return (mantissa if "." in mantissa else mantissa + ".0") + exponent + power
