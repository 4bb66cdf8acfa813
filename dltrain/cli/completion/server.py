"""Completion of a command line: what the shells' scripts call. It imports neither Typer nor torch, since people wait.

The words come as the shell has them, the last one up to the cursor. Of bash, which splits words at ``=`` and ``:``, the
one argument is the line up to the cursor.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dltrain.cli.completion.candidates import RUNS, YAML, is_run, list_runs_here

ASKED = "_DLTRAIN_COMPLETE"
"""The environment variable with which a shell's script asks for completion: the shell's name."""
HERE = os.path.dirname(__file__)  # noqa: PTH120 - pathlib takes time to import
PACKAGE = os.path.dirname(os.path.dirname(HERE))  # noqa: PTH120
FILES = ":files"
"""The answer that leaves it to the shell to complete the name of a file."""
DEVICES = ("auto", "gpu", "cpu", "cuda", "mps")
CHOSEN = {
    "--device": DEVICES,
    "--checkpoint": ("best", "last"),
    "--max-time": ("30m", "2h"),
}
SETTING = ("--set",)
HELPERS = ("__pycache__", "train_and_require")
SECTION = r"^{0}:[ \t]*(?:\{{[^}}\n]*?name:[ \t]*|\n(?:[ \t]+.*\n)*?[ \t]+name:[ \t]*)?([A-Za-z_]\w*)"

Candidate = tuple[str, str]
"""A completion of the current word, and what it means."""


def complete(shell: str, arguments: Sequence[str]) -> str:
    """The answer to a shell: a candidate a line, in zsh and fish with its meaning after a tab, or `FILES`."""
    if shell not in ("bash", "zsh", "fish"):
        return ""  # the script of an earlier version
    words = split_line(" ".join(arguments))[1:] if shell == "bash" else list(arguments)
    current = words[-1] if words else ""
    found = list(dict(list_candidates(words)).items())
    if shell == "bash":
        start = 1 + max(current.rfind(mark) for mark in "=:")
        return "".join(f"{value[start:]}\n" for value, _ in found if value != FILES)
    return "".join(f"{value}\t{meaning}\n" for value, meaning in found)


def split_line(line: str) -> list[str]:
    """The words of a line, the last one as far as it is written; quotes are left out."""
    words = [""]
    quote = ""
    for character in line:
        if quote:
            quote, words[-1] = ("", words[-1]) if character == quote else (quote, words[-1] + character)
        elif character in "'\"":
            quote = character
        elif character.isspace():
            words += [""] if words[-1] else []
        else:
            words[-1] += character
    return words


def list_candidates(words: Sequence[str]) -> Iterator[Candidate]:
    """What the last of the words, which follow the program's name, may be completed to."""
    stored = _read(HERE, "commands.json")
    commands, name, current = stored["commands"], "", words[-1] if words else ""
    before = list(words[:-1])
    while before and commands[name]["groups"]:
        word = before.pop(0)
        if word.startswith("-"):
            continue
        word = " ".join(stored["synonyms"].get(word, [word])) if not name else word
        name = word if word == "help" else f"{name} {word}".strip()
        if name == "help":
            name = ""
        elif name not in commands:
            return
    command = commands[name]
    waiting = command["options"].get(before[-1]) if before else None
    flag, equals, value = current.partition("=")
    if waiting is not None and waiting["takes"] != "nothing":
        yield from _complete_option(before[-1], waiting, current, before)
    elif current.startswith("--") and equals and flag in command["options"]:
        inner = _complete_option(flag, command["options"][flag], value, before)
        yield from ((each if each == FILES else f"{flag}={each}", meaning) for each, meaning in inner)
    elif current.startswith("-"):
        options = command["options"].items()
        yield from ((each, option["help"]) for each, option in options if each.startswith(current))
    elif command["groups"]:
        pairs = ((each, commands[f"{name} {each}".strip()]["help"]) for each in command["groups"])
        yield from _filter(pairs, current)
    else:
        given = list(_drop_options(before, command["options"]))
        yield from _complete_argument(command["arguments"], given, current)


def _complete_option(flag: str, option: Mapping[str, Any], current: str, before: Sequence[str]) -> Iterator[Candidate]:
    if flag in SETTING:
        yield from complete_setting(current, before)
    elif option["values"] or flag in CHOSEN:
        yield from _filter(((value, "") for value in (*option["values"], *CHOSEN.get(flag, ()))), current)
    elif option["takes"] == "file":
        yield FILES, ""


def _complete_argument(
    arguments: Sequence[Mapping[str, Any]], given: Sequence[str], current: str
) -> Iterator[Candidate]:
    """Candidates for the argument that the words `given` lead to."""
    if not arguments or (len(given) >= len(arguments) and not arguments[-1]["many"]):
        return
    name = arguments[min(len(given), len(arguments) - 1)]["name"]
    if name == "config":
        yield from _complete_config(current)
    elif name == "recipe":
        names = sorted(entry.name for entry in os.scandir(os.path.join(PACKAGE, "recipes")))  # noqa: PTH118
        yield from _filter(((each, "") for each in names if "." not in each and each not in HELPERS), current)
    elif name in ("run", "runs"):
        yield from _complete_run(current)
    elif name == "settings":
        yield from complete_setting(current, given)
    elif name == "kind":
        plural = len(arguments) == 1
        stored = _read(PACKAGE, "config", "option_paths.json")
        kinds = stored["kinds"]
        yield from _filter(((kind, "") for kind in stored["plurals" if plural else "kinds"]), current)
        if not plural:
            yield from _filter((pair for names in kinds.values() for pair in names.items()), current)
    elif name == "name" and len(arguments) == 2:
        stored = _read(PACKAGE, "config", "option_paths.json")
        names = stored["kinds"].get(stored["plurals"].get(given[0], given[0]), {})
        yield from _filter(names.items(), current)
    elif name == "folder":
        yield from _complete_path(current, ())
    elif name not in ("name", "shell"):
        yield FILES, ""


