"""What is lost when texts become tokens: messages, treatments and facts about truncated texts and unknown words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dltrain.data.cleaning import fold_text
from dltrain.data.documents.batches import DocumentCounts
from dltrain.data.documents.rows import Rows
from dltrain.dataset import SplitName, Treatment

Counts = Mapping[SplitName, DocumentCounts]

_MISSING = ("", "?", "-", "na", "n/a", "nan", "nil", "null", "none", "#n/a", "<na>")
_SEPARATORS = re.compile(r"[,;|]")
_FASTTEXT = "__label__"
_SHOWN = 40
MANY_UNKNOWN = 0.1
"""A share of unknown tokens beyond which a model has little to go by."""
MOST_UNKNOWN = 0.5
"""The same of the training texts, which have no words but those left out as rare."""


def describe_losses(counts: Counts, assets: Mapping[str, Any]) -> Iterator[str]:
    """Describe what is lost of each split's texts, a line each; nothing for a split that loses little."""
    unit = assets.get("unit", "word")
    for split, one in counts.items():
        if one.truncated:
            yield (
                f"{split}: {one.truncated} of {one.texts} texts are cut after {assets['max_tokens']} {unit}s "
                f"(data.max_tokens); the longest has {one.longest}"
            )
        if one.unknown > (MOST_UNKNOWN if split == "training" else MANY_UNKNOWN) * one.tokens:
            yield f"{split}: {describe_unknown(one, unit)}"


def describe_unknown(counts: DocumentCounts, unit: str) -> str:
    """Describe how many tokens are not in the vocabulary, and what to do if that is due to the script."""
    share = f"{counts.unknown} of {counts.tokens} {unit}s ({counts.unknown / counts.tokens:.0%})"
    advice = ""
    if unit == "word" and counts.unknown > MANY_UNKNOWN * counts.tokens and 2 * counts.unspaced > counts.texts:
        advice = "; a script without spaces between words needs data.unit: character"
    return f"{share} are not in the vocabulary of the training texts{advice}"


def describe_labels(labels: Iterable[str]) -> Iterator[str]:
    """Describe labels that are probably one class, or none: they differ only in case, or mean a missing value."""
    labels = list(labels)
    if missing := [label for label in labels if label.casefold() in _MISSING]:
        yield f"the label {', '.join(map(repr, missing))} is a class; if it means none, leave those rows out"
    parts = {label: {part.strip() for part in _SEPARATORS.split(label)} for label in labels}
    if several := [label for label in labels if len(parts[label]) > 1 and parts[label] <= {*labels}]:
        some = ", ".join(map(repr, several[:2])) + ", ..." * (len(several) > 2)
        yield f"the label {some} is a class of its own; one text has one label, so leave one in each row"
    forms: dict[str, list[str]] = {}
    for label in labels:
        forms.setdefault("".join(label.casefold().split()), []).append(label)
    for same in forms.values():
        if len(same) > 1:
            yield f"the labels {', '.join(map(repr, same))} are different classes; are they meant to be one?"


def describe_contradictions(rows: Rows) -> Iterator[str]:
    """Describe texts that occur with several labels, also in other case, so that no model can be right about all."""
    first: dict[str, str] = {}
    several: dict[str, str] = {}
    for row in rows:
        text = fold_text(row.text)
        if first.setdefault(text, row.label) != row.label and text:
            several.setdefault(text, row.text)
    if several:
        some = ", ".join(repr(text[:_SHOWN]) for text in list(several.values())[:2])
        yield f"training: {len(several)} texts have several labels ({some}{', ...' if len(several) > 2 else ''})"


def describe_leaks(rows: Rows) -> Iterator[str]:
    """Describe texts that have the label in them, in fastText's format."""
    if leaks := [row.source for row in rows if _FASTTEXT in row.text]:
        yield (
            f"training: {len(leaks)} of {len(rows)} texts have {_FASTTEXT} in them, which gives the label away "
            f"({leaks[0]}): remove it"
        )


def list_treatments(counts: Counts, assets: Mapping[str, Any], *, empty: int, unlabelled: int) -> tuple[Treatment, ...]:
    """List what was done to the texts: truncated ones, unknown tokens, empty texts, rows without a label."""
    unit, found = assets["unit"], []
    for split, one in counts.items():
        if one.truncated:
            what = f"{split} texts cut after {assets['max_tokens']} {unit}s"
            found.append(
                Treatment(what=what, count=one.truncated, total=one.texts, option="data.max_tokens", noticed=True)
            )
        if one.unknown:
            what = f"{split} {unit}s read as unknown"
            found.append(Treatment(what=what, count=one.unknown, total=one.tokens, option="data.min_count"))
    if empty:
        what, total = "empty texts, read as <eos> alone", sum(one.texts for one in counts.values())
        found.append(Treatment(what=what, count=empty, total=total, noticed=True))
    if unlabelled:
        total = unlabelled + sum(one.texts for one in counts.values())
        what = "rows without a label dropped"
        found.append(Treatment(what=what, count=unlabelled, total=total, option="data.missing_label", noticed=True))
    return tuple(found)


def list_facts(counts: Counts, assets: Mapping[str, Any]) -> dict[str, str]:
    """List the size of the vocabulary and the lengths of the texts."""
    unit = assets["unit"]
    texts, tokens = (sum(getattr(one, name) for one in counts.values()) for name in ("texts", "tokens"))
    longest = max((one.longest for one in counts.values()), default=0)
    facts = {"vocabulary": f"{len(assets['words'])} {unit}s"}
    return facts | ({"texts": f"{tokens / texts:.1f} {unit}s on average, the longest {longest}"} if texts else {})
