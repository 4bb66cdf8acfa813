"""Imports of the packages that only ONNX needs."""

from __future__ import annotations

import importlib
from typing import Any

from dltrain.errors import UsageError


def import_onnx(name: str) -> Any:
    """A module that ONNX needs. Raises UsageError without the `export` extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"ONNX needs {name.split('.')[0]}, which cannot be imported: {error}",
            advice="pip install 'dltrain[export]', or use --format torch-export or safetensors",
        ) from error
