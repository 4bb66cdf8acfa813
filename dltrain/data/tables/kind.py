"""The kind of data "table": rows of columns (N, columns)."""

from __future__ import annotations

from dltrain.kinds import BATCH, Kind, register

register(
    Kind(
        name="table",
        axes=((BATCH,),),
        reader="dltrain.data.tables.reader:TableReader",
        reader_options=("keep",),
        requests="dltrain.data.tables.requests:TableForm",
        singular="row",
        plural="rows",
        preparation=(
            "assets.inputs names the inputs, one after the other; assets.features says what each column becomes",
            "a column of numbers: (number - mean) / std; of texts: 1 for the row's own category and 0 for the others",
            "in Python: dltrain.data.tables.features.FeatureEncoder(assets['features'])",
        ),
        synthetic="dltrain.data.synthetic:make_rows",
        received="dltrain.data.tables.received:describe_rows",
    )
)
