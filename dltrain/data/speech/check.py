"""Which clips of a manifest are usable: the decision that training and `dltrain data check` share, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy

from dltrain.data.speech.clips import ClipFault, Preparation, Survey, survey_clips
from dltrain.data.speech.common_voice import find_locale
from dltrain.data.speech.manifests import Clip, read_common_voice, read_manifest
from dltrain.data.speech.published import PUBLISHED
from dltrain.data.speech.sources import SPLITS, SourceOptions
from dltrain.data.speech.transcripts import count_needed_frames, normalize_transcript
from dltrain.data.wording import join_some
from dltrain.errors import DataError
from dltrain.escaping import format_fields

TOO_LONG = "too long"
"""The fault of a clip beyond max_seconds: left out by choice, so not bad."""

CLIPPED = 0.01
"""A clip is clipped if a larger share of its samples is at full scale."""
MANY_CLIPPED = 0.1
"""Share of the clips from which clipping is reported."""
OFFSET = 0.5
"""Standard deviations of its samples by which a clip's mean may differ from 0."""
LISTED = 5
"""Bad clips that messages and reports name."""
SUFFIXES = (".tsv", ".csv", ".jsonl")


class CheckedClips(NamedTuple):
    """Clips of a manifest, the spelling of each one's transcript, and why it is left out, or None.

    `dropped` counts the characters that are not in the alphabet.
    """

    manifest: Path
    clips: Sequence[Clip]
    survey: Survey
    texts: Sequence[str]
    faults: Sequence[ClipFault | None]
    dropped: Counter[str]

    def count_faults(self) -> dict[str, int]:
        """Count the clips that are left out, by kind of fault, the most frequent first."""
        return dict(Counter(fault.kind for fault in self.faults if fault is not None).most_common())

    def list_bad(self) -> list[tuple[str, str, str]]:
        """The name or line, kind of fault and reason of each bad clip."""
        return [
            (clip.name or f"line {clip.line}", fault.kind, fault.reason)
            for clip, fault in zip(self.clips, self.faults, strict=True)
            if fault is not None and fault.kind != TOO_LONG
        ]

    def describe_bad(self, limit: int = LISTED) -> list[str]:
        """Describe the first bad clips, each with the reason."""
        bad = [f"{name}: {reason}" for name, _, reason in self.list_bad()]
        return bad if len(bad) <= limit else [*bad[:limit], f"and {len(bad) - limit} more"]


def find_clip_faults(
    clips: Sequence[Clip], survey: Survey, texts: Sequence[str], subsampling: int
) -> list[ClipFault | None]:
    """Find for each clip why it is left out, or None; `texts` are the transcripts, normalised and in the alphabet.

    Besides clips with faulty sound, those are left out that have no text, or more text than CTC can align with their
    output frames: their loss would be infinite.
    """
    return [
        fault if fault is not None else _find_text_fault(clip, text, int(frames), subsampling)
        for clip, fault, text, frames in zip(clips, survey.faults, texts, survey.frames, strict=True)
    ]


