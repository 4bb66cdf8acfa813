"""Nested values as JSON beside a flat table of tensors, and back: what pickle would do, without running code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_TENSOR, _PAIRS, _TUPLE = "$tensor", "$pairs", "$tuple"


def split(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """`tree` as plain JSON; each tensor moves to `tensors`, under its path.

    Knows None, bool, int, float, str, tensors, and lists, tuples and dicts of these. Raises TypeError, with the
    path, for anything else.
    """
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, Tensor):
        name = path if path not in tensors else f"{path}#{len(tensors)}"
        tensors[name] = tree
        return {_TENSOR: name}
    if isinstance(tree, list):
        return [split(value, tensors, f"{path}.{index}") for index, value in enumerate(tree)]
    if isinstance(tree, tuple):
        return {_TUPLE: split(list(tree), tensors, path)}
    if isinstance(tree, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in tree):
            return {key: split(value, tensors, f"{path}.{key}" if path else key) for key, value in tree.items()}
        return {_PAIRS: [[key, split(value, tensors, f"{path}.{key}")] for key, value in tree.items()]}
    raise TypeError(f"cannot save {path}: a {type(tree).__name__} is neither a plain value nor a tensor")


def join(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree that `split` took apart."""
    if isinstance(plain, list):
        return [join(value, tensors) for value in plain]
    if isinstance(plain, dict):
        if _TENSOR in plain:
            return tensors[plain[_TENSOR]]
        if _TUPLE in plain:
            return tuple(join(plain[_TUPLE], tensors))
        if _PAIRS in plain:
            return {key: join(value, tensors) for key, value in plain[_PAIRS]}
        return {key: join(value, tensors) for key, value in plain.items()}
    return plain


def map_tensors(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same tree of lists, tuples and dicts with `function` of each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, list | tuple):
        parts = [map_tensors(part, function) for part in tree]
        return type(tree)._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    if isinstance(tree, dict):
        return {name: map_tensors(part, function) for name, part in tree.items()}
    return tree


def iterate_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors within nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from iterate_tensors(each)


def make_storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, none sharing memory with another, as safetensors needs them."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu", memory_format=torch.contiguous_format)
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor.contiguous()
    return apart
