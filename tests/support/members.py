"""Members of a parent run, trained in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from typer.testing import CliRunner

from dltrain.cli.main import application, to_dltrain_error
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps.child import ChildFailed, FinishedProcess


def run_here(
    arguments: Sequence[str],
    interrupts: Interrupts,
    on_line: Callable[[str], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> FinishedProcess:
    """Do what `child.run_dltrain` does, in this process, to the end: torch is loaded here already."""
    result = CliRunner().invoke(application(), [*arguments, "--json"], obj=interrupts)
    for line in result.stderr.splitlines():
        on_line(line)
    if isinstance(result.exception, Exception):
        fault = to_dltrain_error(result.exception)
        failure = ChildFailed(fault.message, fault.exit_code, advice=fault.advice)
        return FinishedProcess(fault.exit_code, "", failure)
    return FinishedProcess(result.exit_code, result.stdout)
