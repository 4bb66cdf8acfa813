"""The types of options: what they are made of, and what they are called in messages."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from typing_extensions import Doc

from dltrain.options import AUTO, Location, Named, OrAuto, Registered
from dltrain.registry import REGISTRIES


class Missing(Enum):
    REQUIRED = "required"

    def __repr__(self) -> str:
        return self.name


REQUIRED: Final = Missing.REQUIRED
"""The default of an option that has none."""


@dataclass(frozen=True)
class Option:
    """One option: `annotation` is the type, as an object; `default` is REQUIRED or the value when not set."""

    name: str
    annotation: Any
    default: Any = REQUIRED
    description: str = ""


def split_annotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type inside ``Annotated`` and its bounds; ``(annotation, ())`` for any other."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        core, deeper = split_annotated(inner)
        return core, (*deeper, *metadata)
    return annotation, ()


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def list_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union but for None; of another type, itself."""
    core, _ = split_annotated(annotation)
    if not is_union(core):
        return (annotation,)
    return tuple(member for member in get_args(core) if member is not types.NoneType)


def list_values(annotation: Any) -> list[Any]:
    """The values that an option can have, as far as its type names each of them."""
    members = [split_annotated(member)[0] for member in list_members(annotation)]
    return [value for member in members if get_origin(member) is Literal for value in get_args(member)]


def takes_null(annotation: Any) -> bool:
    core, _ = split_annotated(annotation)
    return core in (None, types.NoneType) or (is_union(core) and types.NoneType in get_args(core))


def find_group(annotation: Any) -> type | None:
    """The dataclass of an option group, given bare or ``| None``; None for any other type."""
    members = list_members(annotation)
    only = members[0] if len(members) == 1 else None
    return only if isinstance(only, type) and is_dataclass(only) else None


def find_named(annotation: Any) -> Named | None:
    """What a type lets one choose by name, as `dltrain.options.Named` explains; None for any other type."""
    return next((each for each in split_annotated(annotation)[1] if isinstance(each, Named)), None)


def find_listed_named(annotation: Any) -> Named | None:
    """The same for the items of a list type."""
    core, _ = split_annotated(annotation)
    return find_named(get_args(core)[0]) if get_origin(core) is list else None


def allows_auto(annotation: Any) -> bool:
    """Whether `auto` is allowed in place of a number, by the type or a member of a union."""
    return any(isinstance(each, OrAuto) for member in list_members(annotation) for each in split_annotated(member)[1])


def find_registered(annotation: Any) -> Registered | None:
    """The kind of registered functions of which a type lets one choose one; None for any other type."""
    return next((each for each in split_annotated(annotation)[1] if isinstance(each, Registered)), None)


def find_listed_registered(annotation: Any) -> Registered | None:
    """The same for the items of a list type, given bare or ``| None``."""
    members = list_members(annotation)
    core, _ = split_annotated(members[0])
    return find_registered(get_args(core)[0]) if len(members) == 1 and get_origin(core) is list else None


def find_location(annotation: Any) -> Location | None:
    """What is at the path, or at each of the paths, that a type takes; None for a type without paths."""
    core, metadata = split_annotated(annotation)
    inner = get_args(core) if is_union(core) or get_origin(core) in (list, tuple) else ()
    own = (each for each in metadata if isinstance(each, Location))
    return next((each for each in (*own, *map(find_location, inner)) if each is not None), None)


def get_element_type(annotation: Any, index: int) -> Any:
    """The type of item `index` of a list or tuple type, of the values of a dict type."""
    core, _ = split_annotated(annotation)
    arguments = get_args(core)
    if get_origin(core) is tuple and arguments[-1:] != (...,):
        return arguments[min(index, len(arguments) - 1)]
    return arguments[1] if get_origin(core) is dict else arguments[0]


def explain_unsupported(annotation: Any) -> str | None:
    """Why an annotation cannot be the type of an option; None when it can."""
    if find_named(annotation) is not None or find_registered(annotation) is not None:
        return None
    if (grouped := find_group(annotation)) is not None:
        problems = ((option.name, explain_unsupported(option.annotation)) for option in list_options(grouped))
        return next((f"{grouped.__name__}.{name}: {problem}" for name, problem in problems if problem), None)
    core, _ = split_annotated(annotation)
    origin = get_origin(core)
    if core in (int, float, str, bool, None, types.NoneType) or origin is Literal:
        return None
    if is_union(core) or origin in (list, dict, tuple):
        if origin is dict and get_args(core)[0] is not str:
            return "the keys of a mapping are text: use dict[str, ...]"
        inner = [each for each in get_args(core) if each is not ...]
        if any(is_dataclass(split_annotated(each)[0]) for each in inner):
            return "a group of options stands alone or with `| None`"
        return next(filter(None, map(explain_unsupported, inner)), None)
    if core in (list, dict, tuple):
        return f"say what the {core.__name__} holds, such as {'dict[str, int]' if core is dict else 'list[int]'}"
    return "an option is an int, float, str, bool, Literal, list, tuple, dict, a union of those or a group of options"


