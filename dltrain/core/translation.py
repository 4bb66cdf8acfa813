"""Weights taken over by what their indices stand for: a word's vector goes to that word, whatever its number is here.

A task names what each index of its sizes stands for (`dltrain.capabilities.NamesIndices`): words, columns, classes.
Which axis of which tensor has a size is found by building the model once more with that size larger by one, on the meta
device, where tensors have shapes and no content. A module may also declare it, as the attribute `index_axes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Names = Mapping[str, Sequence[str] | None]
"""What each index of a size stands for, by the size's name; None where that is not known."""

_SHOWN = 3


@dataclass(frozen=True)
class Meaning:
    """What a size stands for there, `names`, and here; `indices` are where each name of here is there, -1 for nowhere.

    `names` and `indices` are None where the meaning there is not known.
    """

    here: Sequence[str]
    names: Sequence[str] | None
    indices: Tensor | None

    @classmethod
    def compare(cls, here: Sequence[str], there: Sequence[str] | None) -> Meaning | None:
        """How to go from there to here; None where both are the same, so that nothing is to be done."""
        if there is None or len(set(there)) < len(there):
            return cls(here, None, None)
        if list(here) == list(there):
            return None
        numbers = {name: index for index, name in enumerate(there)}
        return cls(here, there, torch.tensor([numbers.get(name, -1) for name in here], dtype=torch.int64))

    def describe(self, size: str) -> str:
        """One line about the difference, such as "vocabulary: 2 of 10 are new here (x, y), 1 is not used (z)"."""
        if self.names is None:
            return f"{size}: what its indices stand for there is not known"
        differences = ((self.here, self.names, "new here"), (self.names, self.here, "not used here"))
        parts = []
        for names, others, what in differences:
            known = set(others)
            if alone := [name for name in names if name not in known]:
                shown = ", ".join([*alone[:_SHOWN], *(["..."] if len(alone) > _SHOWN else [])])
                parts.append(f"{len(alone)} of {len(names)} are {what} ({shown})")
        return f"{size}: taken by name; {'; '.join(parts) or 'the order is another one'}"


@dataclass(frozen=True)
class Translation:
    """How tensors of another run become this run's.

    `meanings` are the sizes whose meaning differs. `axes` names, by tensor, the size that each axis is indexed by;
    `unclear` are, by tensor, the sizes that its shape depends on in another way.
    """

    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    unclear: Mapping[str, set[str]] = field(default_factory=dict)

    def explain_refusal(self, name: str) -> str | None:
        """Why values must not be taken by position; None where they may be, or can be taken by name."""
        differing = [size for size in self.unclear.get(name, ()) if size in self.meanings]
        unknown = [size for size in self.axes.get(name, {}).values() if size in self.meanings]
        unknown = [size for size in unknown if self.meanings[size].indices is None]
        if unknown:
            return f"what its {unknown[0]} stand for there is not known"
        if differing:
            return f"its values depend on the {differing[0]}, which differ, in a way that is not known"
        return None

    def apply(self, name: str, given: Tensor, tensor: Tensor) -> str | None:
        """Put values of another run's tensor where they belong in this run's; why it cannot be done, or None.

        What has no value there keeps its own. A tensor whose sizes mean the same is copied as a whole.
        """
        wanted = {axis: size for axis, size in self.axes.get(name, {}).items() if size in self.meanings}
        if given.ndim != tensor.ndim:
            return describe_shapes(given, tensor)
        for axis, size in wanted.items():
            meaning = self.meanings[size]
            there = 0 if meaning.names is None else len(meaning.names)
            if (
                not there
                or given.shape[axis] % there
                or given.shape[axis] // there != tensor.shape[axis] // len(meaning.here)
            ):
                return describe_shapes(given, tensor)
        if any(given.shape[axis] != tensor.shape[axis] for axis in range(given.ndim) if axis not in wanted):
            return describe_shapes(given, tensor)
        places = [torch.arange(length) for length in tensor.shape]
        for axis, size in wanted.items():
            sources, found = _repeat_indices(self.meanings[size], tensor.shape[axis])
            if not len(found):
                return f"none of its {size} are there"
            given, places[axis] = given.index_select(axis, sources.to(given.device)), found
        if not wanted:
            tensor.copy_(given)
        else:
            shapes = [[-1 if axis == other else 1 for other in range(tensor.ndim)] for axis in range(tensor.ndim)]
            grid = tuple(one.reshape(shape).to(tensor.device) for one, shape in zip(places, shapes, strict=True))
            tensor[grid] = given.to(tensor)
        return None


