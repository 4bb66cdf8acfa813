"""The report of `dltrain data check CONFIG`: each split as a config takes it, not each table as it lies there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dltrain.data.speech.check import ManifestReport, fill, write_all
from dltrain.data.speech.common_voice import Split, SpokenClips
from dltrain.errors import DataError, UsageError


class UnlearnedClips(SpokenClips):
    """Spoken clips that are to be judged only: with bad ones, too, they are built."""

    def _learn(self) -> None:
        pass


def split_reports(dataset: UnlearnedClips, output: Path | None = None) -> list[ManifestReport]:
    """A report on each split, by the decisions of a training; a split whose table cannot be read is a fault.

    All bad clips are listed in the file `output`.
    """
    splits: tuple[Split, ...] = ("training", "validation", "test")
    reports = []
    for split in splits:
        path = dataset.manifest(split)
        if path is None:
            continue
        report = ManifestReport(split, str(path))
        try:
            fill(report, dataset.judgement(split))
        except DataError as error:
            report.fault = str(error)
        report.fault = report.fault and f"{split}: {report.fault}"  # two splits may be of one table
        reports.append(report)
    if output is not None:
        write_all(reports, output)
    return reports


def unlearned(name: str, seed: int, options: Mapping[str, Any]) -> UnlearnedClips:
    """The clips of a config's section `data`. Raises UsageError, and DataError where tables to train on are missing."""
    try:
        return UnlearnedClips(name, seed, None, **options)
    except ValueError as error:
        raise UsageError(f"dataset '{name}': {error}", advice="change its options in the config") from error
