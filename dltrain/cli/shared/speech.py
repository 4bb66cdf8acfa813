"""Speech in `dltrain transcribe` and `dltrain eval`: options of decoding, the worst clips, frequent confusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from dltrain.escaping import keep_on_line
from dltrain.runs.clip_scoring import BONUS, WEIGHT, WIDTH

LanguageModelFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help=f"An n-gram model in ARPA format, for a beam search (of {WIDTH})."),
]
LanguageModelWeight = Annotated[
    float | None, typer.Option(min=0, help=f"Weight of the language model. [default: {WEIGHT:g}]")
]
WordBonus = Annotated[float | None, typer.Option(help=f"Added for each word, in nats. [default: {BONUS:g}]")]
Decode = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="Decode speech with a beam search: beam=WIDTH hypotheses (default with lm: "
        f"{WIDTH}), lm=FILE for an n-gram model (dltrain data lm), lm_weight={WEIGHT:g}, word_bonus={BONUS:g} nats. "
        "[default: greedy]",
    ),
]


def format_worst(findings: Mapping[str, Any]) -> Iterator[str]:
    """Format the worst clips as lines to print: reference, hypothesis, and the kind of each edit."""
    from dltrain.decoding.edits import format_alignment

    for number, clip in enumerate(findings.get("worst", ()), 1):
        pairs = [tuple(pair) for pair in clip["compared"]]
        edits = sum(reference != hypothesis for reference, hypothesis in pairs)
        name = keep_on_line(clip.get("name", f"clip {clip['clip']}"))
        yield f"\nworst {number}: {name}, {edits} {'edit' if edits == 1 else 'edits'}"
        for head, line in zip(("reference", "hypothesis", ""), format_alignment(pairs), strict=True):
            yield f"  {head:<10}  {line}".rstrip()


def list_confusion_rows(findings: Mapping[str, Any]) -> Sequence[Sequence[object]]:
    """List the most frequent confusions as the rows of a table, after its head."""
    names = {"": "nothing", " ": "space"}
    pairs = [(one["said"], one["understood"], one["times"]) for one in findings["confused"]]
    rows = [[names.get(reference, reference), names.get(other, other), count] for reference, other, count in pairs]
    return [["reference", "hypothesis", "count"], *rows]
