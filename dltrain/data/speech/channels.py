"""Several channels as one: their average, or the loudest one where averaging would cancel them.

Channels in opposite phase, as of a balanced line that was recorded as stereo, average to silence.
"""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

Samples = NDArray[numpy.float32]

CANCELLED = 0.1
"""The average cancels the channels if its power is below this share of theirs; of unrelated ones it is one half."""


class ChannelPowers:
    """Adds up the energy of each channel, and that of their average, over the blocks of a file."""

    def __init__(self, channels: int) -> None:
        self._each: NDArray[Any] = numpy.zeros(channels)
        self._average = 0.0

    def add(self, block: Samples) -> None:
        """Add samples (n, channels)."""
        self._each += numpy.square(block, dtype=numpy.float64).sum(0)
        self._average += float(numpy.square(block.mean(1), dtype=numpy.float64).sum())

    def choose(self) -> int | None:
        """Choose the loudest channel if the average cancels the channels, else None for the average."""
        cancels = self._average < CANCELLED * float(self._each.mean())
        return int(self._each.argmax()) if cancels else None


def choose_channel(samples: Samples) -> int | None:
    """Choose the channel of a whole file (n, channels) that stands for all, or None for their average."""
    if samples.shape[1] == 1:
        return None
    powers = ChannelPowers(samples.shape[1])
    powers.add(samples)
    return powers.choose()


def mix_channels(samples: Samples, chosen: int | None) -> Samples:
    """Make one channel (n,) of samples (n, channels): the chosen one, or the average."""
    if samples.shape[1] == 1 or chosen is not None:
        return samples[:, chosen or 0]
    mixed: Samples = samples.mean(1)
    return mixed
