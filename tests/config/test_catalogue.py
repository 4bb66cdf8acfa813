"""What is read from the signatures of registered classes and functions, and what is refused."""

from __future__ import annotations

import builtins
import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from dltrain.config.annotations import REQUIRED, Option, describe_type, find_group, list_options, split_docstring
from dltrain.config.catalogue import STORED, Catalogue, Entry, encode_catalogue, load_package_catalogue
from dltrain.config.experiment import load_experiment
from dltrain.config.faults import Fault, Place, SourceText
from dltrain.config.generate import read_package
from dltrain.config.plugins import add_plugin, load_catalogue
from dltrain.config.values import validate_value
from dltrain.data.images.options import Augmentation
from dltrain.errors import ConfigError
from dltrain.options import Fraction, PositiveInt, Widths

HEAD = "from dltrain.registry import models, tasks, datasets, optimizers\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def execute(text: str) -> tuple[list[Entry], list[Fault]]:
    """The entries and faults of a plug-in with this text."""
    path = Path("plugin.py").absolute()
    path.write_text(text)
    faults: list[Fault] = []
    catalogue = add_plugin(Catalogue(), path, Place(SourceText("a.yaml"), 1, 1), faults, "plugin.py")
    return list(catalogue.entries), faults


def read(text: str) -> list[Entry]:
    entries, faults = execute(HEAD + text)
    assert not faults, faults
    return entries


def refused(text: str) -> str:
    """The text of the only fault."""
    _, (fault,) = execute(HEAD + text)
    assert fault.cause
    return str(fault)


IMPORTS = """\
import functools
from dataclasses import dataclass
from typing import Annotated, Literal, Optional, Union
from typing_extensions import TypeAlias
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from dltrain.data.images.options import Augmentation
from dltrain.options import *
"""


def option(annotation: str, default: str = "", head: str = "") -> Option:
    (entry,) = read(
        f"{IMPORTS}{head}\n@models.register('m')\ndef m(*, x: {annotation}{default and ' = ' + default}): ...\n"
    )
    return entry.options[0]


