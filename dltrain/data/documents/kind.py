"""The kind of data "documents": padded tokens (N, T) and lengths (N,)."""

from __future__ import annotations

from dltrain.kinds import BATCH, LENGTH, DataSets, Kind, register

register(
    Kind(
        name="documents",
        axes=((BATCH, LENGTH), (BATCH,)),
        reader="dltrain.data.documents.reader:TextReader",
        reader_options=("keep",),
        requests="dltrain.data.documents.requests:TextForm",
        singular="text",
        plural="texts",
        preparation=(
            "a token's number is its place in assets.words; assets.unit, lowercase and punctuation say what a token is",
            "at most assets.max_tokens; a shorter text ends with <eos>; unknown ones are assets.unknown, or left out",
            "tokens are 0 after each text's end, lengths the number of its own",
            "in Python: dltrain.data.documents.batches.DocumentEncoder(assets)",
        ),
        synthetic="dltrain.data.documents.batches:make_synthetic_documents",
        received="dltrain.data.documents.received:describe_documents",
        sets=(
            DataSets(
                names=("ag_news", "imdb"),
                fetched=("ag_news", "imdb"),
                fetch="dltrain.data.documents.sets:fetch",
                verify="dltrain.data.documents.sets:verify",
            ),
        ),
    )
)
