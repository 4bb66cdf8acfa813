"""Words with their times as captions: SubRip (.srt) and WebVTT (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

from dltrain.data.speech.transcription import SpokenWord

LINE_CHARACTERS = 42
LINES = 2
LONGEST_SECONDS = 7.0
SHORTEST_SECONDS = 1.0
"""How long a caption is shown, unless the next one comes earlier."""
PAUSE_SECONDS = 1.0
"""A pause of this length starts a new caption."""


class Caption(NamedTuple):
    """Lines of text, shown from `start` to `end`, in milliseconds."""

    start: int
    end: int
    lines: list[str]


def make_captions(words: Sequence[SpokenWord], separator: str = " ") -> list[Caption]:
    """Group words into captions of at most two lines, as full as time allows, with `separator` between words."""
    groups: list[list[SpokenWord]] = []
    for word in words:
        if groups and _fits(groups[-1], word, separator):
            groups[-1].append(word)
        else:
            groups.append([word])
    starts = [_to_milliseconds(group[0].start) for group in groups]
    captions = []
    for group, start, following in zip(groups, starts, [*starts[1:], None], strict=False):
        end = max(_to_milliseconds(group[-1].end), start + _to_milliseconds(SHORTEST_SECONDS))
        if following is not None:
            end = min(end, following)
        captions.append(Caption(start, max(end, start + 1), fill_lines([word.text for word in group], separator)))
    return captions


def _to_milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _fits(group: Sequence[SpokenWord], word: SpokenWord, separator: str) -> bool:
    return (
        word.start - group[-1].end < PAUSE_SECONDS
        and word.end - group[0].start <= LONGEST_SECONDS
        and len(fill_lines([*(one.text for one in group), word.text], separator)) <= LINES
    )


def fill_lines(words: Sequence[str], separator: str) -> list[str]:
    """Fill lines with words; a word longer than a line gets a line of its own."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(separator) + len(word) <= LINE_CHARACTERS:
            lines[-1] += separator + word
        else:
            lines.append(word)
    return lines


def format_srt(captions: Sequence[Caption]) -> str:
    """Format captions as SubRip: a number, `HH:MM:SS,mmm --> HH:MM:SS,mmm`, the lines, and an empty one."""
    return "".join(
        f"{number}\n{_format_time(one.start, ',')} --> {_format_time(one.end, ',')}\n" + "\n".join(one.lines) + "\n\n"
        for number, one in enumerate(captions, 1)
    )


def format_vtt(captions: Sequence[Caption]) -> str:
    """Format captions as WebVTT: a header, then `HH:MM:SS.mmm --> HH:MM:SS.mmm`, the lines and an empty one each."""
    cues = (
        f"{_format_time(one.start, '.')} --> {_format_time(one.end, '.')}\n"
        + html.escape("\n".join(one.lines), quote=False)
        + "\n\n"
        for one in captions
    )
    return "WEBVTT\n\n" + "".join(cues)


def _format_time(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
