"""The kind of data "text": tokens (T, N) for language models."""

from __future__ import annotations

from dltrain.data.text.sets import TEXT_SETS
from dltrain.kinds import BATCH, LENGTH, DataSets, Kind, register

register(
    Kind(
        name="text",
        axes=((LENGTH, BATCH),),
        singular="text",
        plural="texts",
        preparation=(
            "a token's number is its place in assets.words; assets.unit says whether tokens are words or characters",
            "the first token of a text follows assets.end; unknown ones are assets.unknown, or left out",
            "tokens are columns (length, batch); a text starts with the initial state, each call with the state of the "
            "one before",
            "in Python: dltrain.data.text.vocabulary.Vocabulary(assets)",
        ),
        synthetic="dltrain.data.text.passages:make_synthetic_passages",
        received="dltrain.data.text.received:describe_passages",
        sets=(
            DataSets(
                names=(*TEXT_SETS, "text"),
                fetched=tuple(TEXT_SETS),
                fetch="dltrain.data.text.sets:fetch",
                verify="dltrain.data.text.check:verify",
            ),
        ),
    )
)
