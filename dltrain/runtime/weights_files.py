"""Weights in the files of others: safetensors, and what PyTorch writes."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from dltrain.errors import DltrainError

PYTORCH_SIGNATURES = (b"PK\x03\x04", b"\x80")
"""How a file of PyTorch's begins: a zip archive, or before version 1.6 a pickle."""


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name, on the CPU. Raises ValueError, saying what is wrong.

    PyTorch's own files are read by its restricted unpickler, which makes tensors and plain containers and runs no code.
    """
    try:
        if content.startswith(PYTORCH_SIGNATURES):
            found = torch.load(io.BytesIO(content), "cpu", weights_only=True)
        else:
            from safetensors.torch import load

            found = load(content)
    except DltrainError:  # a signal arrived
        raise
    except Exception as error:  # anything may come of a damaged file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"neither a whole safetensors file nor one of PyTorch's with weights alone: {reason}"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError("holds something else than tensors by name; expected is what a model's state_dict() gives")
    return dict(found)
