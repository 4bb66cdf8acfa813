"""Which clips of a manifest can be used: the decision that training and `dltrain data check` share, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy

from dltrain.data.speech.clips import Fault, Preparation, Survey, surveyed
from dltrain.data.speech.manifests import CLIPS, Clip, read_common_voice, read_manifest
from dltrain.data.speech.transcripts import frames_needed, normalized
from dltrain.errors import DataError

TOO_LONG = "too long"
"""The fault of a clip beyond max_seconds: left out by choice, so not bad."""

ADDRESS = "https://commonvoice.mozilla.org/datasets"
"""Where Mozilla gives Common Voice out."""

FOLDER = "common_voice"
"""Where the locales lie under a root, if not right there."""

TABLES = ("train.tsv", "validated.tsv")
"""A folder with one of these is a locale."""

NAMED = 5
SUFFIXES = (".tsv", ".csv", ".jsonl")


class Judgement(NamedTuple):
    """Clips of a manifest, each one's text as the model is to spell it, and why it is left out, or None.

    `dropped` counts the characters that the alphabet does not have.
    """

    manifest: Path
    clips: Sequence[Clip]
    survey: Survey
    texts: Sequence[str]
    faults: Sequence[Fault | None]
    dropped: Counter[str]


def judged(clips: Sequence[Clip], survey: Survey, texts: Sequence[str], subsampling: int) -> list[Fault | None]:
    """For each clip why it is left out, or None; `texts` are the transcripts, normalised and in the alphabet.

    Besides what is wrong with its sound, a clip is left out that has no text, or for whose text CTC has too few output
    frames: its loss would be infinite.
    """
    return [
        fault if fault is not None else _misfit(clip, text, int(frames), subsampling)
        for clip, fault, text, frames in zip(clips, survey.faults, texts, survey.frames, strict=True)
    ]


def _misfit(clip: Clip, text: str, frames: int, subsampling: int) -> Fault | None:
    if not text:
        said = f"nothing is left of {clip.text[:40]!r}" if clip.text.strip() else "the sentence is empty"
        return Fault("empty transcript", f"no transcript: {said}")
    given, needed = -(-frames // subsampling), frames_needed(text)
    if needed <= given:
        return None
    blanks = f" and {needed - len(text)} blanks between equal neighbours" if needed > len(text) else ""
    return Fault(
        "text too long for CTC",
        f"its {len(text)} characters{blanks} need {needed} output frames, but {frames} frames at subsampling "
        f"{subsampling} give {given}",
    )


def counted(faults: Sequence[Fault | None]) -> dict[str, int]:
    """How many clips are left out, by kind of fault, the commonest first."""
    return dict(Counter(fault.kind for fault in faults if fault is not None).most_common())


def said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def named(clips: Sequence[Clip], faults: Sequence[Fault | None], most: int = NAMED) -> list[str]:
    """The first bad clips, each with its line and the reason."""
    bad = [
        f"{clip.name or 'line ' + str(clip.line)}: {fault.reason}"
        for clip, fault in zip(clips, faults, strict=True)
        if fault is not None and fault.kind != TOO_LONG
    ]
    return [*bad[:most], *([f"and {len(bad) - most} more"] if len(bad) > most else [])]


def check_share(clips: Sequence[Clip], faults: Sequence[Fault | None], most: float, manifest: Path, again: str) -> None:
    """Raises DataError where more than a share `most` of the clips is bad, or none is left; `again` is what to run."""
    counts = counted(faults)
    bad = sum(count for kind, count in counts.items() if kind != TOO_LONG)
    shown = "".join(f"\n  {line}" for line in named(clips, faults))
    if bad > most * len(clips):
        raise DataError(
            f"{manifest}: {bad} of {len(clips)} clips are bad ({bad / len(clips):.1%}; data.max_bad_fraction allows "
            f"{most:.1%}): {said({k: n for k, n in counts.items() if k != TOO_LONG})}{shown}",
            advice=f"run {again} for all of them; mend or remove them, or raise data.max_bad_fraction",
        )
    if sum(counts.values()) == len(clips):
        raise DataError(
            f"{manifest}: none of its {len(clips)} clips can be used: {said(counts)}{shown}",
            advice=f"run {again} for all of them; mend them, or change what leaves them out, such as data.max_seconds",
        )


def notice(split: str, clips: Sequence[Clip], faults: Sequence[Fault | None], max_seconds: float) -> str | None:
    """What is left out of a split, in a sentence; None where it is nothing."""
    counts = counted(faults)
    long = counts.pop(TOO_LONG, 0)
    parts = [f"{long} longer than max_seconds {max_seconds:g}"] if long else []
    if counts:
        parts.append(f"{said(counts)} ({'; '.join(named(clips, faults, 2))})")
    if not parts:
        return None
    return f"{split}: {long + sum(counts.values())} of {len(clips)} clips are left out: {', '.join(parts)}."


@dataclass
class ManifestReport:
    """One manifest, or a split of one, and its clips. `hours` are of the usable ones; `rates` count by sample rate.

    `characters` are those to be learned, `dropped` those that a given alphabet does not have. `left_out` counts clips
    by kind of fault and `bad` lists name, kind and reason of each; `fault` is None where no clip is bad and some can be
    used.
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
    fault: str | None = None

    def lines(self) -> list[str]:
        """The report as text."""
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
            lines.append(f"  left out    {said(self.left_out)}")
        lines += [f"    {name}: {reason}" for name, kind, reason in self.bad[:NAMED]]
        if len(self.bad) > NAMED:
            lines.append(f"    and {len(self.bad) - NAMED} more (--output FILE lists all)")
        return lines


