"""YAML with positions: how scalars are read, what is refused and with which words, and what is written back."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import yaml

from dltrain.config.document import (
    MAX_DEPTH,
    MAX_NODES,
    ListNode,
    MappingNode,
    ScalarNode,
    build_tree,
    format_yaml,
    parse_document,
    read_document,
    resolve_scalar,
)
from dltrain.config.faults import Fault, Refused, SourceText
from dltrain.config.source_files import MAX_BYTES


def parsed(text: str) -> tuple[object, list[Fault]]:
    faults: list[Fault] = []
    node = parse_document(text, SourceText("a.yaml", tuple(text.split("\n"))), faults)
    return node, faults


def fault_of(text: str) -> str:
    """The text of the one fault of a YAML text."""
    try:
        _, faults = parsed(text)
    except Refused as refused:
        return str(refused)
    (fault,) = faults
    return str(fault)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # The examples of YAML 1.2.2, section 10.3.2, and its neighbours.
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
        *((text, True) for text in ("true", "True", "TRUE")),
        *((text, False) for text in ("false", "False", "FALSE")),
        ("0", 0), ("-19", -19), ("+3", 3), ("0o7", 7), ("0x3A", 58), ("0x1F", 31),
        ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0), ("1e-3", 0.001),
        (".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf), ("1e999", math.inf),
        # Text, whatever YAML 1.1 makes of it.
        *((text, text) for text in ("no", "on", "yes", "y", "1:30", "010", "-007", "1_000", "0x", "0o8", "tRUE", "e3",
                                    ".", "1.2.3", "2024-01-01", "=", "<<", "-", "+", "9" * 500)),
    ],
)  # fmt: skip
def test_resolve(text: str, value: object) -> None:
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


def test_resolve_nan() -> None:
    assert math.isnan(resolve_scalar(".nan"))


def test_positions_and_quotes() -> None:
    node, faults = parsed("a:\n  - 1\n  - 'two'\nb: {c: 1e-3, d: \"x\"}\n")
    assert not faults
    assert isinstance(node, MappingNode)
    first = node.entries["a"].node
    assert isinstance(first, ListNode)
    one, two = first.items
    assert isinstance(one, ScalarNode)
    assert isinstance(two, ScalarNode)
    assert (one.value, one.plain, str(one.place)) == (1, True, "a.yaml:2:5")
    assert (two.value, two.plain, str(two.place)) == ("two", False, "a.yaml:3:5")
    second = node.entries["b"].node
    assert isinstance(second, MappingNode)
    assert str(second.entries["d"].key_place) == "a.yaml:4:14"
    assert str(second.entries["d"].node.place) == "a.yaml:4:17"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3", "a.yaml:3:1: error: 'a' is given twice, first at a.yaml:1:1\n    a: 3\n    ^"),
        (
            "{a: 1, 'a': 2}",
            "a.yaml:1:8: error: 'a' is given twice, first at a.yaml:1:2\n    {a: 1, 'a': 2}\n           ^",
        ),
        (
            "a: &x 1",
            "a.yaml:1:4: error: anchors (&name) and aliases (*name) are not read; write the value out, or use extends\n"
            "    a: &x 1\n       ^",
        ),
        (
            "a: *x",
            "a.yaml:1:4: error: anchors (&name) and aliases (*name) are not read; write the value out, or use extends\n"
            "    a: *x\n       ^",
        ),
        ("<<: {a: 1}", "a.yaml:1:1: error: merge keys (<<) are not read; use extends\n    <<: {a: 1}\n    ^"),
        (
            "a: !!python/object/apply:os.system [x]",
            "a.yaml:1:4: error: tags (!name) are not read; write the plain value\n"
            "    a: !!python/object/apply:os.system [x]\n       ^",
        ),
        ("a: !!str 1", "a.yaml:1:4: error: tags (!name) are not read; write the plain value\n    a: !!str 1\n       ^"),
        ("1: a", "a.yaml:1:1: error: a key must be text, found 1 (write \"1\")\n    1: a\n    ^"),
        ("? [a]\n: b", "a.yaml:1:3: error: a key must be text, found a list\n    ? [a]\n      ^"),
        ("a: {null: 1}", "a.yaml:1:5: error: a key must be text, found null\n    a: {null: 1}\n        ^"),
        ("a: 1\n---\nb: 2", "a.yaml:2:1: error: a second document starts here; one file holds one config\n    ---\n"
         "    ^"),
        ("a:\n\tb: 1", "a.yaml:2:1: error: a tab is not allowed here; indent with spaces\n     b: 1\n    ^"),
        (
            "a: b: c",
            "a.yaml:1:5: error: a ':' is not allowed here; indent lines alike, and quote text that holds ': '\n"
            "    a: b: c\n        ^",
        ),
        ("a: [1, 2", "a.yaml:1:9: error: this list needs ',' or ']' here\n    a: [1, 2\n            ^"),
        ("a: {b: 1", "a.yaml:1:9: error: this mapping needs ',' or '}' here\n    a: {b: 1\n            ^"),
        ("a: 'b", "a.yaml:1:4: error: the quotes that open here are not closed\n    a: 'b\n       ^"),
        ("a: @b", "a.yaml:1:4: error: text cannot start with this character; put it in quotes\n    a: @b\n       ^"),
        ("a: 1\nb", "a.yaml:2:2: error: this line has no ':' after its key\n    b\n     ^"),
        ("a:\n  b: 1\n c: 2", "a.yaml:3:2: error: this line is not indented like the ones before it\n     c: 2\n"
         "     ^"),
        (
            'a: "\\q"',
            "a.yaml:1:6: error: this backslash escape is not known; use '...' quotes to keep backslashes\n"
            '    a: "\\q"\n         ^',
        ),
        ("a: \x07", "a.yaml:1:4: error: character U+0007 is not allowed in YAML\n    a:\n       ^"),
        (
            'a: "\\0"',
            'a.yaml:1:4: error: the text holds an escape for a character that no file or terminal takes\n'
            '    a: "\\0"\n       ^',
        ),
        (
            'a: "\\ud800"',
            "a.yaml:1:4: error: the text holds an escape for a character that no file or terminal takes\n"
            '    a: "\\ud800"\n       ^',
        ),
    ],
)  # fmt: skip
def test_refused(text: str, fault: str) -> None:
    assert fault_of(text) == fault


def test_every_other_syntax_error_is_told_with_its_place() -> None:
    assert fault_of("a: %b").startswith("a.yaml:1:4: error: ")
    assert fault_of("%YAML 2.0\n---\na: 1").startswith("a.yaml:1:1: error: not YAML: found incompatible YAML document")


def test_bounds() -> None:
    deep = "[" * (MAX_DEPTH + 1)
    assert fault_of(deep).startswith(f"a.yaml:1:{MAX_DEPTH + 1}: error: values are nested more than {MAX_DEPTH} deep\n")
    assert not parsed("[" * MAX_DEPTH + "]" * MAX_DEPTH)[1]
    assert fault_of("- 1\n" * MAX_NODES).startswith(
        f"a.yaml:{MAX_NODES}:3: error: the file holds more than {MAX_NODES} values, too many for a config\n"
    )


def test_an_alias_bomb_costs_nothing() -> None:
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{previous}'] * 9)}]")
    started = time.perf_counter()
    assert fault_of("\n".join(lines)).startswith("a.yaml:1:4: error: anchors (&name) and aliases (*name) are not read")
    assert time.perf_counter() - started < 0.5


def test_unclosed_references_cost_linear_time() -> None:
    started = time.process_time()
    assert fault_of("a: " + "${env:" * 50_000).startswith("a.yaml:1:")
    assert time.process_time() - started < 5


def read_bytes(path: Path, content: bytes) -> tuple[MappingNode | None, str]:
    path.write_bytes(content)
    faults: list[Fault] = []
    node = read_document(path, "a.yaml", 0, faults)
    return node, "\n".join(map(str, faults))


def test_read_takes_bom_and_crlf(tmp_path: Path) -> None:
    node, faults = read_bytes(tmp_path / "a.yaml", b"\xef\xbb\xbfa: 1\r\nb: 'x\xc3\xa9'\r\n")
    assert not faults
    assert node is not None
    assert str(node.entries["a"].key_place) == "a.yaml:1:1"
    assert str(node.entries["b"].node.place) == "a.yaml:2:4"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "a.yaml: error: the file is empty\n    allowed: sections such as task, data and model"),
        (b"# nothing\n", "a.yaml: error: the file is empty\n    allowed: sections such as task, data and model"),
        (b"---\n", "a.yaml: error: the file is empty\n    allowed: sections such as task, data and model"),
        (
            b"- a\n",
            "a.yaml:1:1: error: the file holds a list where it needs sections\n    - a\n    ^\n"
            "    allowed: task: image_classification ...",
        ),
        (
            b"lenet",
            "a.yaml:1:1: error: the file holds 'lenet' where it needs sections\n    lenet\n    ^\n"
            "    allowed: task: image_classification ...",
        ),
        (
            b"a: 1\nb: \xe9\n",
            "a.yaml: error: the file is not UTF-8: byte 0xe9 at offset 8, in line 2; save it as UTF-8",
        ),
        (
            b"\xef\xbb\xbfa: \xff",
            "a.yaml: error: the file is not UTF-8: byte 0xff at offset 6, in line 1; save it as UTF-8",
        ),
        (
            "a: 1".encode("utf-16"),
            "a.yaml: error: the file is not UTF-8: byte 0xff at offset 0, in line 1; save it as UTF-8",
        ),
        (
            b"#" * (MAX_BYTES + 1),
            f"a.yaml: error: the file is larger than {MAX_BYTES} bytes, too large for a config",
        ),
    ],
)  # fmt: skip
def test_read_refuses(tmp_path: Path, content: bytes, fault: str) -> None:
    assert read_bytes(tmp_path / "a.yaml", content) == (None, fault)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    faults: list[Fault] = []
    assert read_document(Path("a\0b"), "a?b", 0, faults) is None
    assert str(faults[0]) == "a?b: error: the file cannot be read: embedded null byte"


STRINGS = [
    "", " ", "a b", " a", "a ", "no", "Yes", "null", "~", "1e-3", "010", "0x1F", "1.10", "1:30", "a: b", "a #b", "- a",
    "#", "'",
    '"', "\\", "${env:HOME}", "$${x}", "$$${", "a\nb", "a\tb", "\x7f\x85\u2028\ufeff", "\ue07b",
    "é", "語", "😀", "{a}", "[a]", "true", "=", "<<", ".inf", "a,b", "%", "@", "`", "*a", "&a", "!a", "|", ">", "?",
    "data/x y/z.gz", "2024-01-01", "\r\n",
]  # fmt: skip


def test_written_values_read_back_equal() -> None:
    floats = [0.0, -0.0, 1e-5, 1e-10, 1e22, 0.1, 5e-324, 1.7976931348623157e308, math.inf, -math.inf]
    tree = {
        "strings": {f"s{index}": text for index, text in enumerate(STRINGS)},
        "list": [*STRINGS, *floats, 0, -1, 2**70, True, False, None, [], [[1]], {}, {"a": 1}],
        "floats": {f"f{index}": value for index, value in enumerate(floats)},
        "empty": {},
    }
    text = format_yaml(tree)
    node, faults = parsed(text)
    assert not faults

    def values(node: object) -> object:
        if isinstance(node, MappingNode):
            return {key: values(pair.node) for key, pair in node.entries.items()}
        if isinstance(node, ListNode):
            return [values(item) for item in node.items]
        assert isinstance(node, ScalarNode)
        return node.value.replace("$${", "${") if isinstance(node.value, str) else node.value

    assert values(node) == tree
    # A reader of YAML 1.1 finds the same types.
    assert yaml.safe_load(text)["floats"] == tree["floats"]
    assert all(isinstance(each, str) for each in yaml.safe_load(text)["strings"].values())


def test_write_puts_remarks_behind_values() -> None:
    text = format_yaml({"a": {"b": [1], "c": {"d": "x"}}, "e": None}, {"a.b": "here", "a.c.d": "there", "e": "--set"})
    assert text == "a:\n  b: [1]  # here\n  c:\n    d: x  # there\ne: null  # --set\n"


def test_tree_of_takes_strings_as_they_stand() -> None:
    node = build_tree({"a": ["1e-3", 2.0, None]}, SourceText("x"))
    assert isinstance(node, MappingNode)
    items = node.entries["a"].node
    assert isinstance(items, ListNode)
    assert [(item.text, item.value) for item in items.items if isinstance(item, ScalarNode)] == [
        ("1e-3", "1e-3"),
        ("2.0", 2.0),
        ("null", None),
    ]


def test_names_that_are_no_text_are_written_and_read_back() -> None:
    """The bytes of a name that are not UTF-8, and characters that turn the order of a text."""
    tree = {"root": "caf\udce9/x", "file": "photo\u202egnp.exe", "other": "\u2066a\u2069"}
    text = format_yaml(tree)
    assert text.isascii()
    assert yaml.safe_load(text) == tree
    node, faults = parsed(text)
    assert not faults
    assert isinstance(node, MappingNode)
    assert {name: pair.node.text for name, pair in node.entries.items() if isinstance(pair.node, ScalarNode)} == tree
