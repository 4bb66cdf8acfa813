"""Members of a parent run, trained in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from typer.testing import CliRunner

from dltrain.cli.main import application, to_dltrain_error
from dltrain.runtime.interrupts import Interrupts
from dltrain.sweeps.child import Ended


def run_here(
    words: Sequence[str],
    interrupts: Interrupts,
    hear: Callable[[str], None],
    enough: Callable[[], bool] = lambda: False,
) -> Ended:
    """What `child.run` does, in this process, to the end: torch is loaded here already."""
    result = CliRunner().invoke(application(), list(words), obj=interrupts)
    for line in result.stderr.splitlines():
        hear(line)
    if isinstance(result.exception, Exception):
        fault = to_dltrain_error(result.exception)
        return Ended(fault.exit_code, "", str(fault))
    return Ended(result.exit_code, result.stdout, "")
