"""torchvision and torchaudio beside a torch that their wheels were not built for.

The wheels of both on the Python Package Index are built for CUDA. Beside a CPU-only torch their compiled parts do not
load: `import torchvision` ends in "operator torchvision::nms does not exist", `import torchaudio` in an OSError. Their
Python parts (transforms, data sets, the model zoo; mel spectrograms, masking) need none of the compiled code, only that
the import gets past it. This module gets it past, and only where the real import fails for that reason.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import torch

from dltrain.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

_SIZES = "float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_POOLING = f"Tensor input, Tensor rois, {_SIZES}"
_INPUT = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_CONVOLUTION = (
    "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w, "
    "SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups, "
    "bool use_mask"
)
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({_POOLING}, int sampling_ratio, bool aligned) -> Tensor",
    f"qroi_align({_POOLING}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({_POOLING}) -> (Tensor, Tensor)",
    f"ps_roi_align({_POOLING}, int sampling_ratio) -> (Tensor, Tensor)",
    f"ps_roi_pool({_POOLING}) -> (Tensor, Tensor)",
    f"deform_conv2d({_CONVOLUTION}) -> Tensor",
    f"_roi_align_backward(Tensor grad, Tensor rois, {_SIZES}, {_INPUT}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, {_SIZES}, {_INPUT}) -> Tensor",
    f"_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor mapping, {_SIZES}, int sampling_ratio, {_INPUT}) "
    "-> Tensor",
    f"_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor mapping, {_SIZES}, {_INPUT}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {_CONVOLUTION}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
_libraries: list[torch.library.Library] = []  # a library's definitions live as long as it does


def import_torchvision() -> ModuleType:
    """torchvision; without its compiled operators (non-maximum suppression, region pooling) where those do not load."""
    imported = _import_package("torchvision", "vision", RuntimeError, "operator torchvision::")
    if imported is not None:
        return imported
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _OPERATORS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return importlib.import_module("torchvision")


def import_torchaudio() -> ModuleType:
    """torchaudio; without its compiled extension (forced alignment, RNN transducer loss) where that does not load."""
    imported = _import_package("torchaudio", "audio", OSError, "Could not load this library")
    if imported is not None:
        return imported
    sys.modules["torchaudio._extension"] = stand_in = _absent_extension()
    torchaudio = importlib.import_module("torchaudio")
    torchaudio._extension = stand_in  # type: ignore[attr-defined]
    return torchaudio


def _import_package(package: str, extra: str, failure: type[Exception], symptom: str) -> ModuleType | None:
    """Import a package; None, with nothing of it left imported, where its compiled parts do not load.

    Then it raises a `failure` whose text contains `symptom`. Raises UsageError where it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        message = f"{package} is not installed. Install it with: pip install 'dltrain[{extra}]'"
        raise UsageError(message) from error
    except failure as error:
        if symptom not in str(error):
            raise
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    return None


def _absent_extension() -> ModuleType:
    """What torchaudio's own `_extension` is where the extension was not compiled."""

    def fail_if_no_align(function: Function) -> Callable[..., Any]:
        def fail(*arguments: object, **options: object) -> None:
            raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension, which does not load here.")

        return fail

    module = ModuleType("torchaudio._extension")
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _load_lib=lambda name: False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
    )
    return module
