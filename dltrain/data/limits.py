"""Limits of the numbers that a model can be given."""

from __future__ import annotations

import numpy

LARGEST = float(numpy.finfo(numpy.float32).max)
"""The largest number that a model can be given."""
