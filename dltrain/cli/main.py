"""The command line: parse, call, print. Torch is imported by what a command calls, so that --help is instant."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from dltrain import __version__
from dltrain.errors import ConfigError, DataError, DltrainError
from dltrain.runtime.interrupts import Interrupts

EPILOG = """
Exit codes: 0 done, 1 an error in dltrain or a plug-in, 2 config or usage, 3 data, 4 diverged, 5 out of memory,
6 requirement not met, 7 no usable checkpoint, 8 run directory busy, 75 stopped and resumable, 130/143 stopped by
SIGINT/SIGTERM.
"""

COMMANDS = {
    "fit": "fit:fit",
    "eval": "eval:evaluate",
    "predict": "predict:predict",
    "generate": "generate:generate",
    "transcribe": "transcribe:transcribe",
    "explain": "explain:explain",
    "export": "export:export",
    "cv": "cv:cross_validate",
    "sweep": "sweep:sweep",
    "find-lr": "find_lr:find_lr",
    "summary": "summary:summary",
    "config": "config:app",
    "data": "data:app",
    "list": "describe:list_names",
    "describe": "describe:describe",
    "devices": "devices:devices",
}
"""Where in dltrain.cli each command is: a function, or an app with commands of its own."""


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dltrain {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    """Train deep-learning models from one YAML file.

    Examples:

      dltrain fit configs/mnist_cnn.yaml

      dltrain eval runs/mnist_cnn

      dltrain predict runs/mnist_cnn digit.png

      dltrain generate runs/ptb_lstm --prompt 'the company said'

      dltrain transcribe runs/common_voice_crnn clip.mp3
    """


def application(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with the named commands; only their modules are imported."""
    app = typer.Typer(
        name="dltrain",
        help="Train deep-learning models from one YAML file.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(f"dltrain.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def run() -> None:
    """The console script: a user's mistake is one message on stderr and an exit code, never a traceback."""
    debug = "--debug" in sys.argv
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # file names need not be UTF-8
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # for after the command: KeyboardInterrupt at exit is a traceback
    with Interrupts() as interrupts:
        try:
            asked = [word for word in sys.argv[1:2] if word in COMMANDS]
            application(asked or COMMANDS)(obj=interrupts)
        except SystemExit as left:
            # Typer turns a broken pipe into exit 1; that our reader has gone, as `head` does, is no failure.
            if not isinstance(left.__context__, BrokenPipeError):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if debug:
                raise
            fault = explained(error)
            print(rendered(fault, as_json=bool({"--json", "--json-logs"} & set(sys.argv))), file=sys.stderr)  # noqa: T201
            sys.exit(fault.exit_code)


def explained(error: Exception) -> DltrainError:
    """`error` as an error for a person; one that nobody foresaw says where it comes from, and exits with 1."""
    if isinstance(error, DltrainError):
        return error
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        advice = "free some disk space, or change the permissions or the location"
        return DataError(f"{place}{error.strerror}", advice=advice)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = f"{type(error).__name__} in {frame.filename}:{frame.lineno}: {error}"
    return DltrainError(message, advice="rerun with --debug for the full traceback")


def rendered(error: DltrainError, as_json: bool) -> str:
    """An error as text or as one JSON object, as it is printed on stderr."""
    if as_json:
        facts = {"event": "error", "message": error.message, "advice": error.advice, "exit_code": error.exit_code}
        return json.dumps(facts)
    return str(error) if isinstance(error, ConfigError) else f"error: {error}"  # a report says "error" with each fault