def _complete_config(current: str) -> Iterator[Candidate]:
    yield from _complete_path(current, YAML)
    if "/" not in current:
        names = sorted(name[: -len(".yaml")] for name in os.listdir(os.path.join(PACKAGE, "configs")))  # noqa: PTH208, PTH118
        yield from _filter(((name, "comes with dltrain") for name in names), current)


def _complete_run(current: str) -> Iterator[Candidate]:
    """Runs in `runs` by path or by name, and other folders."""
    runs = [(run, "") for run in list_runs_here()]
    yield from _filter(runs, current)
    if current and "/" not in current:
        yield from _filter(((run[len(RUNS) + 1 :], "") for run, _ in runs), current)
    known = {f"{run}/" for run, _ in runs}
    for path, meaning in _complete_path(current, (".safetensors",)):
        if path not in known and (current or path != f"{RUNS}/" or not runs):
            yield path.rstrip("/") if is_run(path) else path, meaning


def _complete_path(current: str, suffixes: tuple[str, ...]) -> Iterator[Candidate]:
    """Folders, with a slash, and files with these suffixes; hidden ones if the word begins so."""
    folder, _, start = current.rpartition("/")
    folder = f"{folder}/" if "/" in current else ""
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)  # noqa: PTH111
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            if entry.is_dir():
                yield f"{folder}{entry.name}/", ""
            elif entry.name.endswith(suffixes) and suffixes:
                yield f"{folder}{entry.name}", ""


def complete_setting(current: str, before: Sequence[str]) -> Iterator[Candidate]:
    """The paths of options up to their `=`, section by section, and after it their values.

    Of the sections that choose something by name, the options of what the config or a setting chooses; of all where
    that is not known.
    """
    stored = _read(PACKAGE, "config", "option_paths.json")
    path, equals, written = current.partition("=")
    section, dot, inner = path.partition(".")
    if equals:
        values = _list_values(stored, section, inner, before)
        yield from ((f"{path}={each}", meaning) for each, meaning in _filter(values, written))
    elif not dot:
        names = {"seed": "seed=", **{name: f"{name}." for name in stored["options"]}}
        yield from _filter(((f"{name}=", "") for name in stored["choices"]), current)
        yield from _filter(((each, "") for each in names.values()), current)
    else:
        options = _merge_options(stored, section, before)
        depth = inner.count(".")
        for name, listed in options.items():
            setting = f"{section}.{name}="
            if name.count(".") == depth and setting.startswith(current):
                yield setting, ", ".join(listed[:4])
            if name.count(".") == depth + 1 and setting.startswith(current):
                yield f"{section}.{name.rpartition('.')[0]}.", ""


def _list_values(stored: Mapping[str, Any], section: str, inner: str, before: Sequence[str]) -> Iterable[Candidate]:
    kind = stored["choices"].get(section)
    if kind is not None and inner in ("", "name"):
        return list(stored["kinds"][kind].items())
    return [(value, "") for value in _merge_options(stored, section, before).get(inner, ())]


def _merge_options(stored: Mapping[str, Any], section: str, before: Sequence[str]) -> dict[str, list[str]]:
    """The options of a section: of the name that is chosen, or of all."""
    named = stored["options"].get(section, {})
    chosen = _find_choice(section, before) if section in stored["choices"] else None
    merged: dict[str, list[str]] = {}
    for options in [named[chosen]] if chosen in named else named.values():
        merged |= options
    return merged


def _find_choice(section: str, before: Sequence[str]) -> str | None:
    """What the settings and the config among the words choose in a section; a glance at the text, no parsing."""
    settings = [word.partition("=") for word in before if "=" in word]
    for path, _, value in reversed(settings):
        if path in (section, f"{section}.name"):
            return value
    return next((found for word in before if (found := _read_choice(word, section)) is not None), None)


def _read_choice(word: str, section: str) -> str | None:
    path = os.path.join(word, "config.yaml") if os.path.isdir(word) else word  # noqa: PTH112, PTH118
    if not os.path.isfile(path):  # noqa: PTH113
        path = os.path.join(PACKAGE, "configs", f"{word}.yaml")  # noqa: PTH118
    for _ in range(9):  # the chain of `extends`
        try:
            with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                text = file.read(1 << 20)
        except (OSError, ValueError):
            return None
        found = re.search(SECTION.format(section), text, re.MULTILINE)
        if found:
            return found[1]
        parent = re.search(r"^extends:[ \t]*([^\s#]+)", text, re.MULTILINE)
        if parent is None:
            return None
        path = os.path.join(os.path.dirname(path), parent[1])  # noqa: PTH118, PTH120
    return None


def _drop_options(words: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The arguments among words: no options, and no values of options."""
    waiting = False
    for word in words:
        if waiting:
            waiting = False
        elif word.startswith("-") and word != "-":
            waiting = options.get(word, {"takes": "nothing"})["takes"] != "nothing"
        else:
            yield word


def _filter(pairs: Iterable[Candidate], start: str) -> Iterator[Candidate]:
    return (pair for pair in pairs if pair[0].startswith(start))


def _read(*path: str) -> Any:
    with open(os.path.join(*path), encoding="utf-8") as file:  # noqa: PTH118, PTH123
        return json.load(file)
