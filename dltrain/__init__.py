"""dltrain: train deep-learning models from one YAML file.

From Python, `fit` trains a config, `load` opens a trained run, and `runs` lists runs; docs/python.md describes them.
Importing this package imports neither torch nor anything else: what is used is imported then.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers take it, without importing typing

__version__ = "0.1.0"

if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from dltrain.api.fitting import fit as fit
    from dltrain.api.loaded_run import EvaluationResult as EvaluationResult
    from dltrain.api.loaded_run import GeneratedText as GeneratedText
    from dltrain.api.loaded_run import LoadedRun as LoadedRun
    from dltrain.api.loaded_run import TranscribedFile as TranscribedFile
    from dltrain.api.loaded_run import load as load
    from dltrain.errors import DltrainError as DltrainError
    from dltrain.errors import DltrainWarning as DltrainWarning
    from dltrain.runs.listing import ListedRun as ListedRun
    from dltrain.runs.prediction import Prediction as Prediction

    def runs(folder: str | PathLike[str] = "runs") -> list[ListedRun]: ...


_HOMES = {
    "fit": "dltrain.api.fitting",
    "load": "dltrain.api.loaded_run",
    "LoadedRun": "dltrain.api.loaded_run",
    "EvaluationResult": "dltrain.api.loaded_run",
    "GeneratedText": "dltrain.api.loaded_run",
    "TranscribedFile": "dltrain.api.loaded_run",
    "DltrainError": "dltrain.errors",
    "DltrainWarning": "dltrain.errors",
    "ListedRun": "dltrain.runs.listing",
    "Prediction": "dltrain.runs.prediction",
}
"""The module of each public name. `runs` is the subpackage itself, which can be called."""

__all__ = ["__version__", "runs", *_HOMES]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "runs":
        return import_module("dltrain.runs")
    if name not in _HOMES:
        raise AttributeError(f"module 'dltrain' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
