"""Everything that a run directory knows of its run, read for the report. No tensor is read, and no torch imported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dltrain.core.checkpoint import WEIGHTS, Checkpoints, rank_checkpoints
from dltrain.core.verdict import list_remarks, read_baseline_scores
from dltrain.observers.data_report import read_data
from dltrain.runs.directory import ENVIRONMENT
from dltrain.runs.listing import ListedRun
from dltrain.runs.run_facts import is_special, read_facts, read_json, read_json_lines

REPORT = "report.html"
FINDINGS = "findings"
"""The folder in a run directory with a JSON file for each split that was evaluated."""

Findings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunContents:
    """What a report shows. `findings` and `evaluations` by split are of the best weights alone."""

    run: ListedRun
    data: Mapping[str, Any] | None
    baselines: Mapping[str, Mapping[str, float | None]]
    remarks: Sequence[str]
    processes: Sequence[Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    best: Mapping[str, Mapping[str, Any]]
    findings: Mapping[str, Findings]
    solved: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        return self.run.state == "running"


def read_contents(directory: Path, *, ours: bool = False) -> RunContents:
    """Read a run directory, whatever it lacks. `ours`: this process holds its lock, and has ended its training.

    Raises what reading a damaged run raises.
    """
    name = name_run(directory)
    run = ListedRun(name=name, path=directory, **read_facts(directory, ours=ours))
    sound = [one for one in Checkpoints(directory / "checkpoints") if one.visible_fault is None]
    last = sound[-1] if sound else None
    record = None if last is None else last.read_record()
    chosen = next(iter(rank_checkpoints(sound)), last)
    weights = None if chosen is None else chosen.manifest["files"][WEIGHTS]["sha256"]
    evaluations = read_json_lines(directory / "evaluations.jsonl")
    plain = [one for one in evaluations if one.get("weights_sha256") == weights and not is_special(one)]
    data = read_data(directory)
    remarks: list[str] = []
    if record is not None and last is not None:
        remarks = [*([record.notice] if record.notice else []), *list_remarks(directory, record, last.goal, data)]
    return RunContents(
        run=run,
        data=data,
        baselines=read_baseline_scores(directory),
        remarks=remarks,
        processes=[one for one in read_json(directory / ENVIRONMENT, []) if isinstance(one, dict)],
        steps=read_json_lines(directory / "metrics.jsonl", b'{"event": "step"'),
        evaluations=evaluations,
        best={one["split"]: one for one in plain if "split" in one},
        findings=read_findings(directory, weights),
        solved=None if record is None else record.solved,
        facts={} if record is None else record.facts,
    )


def read_findings(directory: Path, weights: str | None) -> dict[str, Findings]:
    """By split what was found with these weights, the test split first."""
    found: dict[str, Findings] = {}
    for split in ("test", "validation"):
        findings = read_json(directory / FINDINGS / f"{split}.json", None)
        if isinstance(findings, dict) and weights is not None and findings.get("weights_sha256") == weights:
            found[split] = findings
    return found


def write_findings(directory: Path, split: str, findings: Findings) -> None:
    """Keep what was found on a split in the run directory."""
    from dltrain.files import write_atomically

    (directory / FINDINGS).mkdir(exist_ok=True)
    # Bytes of a name that are not UTF-8 become escapes of JSON.
    content = json.dumps(findings, separators=(",", ":"), ensure_ascii=False) + "\n"
    write_atomically(directory / FINDINGS / f"{split}.json", content.encode(errors="backslashreplace"))


def name_run(directory: Path) -> str:
    """The name of a run directory, with its parent's in front where that is a parent of runs, or no plain `runs`."""
    path = directory.resolve()
    return path.name if path.parent.name in ("runs", "") else f"{path.parent.name}/{path.name}"
