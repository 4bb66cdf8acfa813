"""What ``make docs`` also runs (`dltrain.config.generate`): store the commands and their options for completion.

``python -m dltrain.cli.completion.generate`` in the root of a checkout.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from typer.main import get_command

from dltrain.cli.main import application
from dltrain.cli.usage import SYNONYMS
from dltrain.config.annotations import list_members, list_values, split_annotated

COMMANDS = Path(__file__).with_name("commands.json")


def encode_commands() -> str:
    """The text of ``commands.json``: help, arguments and options of each command, by the words that call it.

    An option has its `values` where they can be listed, and `takes` what follows it: nothing, a file, or a value.
    """
    commands = {" ".join(words): _describe_command(command) for words, command in _walk(get_command(application()))}
    return json.dumps({"commands": commands, "synonyms": dict(SYNONYMS)}, indent=0)


def _walk(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, *words, name)


def _describe_command(command: Any) -> dict[str, Any]:
    arguments: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    declared = {} if command.callback is None else inspect.signature(command.callback, eval_str=True).parameters
    for each in command.params:
        names = [name for name in each.opts if name.startswith("-")]
        if not names:
            arguments.append({"name": each.name, "many": each.nargs == -1})
        elif not each.hidden:
            options |= {name: _describe_option(each, declared.get(each.name)) for name in names}
    options["--help"] = {"takes": "nothing", "values": [], "help": "Show the help"}
    summary = (command.get_short_help_str(80) or "").rstrip(".")
    return {"help": summary, "arguments": arguments, "options": options, "groups": [*getattr(command, "commands", {})]}


def _describe_option(option: Any, declared: inspect.Parameter | None) -> dict[str, Any]:
    annotation = None if declared is None else declared.annotation
    members = [split_annotated(member)[0] for member in list_members(annotation)]
    is_file = any(member is Path or Path in get_args(member) for member in members)
    takes = "nothing" if option.is_flag else "file" if is_file else "value"
    meaning = (option.help or "").partition("[default")[0].strip().rstrip(".")
    return {"takes": takes, "values": list_values(annotation), "help": meaning}


if __name__ == "__main__":
    COMMANDS.write_text(encode_commands() + "\n", encoding="utf-8")
