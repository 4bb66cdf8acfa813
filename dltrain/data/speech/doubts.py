"""What makes transcripts doubtful: repeated clips, marks in brackets, and lengths that do not go with the sound's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Sized

import numpy
from numpy.typing import NDArray

from dltrain.data.progress import UNREADABLE
from dltrain.data.speech.manifests import Clip
from dltrain.data.wording import join_some

_NAMED = 2
_MARK = re.compile(r"<[^<>]+>|\[[^\[\]]+\]|\{[^{}]+\}")
MANY_MARKED = 0.01
"""Share of the transcripts from which marks are reported."""
OTHER_PACE = 1.8
"""How many times faster or slower than the training clips a split is reported; 2 is a doubled sample rate."""
FEW_CLIPS = 5
"""Fewer clips have no pace to compare."""
ENOUGH_CLIPS, ENOUGH_SPREAD, UNRELATED = 40, 0.25, 0.3
"""Lengths are unrelated if their correlation is lower than UNRELATED, of so many clips whose lengths differ so much."""


def measure_pace(texts: Sequence[Sized], seconds: NDArray[numpy.float64]) -> float | None:
    """Measure the median of characters a second, of clips of these lengths (n,); None for too few."""
    if len(texts) < FEW_CLIPS:
        return None
    return float(numpy.median([len(text) / length for text, length in zip(texts, seconds, strict=True)]))


def describe_doubts(
    clips: Sequence[Clip], texts: Sequence[str], seconds: NDArray[numpy.float64], digests: Sequence[str]
) -> Iterator[str]:
    """Describe doubtful transcripts of usable clips, a sentence each; `texts` are those to learn."""
    yield from _describe_repeated(clips, digests)
    if (count := sum(bool(_MARK.search(clip.text)) for clip in clips)) > MANY_MARKED * len(clips):
        found = join_some(list(dict.fromkeys(mark for clip in clips for mark in _MARK.findall(clip.text))), _NAMED)
        yield f"{count} of {len(clips)} transcripts have marks in brackets ({found}), which are read as words"
    lengths = numpy.array([len(text) for text in texts], numpy.float64)
    if len(clips) < ENOUGH_CLIPS or min(one.std() / one.mean() for one in (lengths, seconds)) < ENOUGH_SPREAD:
        return
    if (related := float(numpy.corrcoef(lengths, seconds)[0, 1])) < UNRELATED:
        yield (
            f"the lengths of transcripts and of clips are unrelated (correlation {related:.2f}); does each line have "
            "the transcript of its own clip?"
        )


def describe_pace(pace: float | None, trained: float | None) -> Iterator[str]:
    """Describe a split whose speech is much faster or slower than that of the training clips."""
    if pace is None or trained is None or max(pace / trained, trained / pace) < OTHER_PACE:
        return
    cause = "is the sample rate in the files right?"
    if pace < trained:
        cause = f"{cause.removesuffix('?')}, or is there much silence in them?"
    yield f"{pace:.1f} characters a second (median), {trained:.1f} in the training clips; {cause}"


def _describe_repeated(clips: Sequence[Clip], digests: Sequence[str]) -> Iterator[str]:
    first: dict[str, Clip] = {}
    repeated, other = [], []
    for clip, digest in zip(clips, digests, strict=True):
        before = first.setdefault(digest, clip)
        if before is not clip and digest != UNREADABLE:
            repeated.append(clip.name)
            other += [clip.name] if before.text.split() != clip.text.split() else []
    if other:
        yield (
            f"{len(other)} clips are in the table before, with another transcript ({join_some(other, _NAMED)}): "
            "remove the wrong ones"
        )
    if len(repeated) > len(other):
        yield f"{len(repeated)} of {len(clips)} clips are repeated ({join_some(repeated, _NAMED)})"
