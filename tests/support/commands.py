"""Runs dltrain's command line in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from dltrain.cli.main import application
from dltrain.runtime.interrupts import Interrupts


def call(*words: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(application(), list(map(str, words)), input=stdin, obj=Interrupts())


def good(*words: object, stdin: str | None = None) -> Result:
    result = call(*words, stdin=stdin)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result
