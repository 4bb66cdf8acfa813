"""What training starts from, and which weights it may change: the `weights` section, carried out."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from dltrain.core.translation import Translation, describe_shapes
from dltrain.errors import DltrainError
from dltrain.options import Weights

SCHEMES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "xavier_uniform": init.xavier_uniform_,
    "xavier_normal": init.xavier_normal_,
    "kaiming_uniform": lambda weight: init.kaiming_uniform_(weight, nonlinearity="relu"),
    "kaiming_normal": lambda weight: init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": init.orthogonal_,
}

RECURRENT = re.compile(r"weight_(ih|hh)_l\d+(_reverse)?|weight_(ih|hh)")
"""Matrices of several gates, one below the other, as torch's recurrent layers name them."""
GATES = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}
WRAPPED = "model."
MULTIPLIER, SPARED = "multiplier", "spared"
PYTORCH_SIGNATURES = (b"PK\x03\x04", b"\x80")
"""How a file of PyTorch's begins: a zip archive, or before version 1.6 a pickle."""


def initialize(model: nn.Module, weights: Weights) -> None:
    """Draw every matrix and filter again, as `weights.initialization` says, from torch's global generator.

    Each gate of a recurrent layer is drawn as a matrix of its own. What has fewer than two dimensions (biases,
    normalisations) stays as its layer made it; embeddings too, unless the scheme is `uniform`.
    Xavier: Glorot and Bengio 2010. Kaiming: He et al. 2015, arXiv:1502.01852, for rectified units. Orthogonal: Saxe et
    al. 2014, arXiv:1312.6120.
    """
    if weights.initialization is None:
        return
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim < 2:
                continue
            if weights.initialization == "uniform":
                init.uniform_(parameter, -weights.initial_range, weights.initial_range)
            elif not isinstance(module, nn.Embedding | nn.EmbeddingBag):
                for gate in parameter.detach().chunk(GATES.get(type(module), 1) if RECURRENT.fullmatch(name) else 1):
                    SCHEMES[weights.initialization](gate)


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


class CopiedTensors(NamedTuple):
    """Which tensors of a model came from elsewhere, and which did not, with the reason; both by name.

    `remarks` are lines about what was taken by name.
    """

    taken: Sequence[str]
    kept: Mapping[str, str]
    remarks: Sequence[str] = ()

    def __str__(self) -> str:
        summary = f"{len(self.taken)} of {len(self.taken) + len(self.kept)} tensors taken"
        lines = [*self.remarks, *(f"{name}: {why}" for name, why in self.kept.items())]
        return summary + "".join(f"\n  {line}" for line in lines)


def copy_matching_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], source: str, translation: Translation | None = None
) -> CopiedTensors:
    """Put those `tensors` into the model that have the name and the shape of one of its own.

    So a head with another number of classes stays as it was drawn. With a `translation`, indices that have a name take
    the values of that name. Raises ValueError where nothing fits, or where values would be taken by position although
    they stand for something else; `source` is named in it.
    """
    translation = translation or Translation()
    taken, kept = [], {}
    for name, tensor in model.state_dict().items():
        given = tensors.get(name)
        if given is None:
            kept[name] = "is not there"
        elif (why := translation.explain_refusal(name)) is None:
            if (fault := translation.apply(name, given, tensor)) is None:
                taken.append(name)
            else:
                kept[name] = fault
        elif given.shape != tensor.shape:
            kept[name] = describe_shapes(given, tensor)
        else:
            raise ValueError(
                f"init_from: {source}: {name} would be taken by position, but {why}; allowed is that with "
                "weights.match: position, if each index stands for the same here and there"
            )
    if not taken:
        here, there = next(iter(kept), "nothing"), next(iter(tensors), "nothing")
        raise ValueError(
            f"init_from: {source} holds no tensor with the name and the shape of one of the model's "
            f"(there: {there}, ...; here: {here}, ...)"
        )
    return CopiedTensors(taken, kept, [meaning.describe(size) for size, meaning in translation.meanings.items()])


def align_names(model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors by their names in the model, where one of both is within a wrapper that holds it as `model`.

    Series are read by such wrappers if windows are relative to themselves; other programs write them, too.
    """
    own = model.state_dict().keys()
    if own & tensors.keys():
        return tensors
    inner = {name.removeprefix(WRAPPED): tensor for name, tensor in tensors.items() if name.startswith(WRAPPED)}
    outer = {f"{WRAPPED}{name}": tensor for name, tensor in tensors.items()}
    return next((found for found in (inner, outer) if own & found.keys()), tensors)


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Keep training from changing the parameters whose names fit one of the patterns.

    A normalisation with frozen parameters uses its running statistics, and keeps those too. Raises ValueError for a
    pattern that fits no parameter, and where nothing would be left to train.
    """
    for pattern in patterns:
        for name in match_parameters(model, pattern, "freeze"):
            model.get_parameter(name).requires_grad = False
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("freeze: every parameter is frozen, so that nothing is left to train")
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _NormBase) and own and not any(parameter.requires_grad for parameter in own):
            module.eval()
            module.train = _stay  # type: ignore[method-assign, assignment]


def _stay(mode: bool = True) -> None:
    """In place of a frozen normalisation's `train`."""


def match_parameters(model: nn.Module, pattern: str, option: str) -> list[str]:
    """The parameters' names that a pattern, with * and ?, fits. Raises ValueError where there are none."""
    names = [name for name, _ in model.named_parameters()]
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        near = difflib.get_close_matches(pattern, names, 1, 0)
        raise ValueError(
            f"{option}: no parameter is called '{pattern}'; nearest: {near[0] if near else 'none'}; "
            f"there are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        )
    return found


def parameter_groups(model: nn.Module, weights: Weights, decays: bool) -> list[dict[str, Any]]:
    """The parameters to train, in groups that share the multiplier of their learning rate and whether they decay.

    `decays` says whether the optimizer has a weight decay; unless `weights.decay_all`, what has fewer than two
    dimensions is spared from it. Raises ValueError for a pattern that fits no parameter.
    """
    multipliers: dict[str, float] = {}
    for pattern, multiplier in weights.learning_rates.items():
        for name in match_parameters(model, pattern, "learning_rates"):
            multipliers.setdefault(name, multiplier)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = decays and not weights.decay_all and parameter.ndim < 2
            groups.setdefault((multipliers.get(name, 1.0), spared), []).append(parameter)
    return [{"params": params, MULTIPLIER: key[0], SPARED: key[1]} for key, params in groups.items()]


def apply_group_options(optimizer: Optimizer) -> Optimizer:
    """The optimizer, with what `parameter_groups` asked for put into its groups."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop(MULTIPLIER)
        if group.pop(SPARED):
            group["weight_decay"] = 0.0
    return optimizer
