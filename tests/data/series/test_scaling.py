"""Scales of a series: what is learned for each normalisation, and when a series has a trend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.scaling import count_rows, find_trend, learn_scales, standardize_series


def random_walk(rows: int = 400) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(0).normal(0.3, 1, (rows, 2)).cumsum(0) * [1, 100] + [1e9, 0]


def test_the_scale_of_changes_is_their_root_mean_square() -> None:
    values = random_walk()
    scales = learn_scales(values, 5, "window", [])
    numpy.testing.assert_allclose(scales["std"], numpy.sqrt((numpy.diff(values, axis=0) ** 2).mean(0)))
    windows = numpy.stack([values[start : start + 5] for start in range(396)]) / scales["std"]
    around = numpy.sqrt(((windows - windows[:, -1:]) ** 2).mean((0, 1)))
    numpy.testing.assert_allclose(scales["spread"], around, rtol=0.02)
    seasonal = learn_scales(values, 5, "standard", [1, 12])
    twice = numpy.diff(values[12:] - values[:-12], axis=0)
    numpy.testing.assert_allclose(seasonal["std"], numpy.sqrt((twice**2).mean(0)))
    assert "spread" not in seasonal
    assert count_rows({"window": 5, **seasonal}) == 18


def test_values_are_restored_exactly_far_from_zero() -> None:
    values = random_walk()
    for normalize, difference in (("window", []), ("standard", [1]), ("window", [1, 12])):
        assets = learn_scales(values, 5, normalize, difference)
        scaled = standardize_series(assets, values)
        assert scaled.dtype == numpy.float64
        numpy.testing.assert_allclose(scaled * assets["std"] + assets["mean"], values, rtol=1e-15, atol=1e-9)
    assert standardize_series(learn_scales(values, 5, "standard", []), values).dtype == numpy.float32


def test_a_column_that_never_changes_has_the_scale_1() -> None:
    scales = learn_scales(numpy.full((50, 1), 7.5), 4, "window", [])
    assert (scales["std"], scales["spread"]) == ([1.0], [1.0])


@pytest.mark.parametrize(
    ("values", "trend"),
    [
        (numpy.arange(100.0), True),
        (-(numpy.arange(100.0) ** 2), True),
        (numpy.random.default_rng(0).normal(size=100), False),
        (numpy.sin(numpy.arange(100) / 5), False),
        (numpy.arange(4.0), False),
    ],
)
def test_when_a_series_has_a_trend(values: numpy.ndarray[Any, Any], trend: bool, tmp_path: Path) -> None:
    assert find_trend(values[:, None]) == trend
    if len(values) < 10:
        return
    numpy.savetxt(tmp_path / "s.csv", values, header="v", comments="")
    options: dict[str, Any] = {"file": "s.csv", "root": str(tmp_path), "window": 4}
    assets = SeriesWindows("series", 0, None, normalize="auto", **options).assets
    assert assets.get("normalize", "standard") == ("window" if trend else "standard")
    kept = SeriesWindows("series", 0, None, normalize="standard", **options).assets
    assert "normalize" not in kept, "as an earlier version wrote it"
    assert (
        SeriesWindows("series", 0, None, normalize="auto", difference=[1], **options).assets["normalize"] == "standard"
    )
