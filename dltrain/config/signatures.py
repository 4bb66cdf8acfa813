"""Registered classes and functions read by their signatures: what is provided, and the options with their types."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, NoReturn, get_type_hints

from dltrain import options as option_types
from dltrain.config.annotations import (
    REQUIRED,
    Option,
    add_article,
    collect_descriptions,
    describe_type,
    explain_unsupported,
    find_group,
    find_listed_named,
    find_listed_registered,
    find_location,
    find_registered,
    list_members,
    split_annotated,
    split_docstring,
)
from dltrain.config.catalogue import Entry
from dltrain.config.faults import Fault, Place, Refused, SourceText, find_nearest
from dltrain.config.sections import DECIDING, DECIDING_MEANING
from dltrain.config.values import validate_value
from dltrain.goal import find_direction
from dltrain.registry import Registration, list_taken

_NEEDED_FACTS = {
    "task": {"data": 'data="images"', "sizes": 'sizes=("channels", "classes")'},
    "dataset": {"data": 'data="images"'},
    "loss": {"takes": 'takes="numbers"'},
    "metric": {"takes": 'takes="classes"', "direction": 'direction="max"'},
}
"""The facts without which a kind of thing cannot be registered, each with an example."""

_TAKEN = {"loss": ("classes", "numbers", "images"), "metric": ("classes", "numbers")}
"""What the fact `takes` of a kind of function may name."""

_PARAMETERS = {
    "loss": ({"outputs", "targets"}, {"weights"}),
    "metric": ({"targets"}, {"predictions", "probabilities", "weights", "labels"}),
    "augmentation": ({"generator"}, {"image", "images"}),
    "observer": ({"event"}, {"run"}),
}
"""The parameters before `*` of each kind of function: those that it must have, and those that it may have."""

_ONE_OF = {"predictions", "probabilities", "image", "images"}
"""The parameters of which a metric or an augmentation needs one."""

_EXAMPLES = {
    "loss": "outputs, targets",
    "metric": "predictions, targets",
    "augmentation": "image, generator",
    "observer": "event, run",
}


def read_entry(registered: Registration, source: SourceText, module: str) -> Entry:
    """The entry of something registered in `source`. Raises Refused where a config cannot use it."""
    return _Reader(registered, source).entry(module)


class _Reader:
    """One registered class or function and the source that faults are located in."""

    def __init__(self, registered: Registration, source: SourceText) -> None:
        self.registered, self.source = registered, source
        self.kind, self.name, self.thing = registered.kind, registered.name, registered.thing
        self.function = find_constructor(self.thing)

    def entry(self, module: str) -> Entry:
        self._check_facts(self.registered.facts)
        described = collect_descriptions(self.thing)
        parameters = [] if self.function is None else list(inspect.signature(self.function).parameters.values())
        provided, options = [], []
        for each in parameters[1:] if isinstance(self.thing, type) else parameters:
            if each.kind is each.VAR_KEYWORD:
                self._refuse(f"'**{each.name}' hides options; name each of them", each.name)
            elif each.kind is each.VAR_POSITIONAL:
                if self.kind == "model":
                    self._refuse(f"'*{each.name}' hides the sizes that the model needs; name each of them", each.name)
            elif each.kind is each.KEYWORD_ONLY:
                options.append(self._option(each, described.get(each.name, "")))
            else:
                provided.append(each.name)
        if self.kind in _PARAMETERS and (self.kind != "observer" or "event" in provided):
            self._check_function(provided, options)
        if self.kind == "task" and DECIDING not in {each.name for each in options}:
            options.append(Option(DECIDING, self._deciding_type(), None, DECIDING_MEANING))
        return Entry(
            kind=self.kind,
            name=self.name,
            facts=self.registered.facts,
            module=module,
            place=self._place(),
            provided=tuple(provided),
            options=tuple(options),
            doc=split_docstring(self.thing.__doc__)[1],
            thing=self.thing,
        )

    def _check_facts(self, facts: Mapping[str, Any]) -> None:
        if not isinstance(self.name, str) or not self.name:
            self._refuse(f'a {self.kind} is registered under a name, such as register("mine")')
        for fact, example in _NEEDED_FACTS.get(self.kind, {}).items():
            if fact not in facts:
                self._refuse(f"{self.kind} '{self.name}' is registered without its fact {example}")
        if self.kind == "dataset" and not isinstance(facts.get("sizes", {}), Mapping):
            example = 'sizes={"height": 28, "window": "window"}'
            self._refuse(f"the fact sizes must map sizes to numbers or options, such as {example}")
        for metric in facts.get("metrics", ()):
            if find_direction(metric, facts["metrics"]) not in ("max", "min"):
                self._refuse(
                    f"say whether more or less of {metric!r} is better: metrics={{{metric!r}: 'max'}}, or 'min'"
                )
        check = facts.get("check")
        if check is not None and not callable(check) and not str(check).startswith("dltrain."):
            self._refuse(f"the fact check={check!r} must be a function, or name a module of dltrain")

    def _check_function(self, provided: Sequence[str], options: Sequence[Option]) -> None:
        """Refuse a loss, a metric or an augmentation that cannot be called, or whose facts say nothing."""
        if isinstance(self.thing, type):
            self._refuse(f"a {self.kind} is a function, not a class")
        needed, more = _PARAMETERS[self.kind]
        taken, known = list_taken(self.registered.facts), _TAKEN.get(self.kind, ())
        if wrong := [each for each in taken if each not in known]:
            self._refuse(f"the fact takes of a {self.kind} names {', '.join(known)}; found {wrong[0]!r}")
        if self.kind == "metric" and taken != ("classes",):
            more = more - {"probabilities", "labels"}
        example = f"def {getattr(self.thing, '__name__', self.name)}({_EXAMPLES[self.kind]}, *, ...)"
        for name in provided:
            if name not in needed | more:
                message = f"the {self.kind} '{self.name}' cannot be given '{name}'; allowed before '*' are "
                self._refuse(f"{message}{', '.join(sorted(needed | more))}, such as {example}", name)
        for name in sorted(needed - set(provided)):
            self._refuse(f"the {self.kind} '{self.name}' lacks the parameter '{name}', such as {example}")
        if self.kind in ("metric", "augmentation") and not (
            {"predictions", "probabilities", "image", "images"} & set(provided)
        ):
            self._refuse(f"the {self.kind} '{self.name}' needs more parameters, such as {example}")
        if {"image", "images"} <= set(provided):
            self._refuse(f"the augmentation '{self.name}' takes one image or all images of a batch, not both", "images")
        if (direction := self.registered.facts.get("direction", "max")) not in ("max", "min"):
            self._refuse(f"the fact direction of metric '{self.name}' is 'max' or 'min'; found {direction!r}")
        if located := next((each.name for each in options if find_location(each.annotation)), None):
            self._refuse(f"the option '{located}' of a {self.kind} cannot be a path: a config could not move", located)

    def _deciding_type(self) -> Any:
        """The type of the option that chooses the deciding metric; a plug-in may not say which ones there are."""
        metrics = tuple(self.registered.facts.get("metrics", ()))
        return Literal[metrics] | None if metrics else str | None

    def _option(self, parameter: inspect.Parameter, description: str) -> Option:
        name = parameter.name
        if parameter.annotation is parameter.empty:
            self._refuse(f"option '{name}' needs a type, such as {name}: int", name)
        if name == "name":
            self._refuse("an option cannot be called 'name', the key that chooses what the section names", name)
        annotation = self._type(parameter)
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        if type(default) is int and split_annotated(list_members(annotation)[0])[0] is float:
            default = float(default)
        if default is not REQUIRED and not _takes(annotation, default):
            expected = add_article(describe_type(annotation))
            advice = "; add `| None` to its type" if default is None else ""
            self._refuse(f"the default of option '{name}' must be {expected}, found {default!r}{advice}", name)
        return Option(name, annotation, default, description)

    def _type(self, parameter: inspect.Parameter) -> Any:
        """The type that an annotation means."""
        try:
            annotation = resolve_annotation(parameter.annotation, self.function)
            problem = explain_unsupported(annotation)
        except Exception as error:  # evaluating the text of an annotation may raise anything
            near = suggest_type(error)
            message = f"the type {parameter.annotation!r} of option '{parameter.name}' cannot be evaluated: {error}"
            self._refuse(message, parameter.name, near)
        if problem is not None:
            self._refuse(f"option '{parameter.name}' has a type that YAML cannot express: {problem}", parameter.name)
        return annotation

    def _place(self, parameter: str | None = None) -> Place:
        """The line of the decorator, or where the constructor names a parameter, if that is in the same file."""
        place = Place(self.source, self.registered.line, 1)
        code = getattr(inspect.unwrap(self.function), "__code__", None) if parameter and self.function else None
        if code is None or code.co_filename != self.source.path:
            return place
        for number, line in enumerate(self.source.lines[code.co_firstlineno - 1 :], code.co_firstlineno):
            if found := re.search(rf"\b{parameter}\b", line):
                return Place(self.source, number, found.start() + 1)
        return place

    def _refuse(self, message: str, parameter: str | None = None, near: str | None = None) -> NoReturn:
        raise Refused(Fault(self._place(parameter), message, nearest=near))


def find_constructor(thing: Callable[..., Any]) -> Callable[..., Any] | None:
    """The function whose parameters count: a class's own or inherited ``__init__``; None for one without any."""
    if not isinstance(thing, type):
        return thing
    owner = next(each for each in inspect.getmro(thing) if "__init__" in vars(each))
    plain = owner is object or getattr(owner, "_is_protocol", False) or owner.__module__ == "torch.nn.modules.module"
    return None if plain else vars(owner)["__init__"]


def resolve_annotation(annotation: Any, function: Callable[..., Any] | None) -> Any:
    """The type that an annotation of `function` means, where it is text too. Raises whatever evaluating it raises."""

    def holder() -> None: ...

    holder.__annotations__ = {"option": annotation}
    names = getattr(inspect.unwrap(function), "__globals__", {}) if function else {}
    return get_type_hints(holder, globalns=names, include_extras=True)["option"]


def suggest_type(error: BaseException) -> str | None:
    """The name in `dltrain.options` that an unknown name was probably meant to be."""
    return find_nearest(error.name, vars(option_types)) if isinstance(error, NameError) and error.name else None


def _takes(annotation: Any, value: Any) -> bool:
    """Whether a default is of its option's type."""
    if (grouped := find_group(annotation)) is not None and is_dataclass(value):
        return isinstance(value, grouped)
    finders = (find_listed_named, find_registered, find_listed_registered)
    return any(find(annotation) is not None for find in finders) or not validate_value(value, annotation)[1]