def test_an_entry() -> None:
    text = '''
from dltrain.options import PositiveInt

WIDE = 2 * 32

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
    large, small = read(text)
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
    assert (small.module, str(small.place)) == (str(Path("plugin.py").absolute()), "plugin.py:7:1")
    assert (str(large.place), large.load().__name__) == ("plugin.py:8:1", "Net")


def test_functions_inheritance_branches_and_other_imports() -> None:
    entries = read(
        "import dltrain.registry\n"
        "from dltrain import registry as known\n"
        "from dltrain.registry import models as nets\n"
        "class Parent:\n    def __init__(self, a, *, b: int = 1): ...\n"
        "if True:\n    @nets.register('child')\n    class Child(Parent): ...\n"
        "try:\n    @known.optimizers.register('f')\n    def f(parameters, /, more, *, c: float): ...\n"
        "finally:\n    @known.schedules.register('g')\n    def g(): ...\n"
        "@dltrain.registry.models.register('h')\nclass H: ...\n"
        "for size in (1, 2):\n    @nets.register(f'sized_{size}')\n    def sized(a, *, b: int = size): ...\n"
    )
    assert [(each.kind, each.name, each.provided, [o.name for o in each.options]) for each in entries] == [
        ("model", "child", ("a",), ["b"]),
        ("model", "h", (), []),
        ("model", "sized_1", ("a",), ["b"]),
        ("model", "sized_2", ("a",), ["b"]),
        ("optimizer", "f", ("parameters", "more"), ["c"]),
        ("schedule", "g", (), []),
    ]
    assert entries[-2].options[0].default is REQUIRED
    assert entries[3].options[0].default == 2


@pytest.mark.parametrize(
    ("annotation", "type_"),
    [
        ("int", int),
        ("None", type(None)),
        ("bool | None", bool | None),
        ("Optional[int]", int | None),
        ("Union[int, str]", int | str),
        ("Literal['a', 1, -1, None]", Literal["a", 1, -1, None]),
        ("Annotated[int, Ge(1), Lt(5), 'a remark']", Annotated[int, Ge(1), Lt(5), "a remark"]),
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
        assert "an option is an int, float" in refused(
            f"{IMPORTS}{head}\n@models.register('m')\ndef m(*, x: {annotation}): ...\n"
        )
    else:
        assert option(annotation, head=head).annotation == type_


@pytest.mark.parametrize(
    ("annotation", "default", "value"),
    [
        ("list[int | tuple[int, int]]", "[1, (2, -3)]", [1, (2, -3)]),
        ("dict[str, int]", "{'a': 1}", {"a": 1}),
        ("Augmentation | None", "None", None),
        ("list[int]", "BOTH", [3, 3]),
        ("int", "len(BOTH) + functools.reduce(int.__mul__, BOTH)", 11),
        ("Augmentation | None", "Augmentation(shift=SHIFT)", Augmentation(shift=0.5)),
        ("Augmentation", "o.Augmentation()", Augmentation()),
    ],
)
def test_defaults(annotation: str, default: str, value: Any) -> None:
    head = "import dltrain.data.images.options as o\nSIDE: int = 3\nBOTH = [SIDE, SIDE]\nSHIFT = 0.5"
    assert option(annotation, default, head).default == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@models.register('')\ndef f(): ...",
         'plugin.py:2:1: error: a model is registered under a name, such as register("mine")'),
        ("@tasks.register('a', data='images')\ndef f(): ...",
         "plugin.py:2:1: error: task 'a' is registered without its fact sizes=(\"channels\", \"classes\")"),
        ("@datasets.register('a')\ndef f(): ...",
         "plugin.py:2:1: error: dataset 'a' is registered without its fact data=\"images\""),
        ("@datasets.register('a', data='images', sizes=28)\ndef f(): ...",
         "plugin.py:2:1: error: the fact sizes must map sizes to numbers or options, such as "
         'sizes={"height": 28, "window": "window"}'),
        ("@models.register('a')\n"
         "def f(**rest): ...", "plugin.py:3:9: error: '**rest' hides options; name each of them"),
        ("@models.register('a')\ndef f(*rest): ...",
         "plugin.py:3:8: error: '*rest' hides the sizes that the model needs; name each of them"),
        ("@models.register('a')\ndef f(*, b=1): ...", "plugin.py:3:10: error: option 'b' needs a type, such as b: int"),
        ("@models.register('a')\ndef f(*, name: str): ...",
         "plugin.py:3:10: error: an option cannot be called 'name', the key that chooses what the section names"),
        ("@models.register('a')\ndef f(*, b: list): ...",
         "plugin.py:3:10: error: option 'b' has a type that YAML cannot express: say what the list holds, such as "
         "list[int]"),
        ("@models.register('a')\ndef f(*, b: dict): ...",
         "plugin.py:3:10: error: option 'b' has a type that YAML cannot express: "
         "say what the dict holds, such as dict[str, int]"),
        ("@models.register('a')\ndef f(*, b: dict[int, int]): ...",
         "plugin.py:3:10: error: option 'b' has a type that YAML cannot express: "
         "the keys of a mapping are text: use dict[str, ...]"),
        ("from dltrain.options import Plan\n@models.register('a')\ndef f(*, b: list[Plan]): ...",
         "plugin.py:4:10: error: option 'b' has a type that YAML cannot express: "
         "a group of options stands alone or with `| None`"),
        ("from pathlib import Path\n@models.register('a')\ndef f(*, b: Path): ...",
         "plugin.py:4:10: error: option 'b' has a type that YAML cannot express: an option is an int, float, str, "
         "bool, Literal, list, tuple, dict, a union of those or a group of options"),
        ("import dataclasses\n@dataclasses.dataclass\nclass Head:\n    units: list = ()\n"
         "@models.register('a')\ndef f(*, b: Head): ...",
         "plugin.py:7:10: error: option 'b' has a type that YAML cannot express: Head.units: say what the list holds, "
         "such as list[int]"),
        ("@models.register('a')\ndef f(*, b: PositivInt): ...",
         "plugin.py:3:1: error: the plug-in cannot be imported: NameError: name 'PositivInt' is not defined"),
        ("@models.register('a')\ndef f(*, b: 'PositivInt'): ...",
         "plugin.py:3:10: error: the type 'PositivInt' of option 'b' cannot be evaluated: name 'PositivInt' is not "
         "defined"),
        ("@models.register('a')\ndef f(*,\n      b: 'int |'): ...",
         "plugin.py:4:7: error: the type 'int |' of option 'b' cannot be evaluated: "
         "Forward reference must be an expression -- got 'int |'"),
        ("@models.register('a')\ndef f(*, b: 'int[str]'): ...",
         "plugin.py:3:10: error: the type 'int[str]' of option 'b' cannot be evaluated: "
         "type 'int' is not subscriptable"),
        ("@models.register('a')\ndef f(*, b: int = None): ...",
         "plugin.py:3:10: error: the default of option 'b' must be an integer, found None; add `| None` to its type"),
        ("@models.register('a')\ndef f(*, b: str = print): ...",
         "plugin.py:3:10: error: the default of option 'b' must be text, found <built-in function print>"),
        ("@models.register('a')\ndef f(*, b: int = size()): ...",
         "plugin.py:3:1: error: the plug-in cannot be imported: NameError: name 'size' is not defined"),
        ("\nimport sys\nsys.exit('enough')",
         "plugin.py:4:1: error: the plug-in cannot be imported: SystemExit: enough"),
        ("import json\njson.loads('')",
         "plugin.py:3:1: error: the plug-in cannot be imported: JSONDecodeError: Expecting value: line 1 column 1 "
         f"(char 0) (in {json.decoder.__file__}:"),
        ("@models.register('a')\ndef f(): ...\n@models.register('a')\ndef g(): ...",
         "plugin.py:4:1: error: model 'a' is already registered, at plugin.py:2:1; rename it"),
        ("@models.register('a'\n", "plugin.py:2:17: error: not Python: '(' was never closed"),
        ("x = models.register('a')\0", "plugin.py: error: not Python: source code string cannot contain null bytes"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    assert refused(text).splitlines()[0].startswith(message)


def test_a_refusal_shows_the_line_and_the_nearest_name() -> None:
    assert refused("@models.register('a')\ndef f(*, b: 'PositivInt' = 1): ...") == (
        "plugin.py:3:10: error: the type 'PositivInt' of option 'b' cannot be evaluated: name 'PositivInt' is not "
        "defined\n"
        "    def f(*, b: 'PositivInt' = 1): ...\n"
        "             ^\n"
        "    did you mean 'PositiveInt'?"
    )


def test_what_is_sound_is_kept_beside_a_fault() -> None:
    entries, faults = execute(f"{HEAD}@models.register('a')\ndef f(): ...\n@models.register('b')\ndef g(*, x): ...\n")
    assert [entry.name for entry in entries] == ["a"]
    assert [str(fault.place) for fault in faults] == ["plugin.py:5:10"]


MINE = '''
from dataclasses import dataclass, field
from dltrain.models.cnn import CNN
from dltrain.options import PositiveInt, Widths

