"""The config's JSON Schema, for editors, and its page of documentation; both from the catalogue.

``python -m dltrain.config.schema > docs/configuration.md`` writes the page.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, Predicate

from dltrain.architecture.named import Named
from dltrain.config.annotations import (
    REQUIRED,
    Option,
    alternatives,
    group,
    group_options,
    is_union,
    listed_names,
    named,
    parts,
    split_docstring,
    takes_null,
    words,
)
from dltrain.config.catalogue import Catalogue, Entry, package_catalogue, with_plugins
from dltrain.config.check import DEFAULT_CHOICES, GROUPS, KIND_OF, SEED
from dltrain.config.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, write_value
from dltrain.config.search import RANGE_OPTIONS, SEARCH_OPTIONS, SPACE

_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*(:[^}]*)?\}",
    "description": "The value of an environment variable, ${env:NAME} or ${env:NAME:default}.",
}
_TO_REFERENCE = {"$ref": "#/$defs/reference"}

_SECTION_WORDS = {
    "task": "What is learned, and how it is scored.",
    "data": "What it is learned from.",
    "model": "What learns.",
    "optimizer": "How the weights change.",
    "schedule": "How the learning rate changes over the run.",
}


def json_schema(plugins: Sequence[Path] = ()) -> dict[str, Any]:
    """The schema (draft 2020-12) of a config that uses these plug-ins, as a plain dict. Raises ConfigError."""
    catalogue = with_plugins(plugins)
    definitions: dict[str, Any] = {"reference": _REFERENCE}
    sections = {section: _choice(section, catalogue.of(kind), definitions) for section, kind in KIND_OF.items()}
    files = {"type": "array", "items": {"type": "string", "minLength": 1}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dltrain experiment",
        "type": "object",
        "properties": {
            "extends": {"type": "string", "minLength": 1, "description": "The config that this one changes."},
            **sections,
            "seed": _option(SEED),
            **{section: _object(group_options(one), _text(one.__doc__)) for section, one in GROUPS.items()},
            "search": _search(),
            "plugins": {**files, "description": "Python files that register more models, datasets, tasks, ..."},
        },
        "additionalProperties": False,
        # What a config must have, it may have from the one that it extends.
        "if": {"not": {"required": ["extends"]}},
        "then": {
            "required": [section for section in KIND_OF if section not in DEFAULT_CHOICES],
            "properties": {section: _complete(section, catalogue.of(kind)) for section, kind in KIND_OF.items()},
        },
        "$defs": definitions,
    }


def _search() -> dict[str, Any]:
    schema = _object(SEARCH_OPTIONS, "What `dltrain sweep` varies.")
    values = {"type": "array", "minItems": 1, "description": "The values to choose from."}
    interval = {**_object(RANGE_OPTIONS, "A range of numbers."), "required": ["low", "high"]}
    dimensions = {"type": "object", "additionalProperties": {"anyOf": [values, interval, {"type": "null"}]}}
    schema["properties"][SPACE.name] = {**dimensions, "description": SPACE.description}
    return {"anyOf": [schema, {"type": "null"}]}


def _choice(section: str, entries: Sequence[Entry], definitions: dict[str, Any]) -> dict[str, Any]:
    """A section that names an entry: the name alone, or a mapping whose name says which options there are."""
    branches: list[dict[str, Any]] = [{"enum": [entry.name for entry in entries]}, _TO_REFERENCE]
    for entry in entries:
        entry_schema = _object(entry.options, entry.summary)
        entry_schema["properties"] = {"name": {"const": entry.name}, **entry_schema["properties"]}
        definitions[f"{section}.{entry.name}"] = entry_schema
        for choices in filter(None, (listed_names(option.annotation) for option in entry.options)):
            definitions[choices.noun] = _one_of(choices)
        branches.append({"$ref": f"#/$defs/{section}.{entry.name}"})
    # A name from the environment is not known here, nor are its options.
    branches.append({"type": "object", "properties": {"name": _TO_REFERENCE}, "required": ["name"]})
    chosen = {"description": _SECTION_WORDS[section], "anyOf": branches}
    return {**chosen, "default": DEFAULT_CHOICES[section]} if section in DEFAULT_CHOICES else chosen


def _one_of(choices: Named) -> dict[str, Any]:
    """Something that is chosen by name: the name alone, or a mapping of it to its options or to its first one."""
    branches: list[dict[str, Any]] = []
    for name, group_type in choices.groups.items():
        options, description = group_options(group_type), _text(group_type.__doc__)
        needed = [option.name for option in options if option.default is REQUIRED]
        given: list[dict[str, Any]] = [{**_object(options, description), "required": needed}]
        if not needed:
            branches.append({"const": name, "description": description})
            given.append({"type": "null"})
        if options and set(needed) <= {options[0].name}:
            given.insert(0, _option(options[0]))
        pair = {"type": "object", "properties": {name: {"anyOf": given}}, "required": [name]}
        branches.append({**pair, "additionalProperties": False, "description": description})
    return {"anyOf": branches}


def _complete(section: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """What a section must hold besides, in a file that extends no other."""
    default = DEFAULT_CHOICES.get(section)
    rules: list[dict[str, Any]] = []
    if default is None:
        rules.append({"if": {"type": "object"}, "then": {"required": ["name"]}})
    elif any(entry.name == default for entry in entries):
        unnamed = {"type": "object", "not": {"required": ["name"]}}
        rules.append({"if": unnamed, "then": {"$ref": f"#/$defs/{section}.{default}"}})
    for entry in entries:
        needed = [option.name for option in entry.options if option.default is REQUIRED]
        if needed:
            named = {"type": "object", "properties": {"name": {"const": entry.name}}, "required": ["name"]}
            rules += [{"not": {"const": entry.name}}, {"if": named, "then": {"required": needed}}]
    return {"allOf": rules} if rules else {}


def _object(options: Sequence[Option], description: str) -> dict[str, Any]:
    properties = {option.name: _option(option) for option in options}
    return {"description": description, "type": "object", "properties": properties, "additionalProperties": False}


def _option(option: Option) -> dict[str, Any]:
    described = {"description": option.description} if option.description else {}
    schema = {**_value(option.annotation), **described}
    return schema if option.default is REQUIRED else {**schema, "default": plain(option.default)}


def _value(annotation: Any) -> dict[str, Any]:
    core, metadata = parts(annotation)
    if is_union(core):
        members = [_value(member) for member in alternatives(annotation)]
        return {"anyOf": [*members, {"type": "null"}] if takes_null(annotation) else members}
    grouped = group(annotation)
    if grouped is not None:
        return _object(group_options(grouped), _text(grouped.__doc__))
    if (choices := named(annotation)) is not None:
        return {"$ref": f"#/$defs/{choices.noun}"}
    origin, arguments = get_origin(core), get_args(core)
    lengths: dict[str, Any] = {}
    for each in metadata:
        if isinstance(each, MinLen):
            lengths["minItems"] = each.min_length
        elif isinstance(each, MaxLen):
            lengths["maxItems"] = each.max_length
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(arguments[1])}
    if origin is tuple and arguments[-1:] != (...,):
        lengths = {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"type": "array", "prefixItems": [_value(each) for each in arguments], **lengths}
    if origin in (list, tuple):
        return {"type": "array", "items": _value(arguments[0]), **lengths}
    return _scalar(core, metadata)


def _scalar(core: Any, metadata: Sequence[Any]) -> dict[str, Any]:
    """A single value, or the reference to an environment variable that has it."""
    if core is str and Predicate(str.isidentifier) in metadata:
        return {"type": "string", "pattern": r"^([A-Za-z_][A-Za-z0-9_]*|\$\{env:.*\})$"}
    if core is str:  # what has no quotes is text too where text is wanted, whatever an editor takes it for
        return {"type": ["string", "number", "boolean"]}
    if get_origin(core) is Literal:
        return {"anyOf": [{"enum": list(get_args(core))}, _TO_REFERENCE]}
    bounds: dict[str, Any] = {}
    for each in metadata:
        for bound, key in ((Ge, "minimum"), (Gt, "exclusiveMinimum"), (Le, "maximum"), (Lt, "exclusiveMaximum")):
            if isinstance(each, bound):
                bounds[key] = getattr(each, bound.__name__.lower())
    type_name = {int: "integer", float: "number", bool: "boolean"}.get(core, "null")
    return {"anyOf": [{"type": type_name, **bounds}, _TO_REFERENCE]}


def plain(value: Any) -> Any:
    """A default as plain dicts, lists and scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _text(docstring: str | None) -> str:
    return split_docstring(docstring)[0]


