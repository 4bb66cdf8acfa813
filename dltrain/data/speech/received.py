"""Clips as a model receives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.data.speech.batches import Utterances
from dltrain.dataset import ReceivedExample


def describe_utterances(assets: Mapping[str, Any], batch: Utterances) -> list[ReceivedExample]:
    """The transcript of each clip in characters of the alphabet, and its frames; the features (T, bands) are drawn."""
    alphabet = assets["alphabet"]
    lengths = zip(batch.frames.tolist(), batch.target_lengths.tolist(), strict=True)
    described = []
    for features, targets, (frames, characters) in zip(batch.features, batch.targets, lengths, strict=True):
        text = "".join(alphabet[index] for index in targets[:characters].tolist())
        values = {"transcript": text, "frames": frames, "bands": features.shape[1]}
        described.append(ReceivedExample(values=values, picture=features[:frames], caption=text))
    return described
