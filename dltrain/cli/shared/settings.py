"""Settings on the command line: ``--set PATH=VALUE``, the same as words after the config, and shorthands of a few."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from dltrain.cli.shared.options import Overrides
from dltrain.config.settings import SHORTHANDS as SETTINGS
from dltrain.errors import UsageError

DEVICES = ("gpu", "cuda", "cpu", "mps", "auto")
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH=VALUE", help="Settings, as with --set, such as trainer.epochs=2."),
]


class Shorthand(NamedTuple):
    """A flag that sets the option of the config at `path`."""

    path: str
    flags: Sequence[str]
    metavar: str


SHORTHANDS = {
    "epochs": Shorthand(SETTINGS["epochs"], ["--epochs"], "N"),
    "device": Shorthand(SETTINGS["device"], ["--device"], "NAME"),
    "learning_rate": Shorthand(SETTINGS["lr"], ["--lr", "--learning-rate"], "RATE"),
    "batch_size": Shorthand(SETTINGS["batch_size"], ["--batch-size"], "N"),
    "seed": Shorthand("seed", ["--seed"], "N"),
}


def takes_settings(*shorthands: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add settings after the config and these shorthands to a command, which gets them all as `overrides`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**given: Any) -> None:
            config, written = separate_settings(given.pop("config"), given.pop("settings") or [])
            values = {SHORTHANDS[name].path: given.pop(name) for name in shorthands}
            short = [f"{path}={value}" for path, value in values.items() if value is not None]
            overrides = [*written, *(given.pop("overrides") or []), *short]
            command(**given, config=config, overrides=overrides)

        parameters = list(_extend(inspect.signature(command, eval_str=True).parameters.values(), shorthands))
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return decorate


def _extend(parameters: Iterable[Parameter], shorthands: Sequence[str]) -> Iterator[Parameter]:
    """The parameters, with settings after the config, and with shorthands after --set."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    for each in parameters:
        yield each
        if each.name == "config":
            yield Parameter("settings", kind, default=None, annotation=Settings)
        if each.annotation == Overrides:
            for name in shorthands:
                path, flags, metavar = SHORTHANDS[name]
                annotation = Annotated[
                    str | None, typer.Option(*flags, metavar=metavar, help=f"The same as --set {path}={metavar}.")
                ]
                yield Parameter(name, kind, default=None, annotation=annotation)


def separate_settings(config: Path, words: Sequence[str]) -> tuple[Path, list[str]]:
    """The config and the settings, which people also write before it. Raises UsageError for anything else."""
    given = [str(config), *words]
    if "=" in str(config) and not config.exists():
        given.sort(key=lambda word: "=" in word)  # stable
    if "=" in given[0] and not Path(given[0]).exists():
        message = f"there is no config among the arguments, only settings: {' '.join(given)}"
        raise UsageError(message, advice="name the config first: a YAML file, or one that `dltrain init --list` shows")
    for word in given[1:]:
        if "=" not in word:
            raise _refuse_word(word)
    return Path(given[0]), given[1:]


def _refuse_word(word: str) -> UsageError:
    if word in DEVICES:
        advice = f"--device {word}"
    elif Path(word).exists():
        advice = "name one config; a command for each trains several"
    else:
        advice = "write section.option=VALUE, such as trainer.epochs=2"
    return UsageError(f"'{word}' after the config is no setting: allowed is PATH=VALUE", advice=advice)
