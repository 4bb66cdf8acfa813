"""What a run has read: its data's summary, hashes and risks, as plain values that are printed and kept."""

from __future__ import annotations

from typing import Any

from dltrain.batch import Batch
from dltrain.data.risks import find_risks
from dltrain.dataset import Dataset, DataSummary, SplitSummary, Summarizes
from dltrain.stream import Stream


def describe_data(dataset: Dataset, training: Stream[Batch], validation: Stream[Batch]) -> dict[str, Any]:
    """Name, notice, summary, the hash of each file read and the risks, as plain JSON; `data.json` holds it.

    A dataset that does not summarise is described by the number of its batches. No file of the test split is opened.
    """
    known = isinstance(dataset, Summarizes)
    summary = dataset.summarize() if isinstance(dataset, Summarizes) else _count_batches(training, validation)
    return {
        "name": dataset.name,
        "notice": dataset.notice,
        **summary.to_plain(),
        "files": dict(dataset.fingerprint),
        "risks": find_risks(dataset, summary) if known else [],
    }


def _count_batches(training: Stream[Batch], validation: Stream[Batch]) -> DataSummary:
    splits = (
        SplitSummary(name="training", examples=len(training)),
        SplitSummary(name="validation", examples=len(validation)),
    )
    return DataSummary(unit="batches", splits=splits)
