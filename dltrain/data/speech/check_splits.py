"""The report of `dltrain data check CONFIG` on the splits of recorded speech."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dltrain.data.progress import UNREADABLE
from dltrain.data.speech import check
from dltrain.data.speech.dataset import SpokenClips
from dltrain.data.speech.sources import SPLITS, Split
from dltrain.data.wording import join_some
from dltrain.errors import DataError, UsageError

_NAMED = 2


class UnlearnedClips(SpokenClips):
    """Spoken clips to check only: no clip is too bad to build them, since nothing is learned."""

    def _learn(self) -> None:
        pass


def check_splits(
    name: str, seed: int, options: Mapping[str, Any], output: Path | None
) -> tuple[str | None, Sequence[check.ManifestReport]]:
    """Report what training leaves out of each split, and the data's notice; a table that cannot be read is a fault.

    All bad clips are listed in the file `output`. Raises UsageError, and DataError if tables to train on are missing.
    """
    try:
        dataset = UnlearnedClips(name, seed, None, **options)
    except ValueError as error:
        raise UsageError(f"dataset '{name}': {error}", advice="change its options in the config") from error
    reports: list[check.ManifestReport] = []
    read: dict[Split, check.CheckedClips] = {}
    for split in SPLITS:
        if (path := dataset.source.locate_manifest(split)) is None:
            continue
        report = check.ManifestReport(split, str(path))
        try:
            read[split] = dataset.check_clips(split)
            check.fill_report(report, read[split], dataset.assets["sample_rate_hz"])
            report.notes += describe_shared(dataset, read, split)
        except DataError as error:
            report.fault = str(error)
        report.fault = report.fault and f"{split}: {report.fault}"  # two splits may share one table
        reports.append(report)
    if output is not None:
        check.write_bad_clips(reports, output)
    return dataset.notice, reports


def describe_shared(dataset: SpokenClips, read: Mapping[Split, check.CheckedClips], split: Split) -> Iterator[str]:
    """Describe the clips and the speakers of a split that are in an earlier one too: it is no test of new ones."""
    for other, before in read.items():
        if other == split:
            return
        known = {dataset.digest_of(clip): clip.name for clip in before.clips}
        known.pop(UNREADABLE, None)
        found = [(clip.name, known.get(dataset.digest_of(clip))) for clip in read[split].clips]
        where = f"are in the {other} split too"
        if same := [f"{name} is {first}" for name, first in found if first is not None]:
            yield f"{len(same)} of {len(found)} clips {where} ({join_some(same, _NAMED)})"
        speakers = {clip.speaker for clip in read[split].clips} - {""}
        if shared := sorted(speakers & {clip.speaker for clip in before.clips}):
            yield f"{len(shared)} of {len(speakers)} speakers {where} ({join_some(shared, _NAMED)})"
