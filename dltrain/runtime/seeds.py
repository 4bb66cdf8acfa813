"""Randomness as a function of a key: nothing to save, nothing that depends on what was drawn before."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@lru_cache(maxsize=64)
def _hash64(key: tuple[int | str, ...]) -> int:
    return int.from_bytes(blake2b(json.dumps(key).encode(), digest_size=8).digest(), "little")


def make_seed(*key: int | str) -> int:
    """A seed for torch's generators that depends on `key` alone."""
    return _hash64(key) & 0x7FFF_FFFF_FFFF_FFFF


def make_generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose numbers depend on `key` alone: the same on every machine and in every process."""
    return torch.Generator().manual_seed(make_seed(*key))


def draw_permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order of `n` examples in `epoch`, (n,) int64."""
    return torch.randperm(n, generator=make_generator("permutation", seed, epoch))


def mix_bits(state: NDArray[numpy.uint64]) -> NDArray[numpy.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014), in place."""
    state ^= state >> 30
    state *= _MULTIPLIERS[0]
    state ^= state >> 27
    state *= _MULTIPLIERS[1]
    state ^= state >> 31
    return state


def draw_uniform(seed: int, epoch: int, examples: Tensor, draws: int) -> Tensor:
    """Uniform numbers in [0, 1), (B, draws) float32, for `examples` (B,) int64 on the CPU.

    Each is a function of (seed, epoch, example, draw) alone, so that an example meets the same chances in whatever
    batch it stands. Every example has its own SplitMix64 sequence, started from a hash of its key.
    """
    states: NDArray[numpy.uint64] = examples.numpy().astype(numpy.uint64)
    states *= _GOLDEN
    states += _hash64(("uniform", seed, epoch))
    steps = numpy.arange(1, draws + 1, dtype=numpy.uint64) * numpy.uint64(_GOLDEN)
    numbers = mix_bits(mix_bits(states)[:, None] + steps)
    numbers >>= 40  # the 24 bits that a float32 in [0, 1) holds exactly
    return torch.from_numpy(numbers.astype(numpy.float32)).mul_(2.0**-24)