WIDTH = 115

_INTRODUCTION = """\
# Configuration

This page is written by `python -m dltrain.config.schema > docs/configuration.md`.

One YAML file describes one experiment. `task`, `data` and `model` must be there; everything else has a default:

```yaml
task: image_classification
data: {name: mnist, root: data}
model: {name: cnn, channels: [32, 64]}
trainer: {epochs: 10}
```

`task`, `data`, `model`, `optimizer` and `schedule` each name one thing and set its options. Where no option is
set, the name is enough: `model: lenet`.

`dltrain config check FILE` finds every fault without starting anything, `dltrain config show FILE --origin` prints
every setting and where it comes from, `dltrain describe model cnn` explains one thing, and `dltrain config schema`
prints a JSON Schema from which an editor completes and checks as you type.

## Building on another file

`extends: base.yaml` takes all of another config, and this file changes it. The path is relative to the file that
says it. A file extends one other, which may extend a further one. Mappings are merged key by key; a list or a
single value replaces its counterpart whole. Naming another model (dataset, task, optimizer, schedule) than the
parent's drops the parent's options of that section, since they belong to something else.

## The command line

`--set trainer.epochs=3` sets one value over the file's, as often as needed. The value is YAML: `--set
model.channels=[16,32]`, `--set model=lenet`, `--set 'data.augment={rotation_degrees: 10}'`. It is checked as the
file is.

## The environment

`${env:NAME}` within a value stands for the environment variable, and `${env:NAME:default}` for the default where
the variable is not set. Without quotes the result is read as YAML would read it, so `epochs: ${env:EPOCHS:10}` is
a number; in quotes it is text. Lists and mappings do not come from the environment. `$${` stands for the two
characters `${`.

## Plug-ins

`plugins: [my_model.py]` makes what those files register known: models, datasets, tasks, optimizers and schedules
of your own. The paths are relative to the file that says it; a config adds its plug-ins to its parent's. Checking
a config reads the source of a plug-in but does not run it, so the decorator, types and defaults of a registered
thing must be plain to see: literals, constants of the same file, and the types of `dltrain.options`.

```python
from torch import nn
from dltrain.options import PositiveInt
from dltrain.registry import models

@models.register("mine")
class Mine(nn.Module):
    \"\"\"What it is, in a line.

    Options:
        hidden: units of the hidden layer.
    \"\"\"

    def __init__(self, image_channels: int, height: int, width: int, classes: int, *, hidden: PositiveInt = 64) -> None:
        ...
```

Parameters before `*` are filled by dltrain, from the sizes that the task provides; those after it are the config's
options.
"""


