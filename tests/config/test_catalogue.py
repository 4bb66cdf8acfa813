"""What is read from the source of registered classes and functions, and what is refused, without running it."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from dltrain.config.annotations import REQUIRED, Option, complaints, split_docstring, words
from dltrain.config.catalogue import Catalogue, package_catalogue, read_module, with_plugins
from dltrain.config.faults import Refused
from dltrain.errors import ConfigError
from dltrain.options import Augmentation, Fraction, PositiveInt, Widths

HEAD = "from dltrain.registry import models, tasks, datasets, optimizers\n"


def read(text: str) -> list[Any]:
    return read_module(HEAD + text, "plugin.py", "/plugin.py")


def refused(text: str) -> str:
    with pytest.raises(Refused) as caught:
        Catalogue(tuple(read(text)))
    return str(caught.value)


def option(annotation: str, default: str = "", head: str = "") -> Option:
    (entry,) = read(f"{head}\n@models.register('m')\ndef m(*, x: {annotation}{default and ' = ' + default}): ...\n")
    return entry.options[0]


def test_an_entry() -> None:
    text = '''
import os
raise SystemExit("a plug-in is not run to be read")

WIDE = 64

@models.register("small")
@models.register("large", parameters=3, kinds=("a", "b"))
class Net(object):
    """What it is,
    in two lines.

    The paper.

    Options:
        hidden: units
            of the layer: all of them.
        rate: how fast.

    More text.
    """

    limit = 3

    def forward(self, x): ...

    def __init__(self, channels: int, classes=3, *, hidden: "PositiveInt | None" = WIDE, rate: float = 1): ...
'''
    small, large = read(text)
    assert (small.kind, small.name, small.facts) == ("model", "small", {})
    assert (large.name, large.facts) == ("large", {"parameters": 3, "kinds": ("a", "b")})
    assert small.provided == ("channels", "classes")
    assert small.options == (
        Option("hidden", PositiveInt | None, 64, "units of the layer: all of them."),
        Option("rate", float, 1.0, "how fast."),
    )
    assert type(small.options[1].default) is float
    assert small.summary == "What it is, in two lines."
    assert small.doc == "What it is,\nin two lines.\n\nThe paper.\n\nMore text."
    assert (small.module, str(small.place), small.line) == ("/plugin.py", "plugin.py:8:2", 8)


def test_functions_inheritance_branches_and_other_imports() -> None:
    entries = read_module(
        "import dltrain.registry\n"
        "from dltrain import registry as known\n"
        "from dltrain.registry import models as nets\n"
        "class Parent:\n    def __init__(self, a, *, b: int = 1): ...\n"
        "if True:\n    @nets.register('child')\n    class Child(Parent): ...\n"
        "try:\n    @known.optimizers.register('f')\n    def f(parameters, /, more, *, c: float): ...\n"
        "except ImportError:\n    @known.schedules.register('g')\n    def g(): ...\n"
        "@dltrain.registry.models.register('h')\nclass H: ...\n"
        "@other.models.register('not ours')\n@nets.unregister('nor this')\n@nets\nclass I: ...\n",
        "plugin.py",
        "plugin",
    )
    assert [(each.kind, each.name, each.provided, [o.name for o in each.options]) for each in entries] == [
        ("model", "child", ("a",), ["b"]),
        ("optimizer", "f", ("parameters", "more"), ["c"]),
        ("schedule", "g", (), []),
        ("model", "h", (), []),
    ]
    assert entries[1].options[0].default is REQUIRED


@pytest.mark.parametrize(
    ("annotation", "type_"),
    [
        ("int", int),
        ("None", None),
        ("bool | None", bool | None),
        ("Optional[int]", int | None),
        ("Union[int, str]", int | str),
        ("Literal['a', 1, -1, None]", Literal["a", 1, -1, None]),
        ("Annotated[int, Ge(1), Lt(5), 'a remark']", Annotated[int, Ge(1), Lt(5)]),
        ("Annotated[list[Annotated[float, Gt(0)]], MinLen(1), MaxLen(3)]",
         Annotated[list[Annotated[float, Gt(0)]], MinLen(1), MaxLen(3)]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("tuple[int, float]", tuple[int, float]),
        ("dict[str, list[int]]", dict[str, list[int]]),
        ("Widths", Widths),
        ("Augmentation | None", Augmentation | None),
        ("typing.Literal['a']", Literal["a"]),
        ("at.Ge", None),
        ("Share", Fraction),
        ("Side", Annotated[int, Ge(3)]),
        ("'int | None'", int | None),
    ],
)  # fmt: skip
def test_annotations(annotation: str, type_: Any) -> None:
    head = (
        "import typing\nimport annotated_types as at\nfrom dltrain.options import Fraction as Share\nLOW = 3\n"
        "Side: TypeAlias = Annotated[int, at.Ge(LOW)]"
    )
    if annotation == "at.Ge":
        with pytest.raises(Refused, match="an option is an int, float"):
            option(annotation, head=head)
    else:
        assert option(annotation, head=head).annotation == type_


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("[1, (2, -3)]", [1, (2, -3)]),
        ("{'a': 1}", {"a": 1}),
        ("None", None),
        ("BOTH", [3, 3]),
        ("Augmentation(shift=SHIFT)", Augmentation(shift=0.5)),
        ("o.Augmentation()", Augmentation()),
    ],
)
def test_defaults(default: str, value: Any) -> None:
    head = (
        "import dltrain.options as o\nfrom dltrain.options import Augmentation\n"
        "SIDE: int = 3\nBOTH = [SIDE, SIDE]\nSHIFT = 0.5"
    )
    assert option("Augmentation | None", default, head).default == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@models.register(NAME)\ndef f(): ...",
         'plugin.py:2:2: error: a model is registered under one literal name, such as register("mine")'),
        ("@models.register('a', width=wide())\ndef f(): ...",
         "plugin.py:2:29: error: the fact 'width' must be a literal"),
        ("@tasks.register('a', data='images')\ndef f(): ...",
         "plugin.py:2:2: error: task 'a' is registered without its fact sizes=(\"channels\", \"classes\")"),
        ("@datasets.register('a')\ndef f(): ...",
         "plugin.py:2:2: error: dataset 'a' is registered without its fact data=\"images\""),
        ("@models.register('a')\n"
         "def f(**rest): ...", "plugin.py:3:9: error: '**rest' hides options; name each of them"),
        ("@models.register('a')\ndef f(*, b=1): ...", "plugin.py:3:10: error: option 'b' needs a type, such as b: int"),
        ("@models.register('a')\ndef f(*, name: str): ...",
         "plugin.py:3:10: error: an option cannot be called 'name', which says what the section chooses"),
        ("@models.register('a')\ndef f(*, b: list): ...",
         "plugin.py:3:13: error: option 'b' has a type that YAML cannot say: say what the list holds, such as "
         "list[int]"),
        ("@models.register('a')\ndef f(*, b: dict): ...",
         "plugin.py:3:13: error: option 'b' has a type that YAML cannot say: "
         "say what the dict holds, such as dict[str, int]"),
        ("@models.register('a')\ndef f(*, b: dict[int, int]): ...",
         "plugin.py:3:13: error: option 'b' has a type that YAML cannot say: "
         "the keys of a mapping are text: use dict[str, ...]"),
        ("@models.register('a')\ndef f(*, b: list[Augmentation]): ...",
         "plugin.py:3:13: error: option 'b' has a type that YAML cannot say: "
         "a group of options stands alone or with `| None`"),
        ("@models.register('a')\ndef f(*, b: Gt): ...",
         "plugin.py:3:13: error: option 'b' has a type that YAML cannot say: an option is an int, float, str, bool, "
         "Literal, list, tuple, dict, a union of those or a group of options"),
        ("@models.register('a')\ndef f(*, b: PositivInt): ...",
         "plugin.py:3:13: error: the type PositivInt is not known here"),
        ("@models.register('a')\ndef f(*, b: torch.Tensor): ...",
         "plugin.py:3:13: error: the type torch.Tensor is not known here"),
        ("@models.register('a')\ndef f(*, b: int + 1): ...",
         "plugin.py:3:13: error: the type int + 1 cannot be read without running the file"),
        ("@models.register('a')\ndef f(*, b: Annotated[int, int(3)]): ...",
         "plugin.py:3:28: error: the type int(3) cannot be read without running the file"),
        ("@models.register('a')\ndef f(*, b: 'int |'): ...",
         "plugin.py:3:13: error: the type 'int |' is not understood: invalid syntax (<unknown>, line 1)"),
        ("@models.register('a')\ndef f(*, b: int[3]): ...",
         "plugin.py:3:17: error: the type 3 cannot be read without running the file"),
        ("@models.register('a')\ndef f(*, b: int[str]): ...",
         "plugin.py:3:13: error: the type int[str] is not understood: "
         "type 'int' is not subscriptable"),
        ("@models.register('a')\ndef f(*, b: int = size()): ...",
         "plugin.py:3:19: error: size() cannot be read without running the file; write a literal"),
        ("A = A\n@models.register('a')\ndef f(*, b: int = A): ...",
         "plugin.py:2:5: error: A cannot be read without running the file; write a literal"),
        ("@models.register('a')\n@dataclass(frozen=True)\nclass F:\n    b: int = 1",
         "plugin.py:4:1: error: class F has no __init__ in this file to read its options from; write one"),
        ("@models.register('a')\nclass F(Elsewhere): ...",
         "plugin.py:3:1: error: class F has no __init__ in this file to read its options from; write one"),
        ("@models.register('a')\ndef f(): ...\n@models.register('a')\ndef g(): ...",
         "plugin.py:4:2: error: model 'a' is already registered, at plugin.py:2:2; rename it"),
        ("@models.register('a'\n", "plugin.py:2:17: error: not Python: '(' was never closed"),
        ("x = models.register('a')\0", "plugin.py: error: not Python: source code string cannot contain null bytes"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    assert refused(text).splitlines()[0] == message


def test_a_refusal_shows_the_line_and_the_nearest_name() -> None:
    assert refused("@models.register('a')\ndef f(*, b: PositivInt = 1): ...") == (
        "plugin.py:3:13: error: the type PositivInt is not known here\n"
        "    def f(*, b: PositivInt = 1): ...\n"
        "                ^\n"
        "    allowed: int, float, str, bool, list, tuple, dict, Literal, Annotated, and names of dltrain.options or "
        "this file\n"
        "    did you mean 'PositiveInt'?"
    )


def test_plugins_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.py"
    with pytest.raises(ConfigError) as caught:
        with_plugins([missing])
    assert str(caught.value) == (
        f"{missing}: error: the plug-in cannot be read: No such file or directory\n"
        f"1 fault in {missing}; nothing was started"
    )
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="the plug-in cannot be read: not UTF-8, byte 0xe9 at offset 2"):
        with_plugins([latin])
    twice = tmp_path / "twice.py"
    twice.write_text(HEAD + "@models.register('cnn')\ndef f(): ...\n")
    with pytest.raises(ConfigError, match=r"model 'cnn' is already registered, at dltrain/models/cnn\.py:"):
        with_plugins([twice])


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Annotated[int, Ge(1)], "integer >= 1"),
        (Annotated[int, Le(9)], "integer <= 9"),
        (Widths, "non-empty list of integers >= 1"),
        (list[PositiveInt], "list of integers >= 1"),
        (Literal["relu", "gelu"], "one of relu, gelu"),
        (Literal["x"], "x"),
        (Fraction, "number in [0, 1)"),
        (Annotated[float, Gt(0), Le(2)], "number in (0, 2]"),
        (str | None, "text or null"),
        (bool, "true or false"),
        (None, "null"),
        (int | str | None, "integer or text or null"),
        (tuple[int, int], "list of 2 integers"),
        (tuple[int, str], "list of 2: integer, text"),
        (tuple[float, ...], "list of numbers"),
        (Annotated[list[int], MinLen(2)], "list of at least 2 integers"),
        (Annotated[list[int], MinLen(2), MaxLen(2)], "list of 2 integers"),
        (Annotated[list[int], MaxLen(2)], "list of 0 to 2 integers"),
        (list[list[int]], "list of lists of integers"),
        (dict[str, int], "mapping of names to integers"),
        (list[dict[str, float]], "list of mappings of names to numbers"),
        (Augmentation | None, "mapping of augmentation options or null"),
    ],
)
def test_words(annotation: Any, said: str) -> None:
    assert words(annotation) == said


def test_a_docstring_without_options() -> None:
    assert split_docstring(None) == ("", "", {})
    assert split_docstring("One.\n\nTwo.") == ("One.", "One.\n\nTwo.", {})


def test_the_package_itself() -> None:
    """Every shipped option has a meaning in its docstring, and a default that its own type takes."""
    for entry in package_catalogue().entries:
        assert entry.summary, entry
        for option in entry.options:
            where = f"{entry.place} {entry.name}.{option.name}"
            assert option.description, where
            if option.default is not REQUIRED and not is_dataclass(option.default):
                assert not complaints(option.default, option.annotation), where
