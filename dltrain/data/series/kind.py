"""The kind of data "series": windows of columns (N, T, columns)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dltrain.kinds import BATCH, Kind, register

if TYPE_CHECKING:
    from torch import Generator

    from dltrain.batch import Batch


def synthetic(sizes: Mapping[str, int], draw: Generator) -> Batch:
    from dltrain.data.synthetic import normal_examples

    return normal_examples(draw, sizes["window"], sizes["channels"])


register(
    Kind(
        name="series",
        axes=((BATCH,),),
        reader="dltrain.data.series.reader:SeriesReader",
        singular="series",
        plural="series",
        preparation=(
            "the last assets.window rows of assets.columns, oldest first: (value - mean) / std of each column",
            "in Python: dltrain.data.series.dataset.standardize_series",
        ),
        synthetic=synthetic,
    )
)
