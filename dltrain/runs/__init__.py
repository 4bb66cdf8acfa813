"""Run directories: names become objects, training and loading, lists of runs.

The package is also the function `dltrain.runs` of the Python interface.
"""

from __future__ import annotations

import sys
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dltrain.runs.listing import ListedRun


class CallablePackage(ModuleType):
    """This package, which lists runs where it is called: `dltrain.runs` cannot name both otherwise."""

    def __call__(self, folder: str | PathLike[str] = "runs") -> list[ListedRun]:
        """The runs, and the parents of several runs, in and below `folder`, by name. Raises DataError without it."""
        from pathlib import Path

        from dltrain.runs.listing import list_runs

        return list_runs(Path(folder))


sys.modules[__name__].__class__ = CallablePackage