def _repeat_indices(meaning: Meaning, length: int) -> tuple[Tensor, Tensor]:
    """Indices there and here of the names of both, in each block along an axis of `length`."""
    assert meaning.indices is not None
    assert meaning.names is not None
    blocks = torch.arange(length // len(meaning.here))[:, None]
    here = torch.nonzero(meaning.indices >= 0).flatten()
    there = meaning.indices[here]
    return (blocks * len(meaning.names) + there).flatten(), (blocks * len(meaning.here) + here).flatten()


def describe_shapes(given: Tensor, tensor: Tensor) -> str:
    return f"is {tuple(given.shape)} there, and {tuple(tensor.shape)} here"


def make_translation(
    model: nn.Module, build: Callable[[Mapping[str, int]], nn.Module], here: Mapping[str, Sequence[str]], there: Names
) -> Translation:
    """Compare what the sizes stand for here and there, and find the axes of those that differ.

    `build` makes the model for other sizes, given those that differ from the task's.
    """
    meanings = {
        size: meaning
        for size, names in here.items()
        if (meaning := Meaning.compare(names, there.get(size))) is not None
    }
    if not meanings:
        return Translation()
    declared = {
        f"{prefix}.{name}".removeprefix("."): axes
        for prefix, module in model.named_modules()
        for name, axes in getattr(module, "index_axes", {}).items()
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    axes: dict[str, dict[int, str]] = {name: dict(declared.get(name, {})) for name in shapes}
    unclear: dict[str, set[str]] = {name: set() for name in shapes}
    for size, meaning in meanings.items():
        grown = _measure_grown(build, {size: len(meaning.here) + 1})
        for name, shape in shapes.items():
            if size in axes[name].values():
                continue
            other = None if grown is None else grown.get(name)
            if other is None or len(other) != len(shape):
                unclear[name].add(size)
                continue
            for axis in (index for index in range(len(shape)) if shape[index] != other[index]):
                if (shape[axis], other[axis]) == (len(meaning.here), len(meaning.here) + 1):
                    axes[name][axis] = size
                else:
                    unclear[name].add(size)
    return Translation(meanings, axes, unclear)


def _measure_grown(
    build: Callable[[Mapping[str, int]], nn.Module], sizes: Mapping[str, int]
) -> dict[str, tuple[int, ...]] | None:
    """The shapes of a model's tensors at other sizes; None where it cannot be built. No random number is drawn."""
    for device in ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device):
                return {name: tuple(tensor.shape) for name, tensor in build(sizes).state_dict().items()}
        except Exception:  # a model may need values, or other sizes with them
            continue
    return None


def list_preparations(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """How the data were prepared differently there: the settings among assets, such as lower case or not.

    Assets hold the `normalize` and `difference` of a series only where they are not the usual ones.
    """
    if "normalize" in here or "normalize" in there:
        usual = {"normalize": "standard", "difference": []}
        here, there = {**usual, **here}, {**usual, **there}
    return [
        f"{name} {value!r} there, {here[name]!r} here"
        for name, value in there.items()
        if (isinstance(value, (str, bool)) or name == "difference")
        and name in here
        and name != "dataset"
        and here[name] != value
    ]
