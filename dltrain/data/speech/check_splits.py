"""The report of `dltrain data check CONFIG`: each split as a config takes it, not each table as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dltrain.data.speech.check import ManifestReport, fill_report, write_bad_clips
from dltrain.data.speech.dataset import SpokenClips
from dltrain.data.speech.sources import Split
from dltrain.errors import DataError, UsageError


class UnlearnedClips(SpokenClips):
    """Spoken clips to check only: no clip is too bad to build them, since nothing is learned."""

    def _learn(self) -> None:
        pass


def check_splits(
    name: str, seed: int, options: Mapping[str, Any], output: Path | None
) -> tuple[str | None, Sequence[ManifestReport]]:
    """Report what training leaves out of each split, and the data's notice; a table that cannot be read is a fault.

    All bad clips are listed in the file `output`. Raises UsageError, and DataError if tables to train on are missing.
    """
    try:
        dataset = UnlearnedClips(name, seed, None, **options)
    except ValueError as error:
        raise UsageError(f"dataset '{name}': {error}", advice="change its options in the config") from error
    splits: tuple[Split, ...] = ("training", "validation", "test")
    reports = []
    for split in splits:
        path = dataset.source.locate_manifest(split)
        if path is None:
            continue
        report = ManifestReport(split, str(path))
        try:
            fill_report(report, dataset.check_clips(split))
        except DataError as error:
            report.fault = str(error)
        report.fault = report.fault and f"{split}: {report.fault}"  # two splits may share one table
        reports.append(report)
    if output is not None:
        write_bad_clips(reports, output)
    return dataset.notice, reports