def markdown() -> str:
    """The page docs/configuration.md."""
    catalogue = package_catalogue()
    safety = textwrap.fill(
        "By YAML 1.2: `1e-3` is a number, only `true` and `false` are booleans, `no` and `1:30` are text, and "
        "digits with a leading zero (`010`) are text. Where text is wanted, what has no quotes is taken as it "
        "is written. Refused, each with its place: a key given twice, tags, anchors and aliases, merge keys, "
        f"a second document, and a file that is not UTF-8, larger than {MAX_BYTES >> 20} MiB, nested more than "
        f"{MAX_DEPTH} deep or of more than {MAX_NODES:,} values.",
        WIDTH,
        break_on_hyphens=False,
    )
    blocks = [_INTRODUCTION, f"## How the YAML is read\n\n{safety}\n", "## Sections\n", _seed_and_groups()]
    for section, kind in KIND_OF.items():
        default = DEFAULT_CHOICES.get(section)
        told = f" Default: `{default}`." if default else " Required."
        blocks.append(f"## `{section}`\n\n{_SECTION_WORDS[section]}{told}\n")
        blocks += _entries(section, catalogue.of(kind))
    blocks += [*_groups(catalogue), _search_page()]
    return "\n".join(blocks)


def _seed_and_groups() -> str:
    parts = [f"### `seed`\n\n{_table([SEED])}"]
    parts += [f"### `{name}`\n\n{_text(one.__doc__)}\n\n{_table(group_options(one))}" for name, one in GROUPS.items()]
    return "\n".join(parts)