def _find_text_fault(clip: Clip, text: str, frames: int, subsampling: int) -> ClipFault | None:
    if not text:
        cause = f"nothing is left of {clip.text[:40]!r}" if clip.text.strip() else "the sentence is empty"
        return ClipFault("empty transcript", f"no transcript: {cause}")
    available, needed = -(-frames // subsampling), count_needed_frames(text)
    if needed <= available:
        return None
    blanks = f" and {needed - len(text)} blanks between equal neighbours" if needed > len(text) else ""
    return ClipFault(
        "text too long for CTC",
        f"its {len(text)} characters{blanks} need {needed} output frames, but {frames} frames at subsampling "
        f"{subsampling} give {available}",
    )


def format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def check_share(checked: CheckedClips, limit: float, command: str) -> None:
    """Raise DataError if more than a share `limit` of the clips is bad, or none is usable.

    `command` lists all bad clips.
    """
    counts, total = checked.count_faults(), len(checked.clips)
    bad = {kind: count for kind, count in counts.items() if kind != TOO_LONG}
    examples = "".join(f"\n  {line}" for line in checked.describe_bad())
    number = sum(bad.values())
    if number > limit * total:
        raise DataError(
            f"{checked.manifest}: {number} of {total} clips are bad ({number / total:.1%}; data.max_bad_fraction "
            f"allows {limit:.1%}): {format_counts(bad)}{examples}",
            advice=f"run {command} for all of them; correct or remove them, or raise data.max_bad_fraction",
        )
    if sum(counts.values()) == total:
        raise DataError(
            f"{checked.manifest}: none of its {total} clips can be used: {format_counts(counts)}{examples}",
            advice=f"run {command} for all of them; correct them, or change what leaves them out, such as "
            "data.max_seconds",
        )


def describe_left_out(split: str, checked: CheckedClips, max_seconds: float) -> str | None:
    """Describe what is left out of a split, clips and characters, a sentence each; None if nothing is."""
    counts, dropped = checked.count_faults(), checked.dropped
    total, long = sum(counts.values()), counts.pop(TOO_LONG, 0)
    parts = [f"{long} longer than max_seconds {max_seconds:g}"] if long else []
    if counts:
        parts.append(f"{format_counts(counts)} ({'; '.join(checked.describe_bad(2))})")
    sentences = [f"{split}: {total} of {len(checked.clips)} clips are left out: {', '.join(parts)}."] if parts else []
    if dropped:
        examples = ", ".join(f"{character!r} {count}" for character, count in dropped.most_common(5))
        sentences.append(
            f"{split}: {dropped.total()} characters that the alphabet does not have are dropped from the "
            f"transcripts ({examples}{', ...' if len(dropped) > 5 else ''})."
        )
    return "\n".join(sentences) or None


def describe_marks(checked: CheckedClips, sample_rate_hz: int) -> list[str]:
    """Describe what usable clips lack, a sentence each: phase, headroom, a mean of 0, or high frequencies."""
    usable = [index for index, fault in enumerate(checked.faults) if fault is None]
    names, total = [checked.clips[index].name for index in usable], len(usable)
    (opposed, clipped, offset), rates = checked.survey.marks[usable].T, checked.survey.rates[usable]
    found = []
    if count := int(opposed.sum()):
        some = join_some([name for name, mark in zip(names, opposed, strict=True) if mark], 2)
        found.append(f"{count} of {total} clips have channels in opposite phase; the loudest one is used ({some})")
    if (count := int((clipped > CLIPPED).sum())) > MANY_CLIPPED * total:
        found.append(f"{count} of {total} clips are clipped: {CLIPPED:.0%} or more of their samples are at full scale")
    if count := int((offset > OFFSET).sum()):
        some = join_some([name for name, mark in zip(names, offset, strict=True) if mark > OFFSET], 2)
        found.append(
            f"{count} of {total} clips have a constant offset, which fills the lowest bands; remove it with a "
            f"high-pass filter ({some})"
        )
    if count := int((low := (rates > 0) & (rates < sample_rate_hz)).sum()):
        kinds = format_counts({f"at {int(rate)} Hz": int((rates == rate).sum()) for rate in numpy.unique(rates[low])})
        found.append(
            f"{count} of {total} clips have a lower sample rate than data.sample_rate_hz {sample_rate_hz} ({kinds}): "
            "there is nothing in their upper bands"
        )
    return found


@dataclass
class ManifestReport:
    """The clips of one manifest, or of a split. `hours` are those of usable clips; `rates` count by sample rate.

    `characters` are those to learn, `dropped` those that are not in a given alphabet. `left_out` counts clips by kind
    of fault and `bad` lists name, kind and reason of each; `notes` say what else stands out; `fault` is None if no clip
    is bad and some can be used.
    """

    name: str
    path: str | None = None
    clips: int = 0
    usable: int = 0
    speakers: int = 0
    hours: float = 0.0
    longest_seconds: float = 0.0
    rates: dict[int, int] = field(default_factory=dict)
    characters: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    bad: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fault: str | None = None

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {'NOT FINE' if self.fault else 'ok'}", f"  path        {self.path or 'not found'}"]
        if self.clips:
            characters = "".join(self.characters).replace(" ", "␣")
            lines += [
                f"  clips       {self.clips}, usable {self.usable}",
                f"  speakers    {self.speakers or 'not stated'}",
                f"  sound       {self.hours:.2f} hours, longest clip {self.longest_seconds:.1f} s",
                f"  rates       {', '.join(f'{rate} Hz: {count}' for rate, count in self.rates.items()) or 'none'}",
                f"  text        {sum(self.characters.values())} characters of {len(self.characters)}: {characters}",
            ]
        if self.dropped:
            counts = ", ".join(f"{character!r} {count}" for character, count in self.dropped.items())
            lines.append(f"  dropped     {counts}, which the alphabet does not have")
        if self.left_out:
            lines.append(f"  left out    {format_counts(self.left_out)}")
        lines += [f"    {name}: {reason}" for name, kind, reason in self.bad[:LISTED]]
        if len(self.bad) > LISTED:
            lines.append(f"    and {len(self.bad) - LISTED} more (--output FILE lists all)")
        return lines + [f"  note        {note}" for note in self.notes]


def verify(
    name: str,
    root: Path,
    locale: str = "en",
    subsampling: int = 4,
    max_seconds: float = 10.0,
    output: Path | None = None,
) -> list[ManifestReport]:
    """Report on each table of a Common Voice locale, split of a corpus, or manifest of the user's; decodes every clip.

    For `audio`, `root` is one manifest, or a folder with some. All bad clips are listed in the file `output`. Raises
    DataError if there is no manifest.
    """
    reports, tables = [], {}
    source = PUBLISHED[name](SourceOptions(root=root)) if name in PUBLISHED else None
    for path in _find_manifests(name, root, locale) if source is None else map(source.find_manifest, SPLITS):
        report = ManifestReport(path.name, str(path))
        try:
            if source is not None:
                clips, _ = source.read_clips(path)
            else:
                clips = read_common_voice(path.parent, path.stem) if name == "common_voice" else read_manifest(path)
            tables[path] = report, clips
        except DataError as error:
            report.fault = str(error)
        reports.append(report)
    preparation = Preparation(max_seconds=max_seconds)
    surveys = _survey_once([clips for _, clips in tables.values()], preparation, name)
    for (path, (report, clips)), survey in zip(tables.items(), surveys, strict=True):
        texts = [normalize_transcript(clip.text) for clip in clips]
        faults = find_clip_faults(clips, survey, texts, subsampling)
        checked = CheckedClips(path, clips, survey, texts=texts, faults=faults, dropped=Counter())
        fill_report(report, checked, preparation.sample_rate_hz)
    if output is not None:
        write_bad_clips(reports, output)
    return reports


def _find_manifests(name: str, root: Path, locale: str) -> list[Path]:
    if name == "common_voice":
        folder = find_locale(root, locale)
        tables = (folder / f"{table}.tsv" for table in ("train", "dev", "test", "validated"))
        return [path for path in tables if path.exists()]
    if not root.exists():
        raise DataError(f"{root}: no such file or folder", advice="name a manifest, or a folder with some, with --root")
    paths = [root] if root.is_file() else sorted(path for path in root.glob("*") if path.suffix in SUFFIXES)
    if not paths:
        raise DataError(f"{root}: no manifest in it ({', '.join(SUFFIXES)}); name the folder or one file with --root.")
    return paths


def _survey_once(tables: Sequence[Sequence[Clip]], preparation: Preparation, name: str) -> Iterator[Survey]:
    """Survey each table; a clip that is in several (validated.tsv has all) is decoded once."""
    unique = {(clip.path, clip.seconds, clip.fault): clip for clips in tables for clip in clips}
    indices = {key: index for index, key in enumerate(unique)}
    survey = survey_clips(list(unique.values()), preparation, f"clips of {name}")
    for clips in tables:
        yield survey.select(numpy.array([indices[clip.path, clip.seconds, clip.fault] for clip in clips]))


def fill_report(report: ManifestReport, checked: CheckedClips, sample_rate_hz: int) -> None:
    """Complete a report that has its name and path."""
    clips, survey = checked.clips, checked.survey
    usable = [index for index, fault in enumerate(checked.faults) if fault is None]
    characters = Counter(character for index in usable for character in checked.texts[index])
    rates = Counter(int(rate) for rate in survey.rates if rate)
    report.clips, report.usable, report.left_out = len(clips), len(usable), checked.count_faults()
    report.speakers = len({clip.speaker for clip in clips if clip.speaker})
    report.hours = float(survey.seconds[usable].sum()) / 3600
    report.longest_seconds = max((float(survey.seconds[index]) for index in usable), default=0.0)
    report.rates, report.characters = dict(sorted(rates.items())), dict(sorted(characters.items()))
    report.dropped, report.bad = dict(sorted(checked.dropped.items())), checked.list_bad()
    report.notes = describe_marks(checked, sample_rate_hz)
    if report.bad:
        examples = "; ".join(checked.describe_bad())
        report.fault = f"{checked.manifest}: {len(report.bad)} of {len(clips)} clips are bad: {examples}"
    elif clips and not usable:
        counts = format_counts(report.left_out)
        report.fault = f"{checked.manifest}: none of its {len(clips)} clips can be used: {counts}"


def write_bad_clips(reports: Sequence[ManifestReport], path: Path) -> None:
    """Write every bad clip of the reports, one per line: manifest, clip, kind and reason, tab-separated."""
    rows = [format_fields((Path(report.path or report.name).name, *bad)) for report in reports for bad in report.bad]
    try:
        path.write_text(
            "".join(f"{row}\n" for row in ("manifest\tclip\tkind\treason", *rows)),
            encoding="utf-8",
            errors="surrogateescape",
        )
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error})",
            advice="free some disk space, or name another output file",
        ) from error