def verify(
    name: str,
    root: Path,
    locale: str = "en",
    subsampling: int = 4,
    max_seconds: float = 10.0,
    output: Path | None = None,
) -> list[ManifestReport]:
    """A report on each table of a Common Voice locale, or on each manifest of the user's own; every clip is decoded.

    For `audio`, `root` is one manifest, or a folder with some. All bad clips are listed in the file `output`. Raises
    DataError where there is no manifest.
    """
    reports, tables = [], {}
    for path in _manifests(name, root, locale):
        report = ManifestReport(path.name, str(path))
        try:
            clips = read_common_voice(path.parent, path.stem) if name == "common_voice" else read_manifest(path)
            tables[path] = report, clips
        except DataError as error:
            report.fault = str(error)
        reports.append(report)
    surveys = _surveyed_once([clips for _, clips in tables.values()], Preparation(max_seconds=max_seconds), name)
    for (path, (report, clips)), survey in zip(tables.items(), surveys, strict=True):
        texts = [normalized(clip.text) for clip in clips]
        fill(report, Judgement(path, clips, survey, texts, judged(clips, survey, texts, subsampling), Counter()))
    if output is not None:
        write_all(reports, output)
    return reports


def _manifests(name: str, root: Path, locale: str) -> list[Path]:
    if name == "common_voice":
        folder = locale_folder(root, locale)
        tables = (folder / f"{table}.tsv" for table in ("train", "dev", "test", "validated"))
        return [path for path in tables if path.exists()]
    if not root.exists():
        raise DataError(f"{root}: no such file or folder", advice="name a manifest, or a folder with some, with --root")
    paths = [root] if root.is_file() else sorted(path for path in root.glob("*") if path.suffix in SUFFIXES)
    if not paths:
        raise DataError(f"{root}: no manifest in it ({', '.join(SUFFIXES)}); name the folder or one file with --root.")
    return paths


def _surveyed_once(tables: Sequence[Sequence[Clip]], preparation: Preparation, what: str) -> Iterator[Survey]:
    """The survey of each table; a clip that is in several (validated.tsv has all) is decoded once."""
    places: dict[tuple[object, ...], int] = {}
    unique: list[Clip] = []
    for clip in (clip for clips in tables for clip in clips):
        if places.setdefault(_looked_at(clip), len(unique)) == len(unique):
            unique.append(clip)
    survey = surveyed(unique, preparation, f"clips of {what}")
    for clips in tables:
        yield survey.only(numpy.array([places[_looked_at(clip)] for clip in clips]))


def _looked_at(clip: Clip) -> tuple[object, ...]:
    return clip.path, clip.seconds, clip.fault


def fill(report: ManifestReport, judgement: Judgement) -> None:
    """What was found, into a report that names the manifest."""
    clips, survey, faults = judgement.clips, judgement.survey, judgement.faults
    usable = [place for place, fault in enumerate(faults) if fault is None]
    characters = Counter(character for place in usable for character in judgement.texts[place])
    rates = Counter(int(rate) for rate in survey.rates if rate)
    report.clips, report.usable, report.left_out = len(clips), len(usable), counted(faults)
    report.speakers = len({clip.speaker for clip in clips if clip.speaker})
    report.hours = float(survey.seconds[usable].sum()) / 3600
    report.longest_seconds = max((float(survey.seconds[place]) for place in usable), default=0.0)
    report.rates, report.characters = dict(sorted(rates.items())), dict(sorted(characters.items()))
    report.dropped = dict(sorted(judgement.dropped.items()))
    report.bad = [
        (clip.name or f"line {clip.line}", fault.kind, fault.reason)
        for clip, fault in zip(clips, faults, strict=True)
        if fault is not None and fault.kind != TOO_LONG
    ]
    if report.bad:
        shown = "; ".join(named(clips, faults))
        report.fault = f"{judgement.manifest}: {len(report.bad)} of {len(clips)} clips are bad: {shown}"
    elif clips and not usable:
        counts = said(report.left_out)
        report.fault = f"{judgement.manifest}: none of its {len(clips)} clips can be used: {counts}"


def write_all(reports: Sequence[ManifestReport], path: Path) -> None:
    """Every bad clip of the reports, one a line: manifest, clip, kind and reason, tab-separated."""
    rows = [
        "\t".join((Path(report.path or report.name).name, *(part.replace("\t", " ") for part in bad)))
        for report in reports
        for bad in report.bad
    ]
    try:
        path.write_text("".join(f"{row}\n" for row in ("manifest\tclip\tkind\treason", *rows)), encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error})", advice="make room, or name another place"
        ) from error


def locale_folder(root: Path, locale: str) -> Path:
    """The first of ROOT/common_voice/LOCALE, ROOT/LOCALE and ROOT that has tables. Raises DataError where none has."""
    folders = (root / FOLDER / locale, root / locale, root)
    for folder in folders:
        if any((folder / table).exists() for table in TABLES):
            return folder
    tables = [*root.glob(f"{FOLDER}/*/train.tsv"), *root.glob("*/train.tsv")]
    others = sorted(path.parent.name for path in tables)
    there = f"; there are the locales {', '.join(others)}" if others else ""
    raise DataError(
        f"{root}: no Common Voice release: neither train.tsv nor validated.tsv in "
        f"{', '.join(map(str, folders))}{there}.\n"
        f"Expected are the tables and a folder {CLIPS} in {folders[0]}. Mozilla gives the corpus out on request "
        f"({ADDRESS}): download it, then `dltrain data fetch common_voice --archive FILE.tar.gz`; "
        "or train on synthetic digits instead (data.when_missing=sample, or --sample)."
    )