@dataclass(frozen=True)
class Head:
    """The last layers.

    Options:
        units: of each.
    """

    units: Widths = field(default_factory=lambda: [2 * 32])

    def __post_init__(self):
        if len(self.units) > 3:
            raise ValueError("at most 3 layers")

@models.register("mine")
class Mine(CNN):
    """A CNN."""

@models.register("topped")
class Topped(CNN):
    """A CNN with a head."""

    def __init__(self, image_channels: int, height: int, width: int, classes: int, *, head: "Head | None" = None,
                 rounds: PositiveInt = max(2, 3)) -> None:
        super().__init__(image_channels, height, width, classes)
'''


def test_inherited_options_groups_of_its_own_and_computed_defaults() -> None:
    mine, topped = read(MINE)
    cnn = load_package_catalogue().find("model", "cnn")
    assert cnn is not None
    assert (mine.options, mine.provided) == (cnn.options, cnn.provided)
    assert mine.summary == "A CNN."
    assert [each.default for each in topped.options] == [None, 3]
    grouped = find_group(topped.options[0].annotation)
    assert grouped is not None
    assert [(each.name, each.default, each.description) for each in list_options(grouped)] == [
        ("units", [64], "of each.")
    ]
    text = "task: image_classification\ndata: mnist\nmodel: {name: topped, head: {units: %s}}\nplugins: [plugin.py]\n"
    Path("a.yaml").write_text(text % "[3, 4]")
    head = load_experiment(Path("a.yaml")).experiment.model.options["head"]
    assert head == type(head)(units=[3, 4])
    Path("a.yaml").write_text(text % "[1, 2, 3, 4]")
    with pytest.raises(ConfigError, match=r"a\.yaml:3:29: error: model\.head: at most 3 layers"):
        load_experiment(Path("a.yaml"))


def test_a_plugin_is_executed_once_for_each_text() -> None:
    text = "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n"
    try:
        for _ in range(2):
            execute(text)
        assert vars(builtins)["runs"] == 1
        (entry,), _ = execute(f"{text}{HEAD}@models.register('a')\ndef f(*, b: int = 1): ...\n")
        assert vars(builtins)["runs"] == 2
        (changed,), _ = execute(f"{text}{HEAD}@models.register('a')\ndef f(*, b: int = 2): ...\n")
    finally:
        del vars(builtins)["runs"]
    assert (entry.options[0].default, changed.options[0].default) == (1, 2)
    assert [each.load().__kwdefaults__ for each in (entry, changed)] == [{"b": 1}, {"b": 2}]


def test_plugins_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.py"
    with pytest.raises(ConfigError) as caught:
        load_catalogue([missing])
    assert str(caught.value) == (
        f"{missing}: error: the plug-in '{missing}' does not exist\n1 fault in {missing}; nothing was started"
    )
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8, byte 0xe9 at offset 2"):
        load_catalogue([latin])
    twice = tmp_path / "twice.py"
    twice.write_text(HEAD + "@models.register('cnn')\ndef f(): ...\n")
    with pytest.raises(ConfigError, match=r"model 'cnn' is already registered, at dltrain/models/cnn\.py; rename it"):
        load_catalogue([twice])


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
    assert describe_type(annotation) == said


def test_a_docstring_without_options() -> None:
    assert split_docstring(None) == ("", "", {})
    assert split_docstring("One.\n\nTwo.") == ("One.", "One.\n\nTwo.", {})


def test_the_package_itself() -> None:
    """Every option of the package has a meaning in its docstring, and a default that its own type takes."""
    for entry in load_package_catalogue().entries:
        assert entry.summary, entry
        for option in entry.options:
            where = f"{entry.place} {entry.name}.{option.name}"
            assert option.description, where
            if option.default is not REQUIRED and not is_dataclass(option.default):
                assert not validate_value(option.default, option.annotation)[1], where


def test_the_stored_catalogue_is_the_code() -> None:
    stored, now = load_package_catalogue().entries, read_package().entries
    assert encode_catalogue(load_package_catalogue()) == STORED.read_text(encoding="utf-8")
    assert {(each.kind, each.name): each for each in stored} == {(each.kind, each.name): each for each in now}, (
        "run `make docs`"
    )
