"""The command line: parse, call, print. Commands import torch when they run, so --help is instant."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from dltrain import __version__
from dltrain.cli.completion.server import ASKED, complete
from dltrain.cli.shared.protected_output import protect_output
from dltrain.cli.shell_completion import print_script
from dltrain.cli.usage import expand_synonym, explain_usage, refuse_command
from dltrain.config.trust import FLAG, trust_everything
from dltrain.errors import ConfigError, DataError, DltrainError, find_plugin_line
from dltrain.runtime.interrupts import Interrupts

EPILOG = """
Exit codes: 0 done, 1 an error in dltrain or a plug-in, 2 config or usage, 3 data, 4 diverged, 5 out of memory,
6 requirement not met, 7 no usable checkpoint, 8 run directory busy, 75 stopped and resumable, 129/130/143 stopped
by SIGHUP/SIGINT/SIGTERM.
"""

COMMANDS = {
    "init": "init:init",
    "fit": "fit:fit",
    "eval": "eval:evaluate",
    "predict": "predict:predict",
    "generate": "generate:generate",
    "transcribe": "transcribe:transcribe",
    "serve": "serve:serve",
    "explain": "explain:explain",
    "export": "export:export",
    "cv": "cv:cross_validate",
    "sweep": "sweep:sweep",
    "runs": "runs:list_all_runs",
    "compare": "compare:compare",
    "report": "report:report",
    "reproduce": "reproduce:reproduce",
    "share": "share:share",
    "find-lr": "find_lr:find_lr",
    "summary": "summary:summarize_model",
    "config": "config:app",
    "data": "data:app",
    "recipe": "recipe:run_recipe",
    "list": "describe:list_names",
    "describe": "describe:describe",
    "devices": "devices:print_devices",
    "completion": "shell_completion:print_script",
}
"""Where in dltrain.cli each command is: a function, or an app with commands of its own."""


def show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"dltrain {__version__}")
        raise typer.Exit


def show_completion(requested: bool) -> None:
    if requested:
        print_script()
        raise typer.Exit


def install_completion(requested: bool) -> None:
    if requested:
        print_script(install=True)
        raise typer.Exit


def set_options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    install: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=install_completion,
            is_eager=True,
            help="Install completion for this shell.",
        ),
    ] = False,
    show: Annotated[
        bool,
        typer.Option("--show-completion", callback=show_completion, is_eager=True, help="Print its script instead."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")] = False,
    trusting: Annotated[
        bool, typer.Option(FLAG, help="Execute plug-ins that a run carries, whoever wrote them; allowed anywhere.")
    ] = False,
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
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        # `color`: names keep their control characters in a pipe; on a terminal `protect_output` shows them.
        context_settings={"help_option_names": ["-h", "--help"], "color": True},
    )
    app.callback()(set_options)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(f"dltrain.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Run the console script: an error is one message on stderr and an exit code, never a traceback."""
    if ASKED in os.environ:  # a script that was installed by an earlier version calls this function
        sys.exit(sys.stdout.write(complete(os.environ[ASKED], sys.argv[1:])) and 0)
    debug = "--debug" in sys.argv
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != "--debug"]
    protect_output()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # for after the command: KeyboardInterrupt at exit is a traceback
    with Interrupts() as interrupts:
        try:
            sys.exit(run_command(sys.argv[1:], interrupts))
        except Exception as error:
            if debug:
                raise
            fault = to_dltrain_error(error)
            as_json = bool({"--json", "--json-logs"} & set(sys.argv))
            print(format_error(fault, as_json), file=sys.stderr)  # noqa: T201
            sys.exit(fault.exit_code)


def run_command(words: Sequence[str], interrupts: Interrupts | None = None) -> int:
    """Carry out a command line; its exit code. Raises UsageError for one that cannot be parsed."""
    trusting = FLAG in words
    words = expand_synonym([word for word in words if word != FLAG])
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise refuse_command(words[0], list(COMMANDS))
    command = typer.main.get_command(application(words[:1] if words and words[0] in COMMANDS else COMMANDS))
    try:
        with trust_everything(trusting):
            return command.main(words, "dltrain", standalone_mode=False, obj=interrupts or Interrupts()) or 0
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(str(error), err=True)
            return 2
        if hasattr(error, "format_message"):  # what all usage errors have, whichever click Typer brings along
            raise explain_usage(error, words) from error
        raise


def to_dltrain_error(error: Exception) -> DltrainError:
    """`error` with a message for the user; an unexpected one names its source line and exits with 1.

    That line is the plug-in's where one was being executed.
    """
    if isinstance(error, DltrainError):
        return error
    if isinstance(error, OSError) and error.strerror:
        path = f"{error.filename}: " if error.filename else ""
        advice = "free some disk space, or change the permissions or the location"
        return DataError(f"{path}{error.strerror}", advice=advice)
    if (line := find_plugin_line(error)) is not None:  # a plug-in's author looks for its line, not for torch's
        message = f"{type(error).__name__} in {line.file}:{line.number}: {error}"
        message = f"{message}\n    {line.text}" if line.text else message
    else:
        frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
        message = f"{type(error).__name__} in {frame.f_code.co_filename}:{number}: {error}"
    return DltrainError(message, advice="rerun with --debug for the full traceback")


def format_error(error: DltrainError, as_json: bool) -> str:
    """An error as text or as one JSON object, as it is printed on stderr."""
    if as_json:
        facts = {"event": "error", "message": error.message, "advice": error.advice, "exit_code": error.exit_code}
        return json.dumps(facts)
    return str(error) if isinstance(error, ConfigError) else f"error: {error}"  # a report says "error" with each fault
