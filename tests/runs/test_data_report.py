"""What a run has read is printed before it trains, and kept in data.json and report.html."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.data.risks import find_risks
from dltrain.dataset import ColumnSummary, DataSummary, SplitSummary, Treatment
from dltrain.observers.data_report import format_brief
from dltrain.runtime.interrupts import Interrupts
from support.commands import good
from support.runs import Recorded, StopAt, run_once

PLUGIN = '''
import numpy
import torch
from dltrain.batch import Examples
from dltrain.data.batching import IndexedBatches
from dltrain.dataset import ColumnSummary, DataSummary, SplitSummary, Treatment
from dltrain.registry import datasets
from dltrain.stream import Loader

class Points:
    def __init__(self, name, seed, assets):
        self.name, self.notice = name, None
        self.assets = {"inputs": ["x"], "labels": ["a", "b"]}
        self.fingerprint = {"points.csv": "0" * 64}

    def _load(self, count):
        inputs = torch.arange(count, dtype=torch.float32)[:, None] % 7
        return Loader(IndexedBatches(count, 8, lambda _, at: Examples(inputs[at], (inputs[at, 0] > 3).long())))

    def training(self):
        return self._load(64)

    def validation(self):
        return self._load(32)

    def test(self):
        raise AssertionError("the test files are closed while training")

@datasets.register("plain_points", data="table")
class PlainPoints(Points):
    """Points."""

@datasets.register("points", data="table")
class SummarizedPoints(Points):
    """Points."""

    def summarize(self):
        return DataSummary(
            unit="points",
            division="shares drawn with seed 0",
            splits=(
                SplitSummary(name="training", examples=64, files=("points.csv",), classes={"a": 40, "b": 24}),
                SplitSummary(name="validation", examples=32, classes={"a": 32}),
                SplitSummary(name="test", examples=None, files=("later.csv",)),
            ),
            columns=(
                ColumnSummary(name="x", role="input", kind="numbers", facts={"mean": numpy.float64(3.0)}),
                ColumnSummary(name="city", role="input", kind="categories", facts={"distinct": 12}),
                ColumnSummary(name="y", role="target", kind="labels"),
                ColumnSummary(name="old", role="ignored", kind="numbers"),
            ),
            treatments=(Treatment(what="cut after 400 words", count=20, total=64, option="data.max_tokens"),),
            facts={"longest gap": "50 hours", "step": float("nan")},
        )

    def identities(self, split):
        return numpy.arange({"training": 64, "validation": 32}[split], dtype=numpy.uint64)
'''
BRIEF = [
    "data: points, 96 points",
    "splits: 64 training, 32 validation, test not read yet (shares drawn with seed 0)",
    "classes: 'a' 40, 'b' 24",
    "columns: 1 number; 1 category (city 12); target: y (labels); ignored: old",
    "facts: longest gap 50 hours",
    "note: cut after 400 words: 20 of 64 (data.max_tokens)",
]
ABSENT = "the validation split has no example of 'b'"
COPIES = "32 of 32 validation points (100%) are in the training split too"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "points.py").write_text(PLUGIN)
    path = tmp_path / "points.yaml"
    path.write_text(
        "plugins: [points.py]\ntask: tabular_classification\ndata: points\nmodel: dense\n"
        "trainer: {epochs: 2, device: cpu, threads: 1}\n"
    )
    return path


def test_it_is_printed_and_kept(config: Path, tmp_path: Path) -> None:
    result = good("fit", config, "-o", tmp_path / "run")
    lines = result.stderr.splitlines()
    start = lines.index(BRIEF[0])
    assert lines[start : start + 4] == BRIEF[:4]
    assert lines[start + 5] == BRIEF[5]
    assert lines[start + 6].startswith(f"warning: {ABSENT}")
    assert lines[start + 7].startswith(f"warning: {COPIES}")
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert data["name"] == "points"
    assert data["files"] == {"points.csv": "0" * 64}
    assert data["columns"][0]["facts"] == {"mean": 3.0}
    assert data["facts"]["step"] is None
    assert len(data["risks"]) == 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert ">Data</h2>" in page
    for shown in (
        "points.csv",
        "cut after 400 words",
        "20 of 64",
        "city",
        "50 hours",
        "not read yet",
        ABSENT[:20],
    ):
        assert shown in page


def test_quiet_prints_warnings_alone(config: Path, tmp_path: Path) -> None:
    lines = good("fit", config, "-o", tmp_path / "run", "--quiet").stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "warning"]


def test_json_holds_it_as_an_object(config: Path, tmp_path: Path) -> None:
    result = good("fit", config, "-o", tmp_path / "run", "--json-logs")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    (described,) = [event for event in events if event["event"] == "data"]
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    assert described == {"event": "data", **kept}
    assert json.loads(result.stdout)["data_read"] == kept


def test_a_resumed_run_repeats_one_line(config: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="stopped by the test"):
        run_once(config, tmp_path / "run", StopAt(12))
    kept = (tmp_path / "run" / "data.json").read_bytes()
    resumed = Recorded()
    run_once(config, tmp_path / "run", Interrupts(), messenger=resumed)
    assert [line for line in resumed.lines if line.startswith(("data", "classes", "note", "columns"))] == [
        "data: points, 96 points: 64 training, 32 validation, test not read yet"
    ]
    assert not [line for line in resumed.lines if line.startswith("warning")]
    assert (tmp_path / "run" / "data.json").read_bytes() == kept


@pytest.mark.slow
def test_several_runs_report_once(config: Path, tmp_path: Path) -> None:
    shown = good("fit", config, "--seeds", "0,1", "-o", tmp_path / "runs").stderr
    assert shown.count(BRIEF[2]) == 1
    assert shown.count(ABSENT) == 1
    assert (tmp_path / "runs" / "seed-1" / "data.json").exists()


def test_a_dataset_that_does_not_summarise_shows_its_batches(config: Path, tmp_path: Path) -> None:
    lines = good("fit", config, "-o", tmp_path / "run", "--set", "data.name=plain_points").stderr.splitlines()
    assert "data: plain_points, 12 batches: 8 training, 4 validation" in lines
    assert not [line for line in lines if line.startswith("warning")]


def test_what_is_printed_changes_no_byte_of_training(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good("fit", config, "-o", tmp_path / "reported")
    monkeypatch.setattr("dltrain.runs.training.report_data", lambda *_: None)
    good("fit", config, "-o", tmp_path / "silent")
    for name in ("metrics.jsonl", "last/weights.safetensors", "last/state.json"):
        assert (tmp_path / "reported" / name).read_bytes() == (tmp_path / "silent" / name).read_bytes()


def plain(**facts: Any) -> dict[str, Any]:
    splits = (SplitSummary(name="training", examples=256, classes=facts.pop("classes", {})),)
    return {"name": "mine", **DataSummary(splits=splits, **facts).to_plain()}


def test_many_of_anything_stay_within_eighty_columns() -> None:
    columns = tuple(
        ColumnSummary(name=f"a rather long name {index}", role=role, kind="categories", facts={"distinct": index})
        for index, role in enumerate(["input"] * 30 + ["ignored"] * 30)
    )
    treatments = tuple(Treatment(what=f"kind {index}", count=index, total=10) for index in range(7))
    classes = {f"class {index}": 7 + index for index in range(5000)}
    facts = {f"fact {index}": 1.5 for index in range(30)}
    lines = format_brief(plain(columns=columns, treatments=treatments, classes=classes, facts=facts))
    assert len(lines) == 8
    assert lines[2].endswith("; ignored: 30 columns")
    assert max(map(len, lines)) <= 80
    assert lines[1] == "classes: 5,000 (rarest 'class 0' 7, most common 'class 4999' 5,006 in training)"
    assert lines[-1] == "note: 3 more notes are in data.json"


ROWS = 100
SUMMARY = DataSummary(
    unit="rows",
    splits=(
        SplitSummary(name="training", examples=ROWS, classes={"a": 50, "b": 50}),
        SplitSummary(name="validation", examples=40, classes={"a": 20, "b": 20}),
    ),
    columns=(
        ColumnSummary(name="x", role="input", kind="numbers", facts={"distinct": ROWS, "correlation": 0.99}),
        ColumnSummary(name="y", role="target", kind="labels", facts={"distinct": 2}),
    ),
)


class Unidentified:
    """A dataset without identities."""


def risks(summary: DataSummary, dataset: object = Unidentified()) -> list[str]:
    found: list[str] = find_risks(dataset, summary)  # type: ignore[arg-type]
    return found


def with_column(name: str, kind: str = "numbers", role: str = "input", **facts: Any) -> DataSummary:
    return replace(SUMMARY, columns=(*SUMMARY.columns, ColumnSummary(name=name, role=role, kind=kind, facts=facts)))


def with_splits(training: dict[str, int], validation: dict[str, int]) -> DataSummary:
    splits = (
        SplitSummary(name="training", examples=sum(training.values()), classes=training),
        SplitSummary(name="validation", examples=sum(validation.values()), classes=validation),
    )
    return replace(SUMMARY, splits=splits)


def test_ordinary_data_has_no_risk() -> None:
    assert risks(SUMMARY) == []
    for harmless in (
        with_column("id", distinct=60),
        with_column("id", role="ignored", distinct=ROWS),
        with_column("idea", distinct=ROWS),
        with_column("year", distinct=ROWS),
        with_column("z", correlation=1 - 1e-6),
        with_column("city", "categories", distinct=90, determines_target=True),
        with_column("city", "categories", distinct=5, determines_target=False),
    ):
        assert risks(harmless) == []


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (with_splits({"a": 50, "b": 50}, {"a": 2, "b": 2}), "only 4 rows: accuracy moves in steps of 0.25; raise"),
        (with_splits({"a": 50, "b": 50}, {"a": 40}), "validation split has no example of 'b': its scores say nothing"),
        (with_splits({"a": 50}, {"a": 40, "b": 2}), "the training split has no example of 'b'"),
        (with_splits({"a": 50}, {"a": 40}), "all training rows are of one class"),
        (with_splits({"a": 850, "b": 50, "c": 100}, {"a": 85, "b": 5, "c": 10}), "17 times as many rows of 'a'"),
        (with_column("v", role="target", distinct=1), "the target 'v' is the same in all training rows"),
        (with_column("copy", correlation=-1.0, distinct=ROWS), "'copy' gives 'y' away: its correlation with it is -1"),
        (with_column("city", "categories", distinct=5, determines_target=True), "'city' gives 'y' away: each of its"),
        (with_column("customer_id", distinct=ROWS), "column 'customer_id' numbers the rows"),
        (with_column("Unnamed: 0", distinct=ROWS), "column 'Unnamed: 0' numbers the rows"),
        (with_column("name", "categories", distinct=ROWS), "column 'name' has another category in each"),
        (with_column("size", "categories", distinct=9, numbers_as="1,234"), "its texts are numbers, such as '1,234'"),
    ],
)  # fmt: skip
def test_a_risk_is_one_line(summary: DataSummary, message: str) -> None:
    found = [risk for risk in risks(summary) if message in risk]
    assert len(found) == 1, risks(summary)
    assert "\n" not in found[0]


def test_a_single_column_that_fits_exactly_is_what_a_user_may_want() -> None:
    columns = (ColumnSummary(name="x", role="input", kind="numbers", facts={"correlation": 1.0}),)
    assert risks(replace(SUMMARY, columns=columns)) == []


class Repeating:
    """A dataset of which two in three validation examples are in training as well."""

    def identities(self, split: str) -> Any:
        return numpy.arange(100 if split == "training" else 60, dtype=numpy.uint64) + 60 * (split == "validation")


def test_copies_are_counted() -> None:
    (found,) = risks(SUMMARY, Repeating())
    assert found.startswith("40 of 60 validation rows (67%) are in the training split too")


@pytest.mark.parametrize(("distinct", "known"), [(3, True), (90, False)])
def test_rows_of_few_values_repeat_by_nature(distinct: int, known: bool) -> None:
    """Training has 100 rows, each twice unless they hold measurements; validation has copies of them."""

    class Often(Unidentified):
        def identities(self, split: str) -> Any:
            if split == "training":
                return numpy.arange(100, dtype=numpy.uint64) // (2 if distinct == 3 else 1)
            return numpy.arange(40, dtype=numpy.uint64)

    facts = {"distinct": distinct}
    columns = (ColumnSummary(name="x", role="input", kind="numbers", facts=facts),)
    assert (risks(replace(SUMMARY, columns=columns), Often()) == []) == known


@pytest.mark.parametrize(("unit", "known"), [("rows", False), ("lines", True), ("windows", True)])
def test_some_copies_are_usual_of_lines_and_windows(unit: str, known: bool) -> None:
    """A tenth of the validation examples are in training too."""

    class Sometimes(Unidentified):
        def identities(self, split: str) -> Any:
            return numpy.arange(100 if split == "training" else 40, dtype=numpy.uint64) + 96 * (split == "validation")

    assert (risks(replace(SUMMARY, unit=unit), Sometimes()) == []) == known


def test_the_advice_fits_a_share_and_files_of_its_own() -> None:
    training = SplitSummary(name="training", examples=100, files=("all.csv",))
    for files, advice in ((("all.csv",), "raise data.validation"), (("held.csv",), "add some to its files")):
        validation = SplitSummary(name="validation", examples=5, files=files)
        (found,) = risks(DataSummary(unit="rows", splits=(training, validation)))
        assert found.endswith(advice)