@functools.cache
def list_options(group_type: type) -> tuple[Option, ...]:
    """The options of a dataclass of options, described by its docstring or by that of the class it builds on."""
    hints = get_type_hints(group_type, include_extras=True)
    described = collect_descriptions(group_type)
    options = []
    for each in fields(group_type):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        default = REQUIRED if default is MISSING else default
        options.append(Option(each.name, hints[each.name], default, described.get(each.name, "")))
    return tuple(options)


def collect_descriptions(thing: Any) -> dict[str, str]:
    """What the docstring of a function, or of a class and those that it builds on, says of each option."""
    described: dict[str, str] = {}
    for each in reversed(inspect.getmro(thing) if isinstance(thing, type) else [thing]):
        described |= split_docstring(each.__doc__)[2]
    return described


def split_docstring(docstring: str | None) -> tuple[str, str, dict[str, str]]:
    """A docstring's first sentence-line, its text without the `Options:` section, and what that says of each option."""
    text = inspect.cleandoc(docstring or "") + "\n"
    described: dict[str, str] = {}
    if section := re.search(r"^Options:\n(?:(?: .*)?\n)*", text, re.MULTILINE):
        text = text.replace(section[0], "", 1)
        for name, meaning in re.findall(r"^ {4}(\S[^:\n]*):(.*\n(?:(?: {5}.*)?\n)*)", section[0], re.MULTILINE):
            described[name.strip()] = " ".join(meaning.split())
    text = text.strip()
    return " ".join(text.partition("\n\n")[0].split()), text, described


def get_summary(docstring: str | None) -> str:
    return split_docstring(docstring)[0]


def collect_names(choices: Named) -> list[tuple[list[str], type]]:
    """The groups of options that can be chosen, each with all of its names."""
    names: dict[type, list[str]] = {}
    for name, group_type in choices.groups.items():
        names.setdefault(group_type, []).append(name)
    return [(known, group_type) for group_type, known in names.items()]


def describe_type(annotation: Any, plural: bool = False) -> str:
    """The type as a person would say it: ``integer >= 1``, ``list of integers >= 1``, ``one of a, b``."""
    if (grouped := find_group(annotation)) is not None:
        return f"mapping of {grouped.__name__.lower()} options" + (" or null" if takes_null(annotation) else "")
    if (choices := find_named(annotation)) is not None:
        return choices.noun + "s" * plural
    if (registered := find_registered(annotation)) is not None:
        kinds = f"{registered.takes} {registered.kind}" if registered.takes else registered.kind
        return REGISTRIES[registered.kind].plural if plural else f"name of a {kinds}"
    core, metadata = split_annotated(annotation)
    for each in metadata:
        if isinstance(each, Doc):
            return each.documentation
    if is_union(core):
        members = [describe_type(member, plural) for member in list_members(annotation)]
        return " or ".join([*members, "null"] if takes_null(annotation) else members)
    origin, arguments = get_origin(core), get_args(core)
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    if origin is dict:
        return f"{'mappings' if plural else 'mapping'} of names to {describe_type(arguments[1], plural=True)}"
    if origin in (list, tuple):
        return _describe_list(origin, arguments, metadata, plural)
    if any(isinstance(each, Location) for each in metadata):
        return "paths" if plural else "path"
    names = {int: ("integer", "integers"), float: ("number", "numbers"), str: ("text", "texts")}
    if core in names:
        return names[core][plural] + _describe_bounds(metadata) + f" or {AUTO}" * allows_auto(annotation)
    return "true or false" if core is bool else "null"


def _describe_list(origin: Any, arguments: tuple[Any, ...], metadata: tuple[Any, ...], plural: bool) -> str:
    noun = "lists" if plural else "list"
    if origin is tuple and arguments[-1:] != (...,):
        if len(set(map(str, arguments))) == 1:
            return f"{noun} of {len(arguments)} {describe_type(arguments[0], plural=len(arguments) > 1)}"
        return f"{noun} of {len(arguments)}: " + ", ".join(map(describe_type, arguments))
    low = max((each.min_length for each in metadata if isinstance(each, MinLen)), default=0)
    high = min((each.max_length for each in metadata if isinstance(each, MaxLen)), default=None)
    many = describe_type(arguments[0], plural=True)
    if high is not None:
        return f"{noun} of {low if low == high else f'{low} to {high}'} {many}"
    return f"{'non-empty ' if low == 1 else ''}{noun} of {f'at least {low} ' if low > 1 else ''}{many}"


def _describe_bounds(metadata: Iterable[Any]) -> str:
    low = high = None
    for each in metadata:
        if isinstance(each, (Ge, Gt)):
            low = (each.ge, "[", ">=") if isinstance(each, Ge) else (each.gt, "(", ">")
        elif isinstance(each, (Le, Lt)):
            high = (each.le, "]", "<=") if isinstance(each, Le) else (each.lt, ")", "<")
    if low and high:
        return f" in {low[1]}{low[0]}, {high[0]}{high[1]}"
    bound = low or high
    return f" {bound[2]} {bound[0]}" if bound else ""


def add_article(noun: str) -> str:
    if noun.startswith(("number", "list", "mapping", "non-empty")):
        return f"a {noun}"
    return f"an {noun}" if noun.startswith("integer") else noun
