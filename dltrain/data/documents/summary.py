"""What is lost when texts become tokens: messages, treatments and facts about truncated texts and unknown words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dltrain.data.documents.batches import DocumentCounts
from dltrain.dataset import SplitName, Treatment

Counts = Mapping[SplitName, DocumentCounts]

MANY_UNKNOWN = 0.2
"""A share of unknown tokens beyond which a model has little to go by."""
_SPACED_TOKENS = 2.0
"""Words in an average text below which its script may not separate words by spaces."""


def describe_losses(counts: Counts, assets: Mapping[str, Any]) -> Iterator[str]:
    """Describe what is lost of each split's texts, a line each; nothing for a split that loses nothing."""
    unit = assets.get("unit", "word")
    for split, one in counts.items():
        if one.truncated:
            yield (
                f"{split}: {one.truncated} of {one.texts} texts are cut after {assets['max_tokens']} {unit}s "
                f"(data.max_tokens); the longest has {one.longest}"
            )
    held_out = {split: one for split, one in counts.items() if split != "training"}
    for split, one in held_out.items():
        if one.unknown and one.unknown > MANY_UNKNOWN * one.tokens:
            yield (
                f"{split}: {one.unknown} of {one.tokens} {unit}s ({one.unknown / one.tokens:.0%}) were not in the "
                f"training texts{_advise_unit(one, unit)}"
            )


def _advise_unit(counts: DocumentCounts, unit: str) -> str:
    if unit == "word" and counts.tokens < _SPACED_TOKENS * counts.texts:
        return "; a script without spaces between words needs data.unit: character"
    return ""


def list_treatments(counts: Counts, assets: Mapping[str, Any], empty: int) -> tuple[Treatment, ...]:
    """List what was done to the texts: truncated ones, unknown tokens, empty texts."""
    unit, found = assets["unit"], []
    for split, one in counts.items():
        if one.truncated:
            what = f"{split} texts cut after {assets['max_tokens']} {unit}s"
            found.append(Treatment(what=what, count=one.truncated, total=one.texts, option="data.max_tokens"))
        if one.unknown:
            what = f"{split} {unit}s read as unknown"
            found.append(Treatment(what=what, count=one.unknown, total=one.tokens, option="data.min_count"))
    if empty:
        what, total = "empty texts, read as <eos> alone", sum(one.texts for one in counts.values())
        found.append(Treatment(what=what, count=empty, total=total))
    return tuple(found)


def list_facts(counts: Counts, assets: Mapping[str, Any]) -> dict[str, str]:
    """List the size of the vocabulary and the lengths of the texts."""
    unit = assets["unit"]
    texts, tokens = (sum(getattr(one, name) for one in counts.values()) for name in ("texts", "tokens"))
    longest = max((one.longest for one in counts.values()), default=0)
    facts = {"vocabulary": f"{len(assets['words'])} {unit}s"}
    return facts | ({"texts": f"{tokens / texts:.1f} {unit}s on average, the longest {longest}"} if texts else {})
