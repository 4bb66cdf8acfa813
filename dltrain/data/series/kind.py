"""The kind of data "series": windows of columns (N, T, columns)."""

from __future__ import annotations

from dltrain.kinds import BATCH, Kind, register

register(
    Kind(
        name="series",
        axes=((BATCH,),),
        reader="dltrain.data.series.reader:SeriesReader",
        requests="dltrain.data.series.requests:SeriesForm",
        singular="series",
        plural="series",
        preparation=(
            "the last rows of assets.columns, oldest first: assets.window, and the sum of assets.difference more",
            "(value - mean) / std of each column; assets.normalize and assets.difference are carried out by the model",
            "in Python: dltrain.data.series.scaling.standardize_series",
        ),
        synthetic="dltrain.data.synthetic:make_windows",
        received="dltrain.data.series.received:describe_windows",
        draw="dltrain.observers.sample_pictures:draw_windows",
    )
)