_SEARCH_WORDS = """\
What `dltrain sweep` varies; `dltrain fit` passes over it. `space` names options by their paths, and gives each a list
of values, or a range of numbers. Every value is checked as if it stood in its section. Where a name is varied, as in
`optimizer.name: [sgd, adam]`, an option that only one of them has is varied in the trials that chose that one.

```yaml
search:
  trials: 20
  space:
    optimizer.learning_rate: {low: 1e-4, high: 1e-1, log: true}
    model.hidden: [[64], [128], [128, 64]]
    data.batch_size: {low: 32, high: 128, step: 32}
```
"""


def _search_page() -> str:
    options, interval = _table((*SEARCH_OPTIONS, SPACE)), _table(RANGE_OPTIONS)
    return f"## `search`\n\n{_SEARCH_WORDS}\n{options}\nA range:\n\n{interval}"


def _entries(section: str, entries: Sequence[Entry]) -> list[str]:
    """A part for each entry; names of one and the same thing share theirs."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        options = _table(entry.options) if entry.options else "It has no options.\n"
        names.setdefault(f"{entry.doc}\n\n{options}", []).append(f"`{section}: {entry.name}`")
    return [f"### {', '.join(headings)}\n\n{body}" for body, headings in names.items()]


def _groups(catalogue: Catalogue) -> list[str]:
    """The tables of the option groups that entries use, once each."""
    used = {group(option.annotation) for entry in catalogue.entries for option in entry.options} - {None}
    blocks = []
    for each in sorted(filter(None, used), key=lambda each: each.__name__):
        options = _table(group_options(each))
        blocks.append(f"## {each.__name__} options\n\n{split_docstring(each.__doc__)[1]}\n\n{options}")
    choices = [listed_names(option.annotation) for entry in catalogue.entries for option in entry.options]
    return [*blocks, *(block for each in dict.fromkeys(filter(None, choices)) for block in _names(each))]


def _names(choices: Named) -> list[str]:
    """A part for each thing that can be chosen by name; those that are declared alike share theirs."""
    noun = choices.noun
    ways = "its name, a mapping of the name to its options, or to the value of its first option alone"
    blocks = [f"## {noun.capitalize()}s\n\nA {noun} is {ways}.\n"]
    for names, group_type in by_group(choices):
        options = group_options(group_type)
        table = _table(options) if options else "It has no options.\n"
        blocks.append(
            f"### {', '.join(f'`{name}`' for name in names)}\n\n{split_docstring(group_type.__doc__)[1]}\n\n{table}"
        )
    return blocks


def by_group(choices: Named) -> list[tuple[list[str], type]]:
    """The groups of options that can be chosen, each with all of its names."""
    names: dict[type, list[str]] = {}
    for name, group_type in choices.groups.items():
        names.setdefault(group_type, []).append(name)
    return [(known, group_type) for group_type, known in names.items()]


def _table(options: Sequence[Option]) -> str:
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        default = "required" if option.default is REQUIRED else f"`{write_value(plain(option.default))}`"
        rows.append(f"| `{option.name}` | {words(option.annotation)} | {default} | {option.description} |")
    return "\n".join(row.replace("\n", " ") for row in rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
