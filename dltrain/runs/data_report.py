"""What a run has read: kept in its directory, and printed before it trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dltrain.batch import Batch
from dltrain.data.summary import describe_data
from dltrain.dataset import Dataset
from dltrain.files import write_atomically
from dltrain.observers.console import Messenger
from dltrain.observers.data_report import DATA, format_brief, format_sizes, read_data
from dltrain.runs.directory import Run
from dltrain.stream import Stream


def report_data(run: Run, dataset: Dataset, streams: tuple[Stream[Batch], Stream[Batch]], messenger: Messenger) -> None:
    """Write data.json and print what it says; a run that continues on the same files repeats its first line only.

    `streams` are those of training and validation. The runs of one parent (--seeds, cv, sweep) report once, and after
    that only the risks that are new.
    """
    known = read_data(run.directory)
    if known is not None and run.checkpoint is not None and known["files"] == dict(dataset.fingerprint):
        messenger.describe("data", known, [format_sizes(known)])
        return
    data = describe_data(dataset, *streams)
    reported = _read_siblings(run)
    content = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    write_atomically(run.directory / DATA, content.encode(errors="backslashreplace"))  # an escape of JSON
    if not reported:
        messenger.describe("data", data, format_brief(data))
    for risk in data["risks"]:
        if not any(risk in other["risks"] for other in reported):
            messenger.warn(risk)


def _read_siblings(run: Run) -> list[Mapping[str, Any]]:
    """The data of the other runs of the same parent, if the run has one."""
    parent = run.directory.parent
    if not (parent / "summary.json").exists():
        return []
    found = [read_data(path.parent) for path in sorted(parent.glob(f"*/{DATA}")) if path.parent != run.directory]
    return [data for data in found if data is not None]
