"""The season of a series: after how many steps it repeats."""

from __future__ import annotations

import numpy

from dltrain.data.series.values import Values

LONGEST, REPEATS = 1000, 3
"""Steps of the longest season that is looked for, and how often it must fit into the training rows."""
CLEAR, AS_CLEAR = 0.3, 0.9
"""The autocorrelation from which on there is a season, and the share of the largest one that a shorter season needs."""


def find_season(values: Values) -> int | None:
    """Find the season of values (T, targets): the first clear peak of the autocorrelation of their changes.

    Of several targets the autocorrelations are averaged. None where no lag of 2 or more has a clear peak.
    """
    changes = numpy.diff(values, axis=0)
    changes = changes - changes.mean(0)
    power = numpy.square(changes).sum(0)
    longest = min(LONGEST, len(values) // REPEATS)
    if longest < 3 or not (power > 0).any():
        return None
    spectrum = numpy.abs(numpy.fft.rfft(changes[:, power > 0], 2 * len(changes), axis=0)) ** 2
    correlations = (numpy.fft.irfft(spectrum, axis=0)[: longest + 2] / power[power > 0]).mean(1)
    lags = numpy.arange(2, longest + 1)
    here = correlations[lags]
    peaks = (here > CLEAR) & (here >= correlations[lags - 1]) & (here >= correlations[lags + 1])
    if not peaks.any():
        return None
    return int(lags[peaks & (here >= AS_CLEAR * here[peaks].max())][0])
