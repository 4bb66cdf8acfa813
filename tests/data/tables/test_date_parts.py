"""Dates in tables: their parts as inputs, in training, in later files and in predictions, and every fault of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dltrain.data.tables.reader import TableReader
from dltrain.data.tables.table_files import TableFiles
from dltrain.errors import DataError, UsageError

MOMENTS = [datetime(2023, 11, 5, 6, 30) + timedelta(days=37 * n, hours=5 * n) for n in range(12)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def put(form: str, moments: list[Any] = MOMENTS, name: str = "table.csv") -> str:
        rows = [f"{each if isinstance(each, str) else each.strftime(form)},{n}" for n, each in enumerate(moments)]
        (tmp_path / name).write_text("\n".join(["sold,price", *rows]) + "\n", encoding="utf-8")
        return str(tmp_path / name)

    return put


def table(training: str, assets: Any = None, **options: Any) -> TableFiles:
    chosen = {"target": "price", "validation": 0.0, "test": 0.0, "batch_size": None, "normalize": "none", **options}
    return TableFiles("table", 0, assets, training=training, **{"dates": ["sold"], **chosen})


def read_inputs(dataset: TableFiles, split: str = "training") -> dict[str, list[float]]:
    rows = torch.cat([batch.inputs for batch in getattr(dataset, split)().epoch(0)]).numpy()
    return dict(zip(dataset.assets["inputs"], rows.T.tolist(), strict=True))


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p"])
def test_a_date_becomes_its_parts_as_datetime_computes_them(write: Callable[..., str], form: str) -> None:
    found = read_inputs(table(write(form)))
    for n, moment in enumerate(MOMENTS):
        assert found["sold year"][n] == moment.year
        assert found["sold day"][n] == moment.day
        days = (moment - datetime(1970, 1, 1)) / timedelta(days=1)
        assert found["sold days"][n] == pytest.approx(days, rel=1e-7)
        for part, text in (("month", "%m %B"), ("weekday", "%u %A"), ("hour", "%H:00")):
            hot = [name for name, column in found.items() if name.startswith(f"sold {part}=") and column[n] == 1]
            assert hot == [f"sold {part}={moment.strftime(text)}"]


def test_only_parts_that_differ_are_read_or_those_that_are_named(write: Callable[..., str]) -> None:
    days = [datetime(2024, 3, day) for day in (1, 8, 15)]  # three Fridays of one month
    file = write("%Y-%m-%d", days)
    assert table(file).assets["inputs"] == ["sold day", "sold days"]
    assert table(file, date_parts=["weekday"]).assets["inputs"] == ["sold weekday=5 Friday"]
    assert table(file, ignore=["sold days", "sold hour"]).assets["inputs"] == ["sold day"]


def test_later_files_and_predictions_get_the_parts_that_training_had(write: Callable[..., str]) -> None:
    later = write("%d/%m/%Y", [datetime(2024, 5, 4), datetime(2024, 5, 6)], "later.csv")  # open by themselves
    dataset = table(write("%d/%m/%Y"), test=[later], date_parts=["month", "day"], missing="mean")
    assert read_inputs(dataset, "test")["sold day"] == [4, 6]
    assets = json.loads(json.dumps(dataset.assets))
    again = read_inputs(table(write("%d/%m/%Y"), assets, test=[later], ignore=["sold days"]), "test")
    assert again["sold day"] == [4, 6]
    reader = TableReader(assets)
    (one,) = reader.read(["sold=06/05/2024"], iter(()))
    names = dataset.assets["inputs"]
    assert one.value[names.index("sold day")] == 6
    assert one.value[names.index("sold month=05 May")] == 1
    (missing,) = reader.read(["sold="], iter(()))
    assert missing.value[names.index("sold day")] == pytest.approx(np.mean([moment.day for moment in MOMENTS]))
    (bad,) = reader.read(["sold=yesterday"], iter(()))
    assert isinstance(bad.value, DataError)
    assert "'yesterday' is not a date" in str(bad.value)
    (absent,) = reader.read(["price=1"], iter(()))
    assert isinstance(absent.value, DataError)
    assert "no column 'sold'" in str(absent.value)


def test_copies_of_rows_are_recognised_in_a_later_file(write: Callable[..., str]) -> None:
    dataset = table(write("%Y-%m-%d"), test=[write("%Y-%m-%d", name="copy.csv")])
    read_inputs(dataset), read_inputs(dataset, "test")
    assert sorted(dataset.identities("training")) == sorted(dataset.identities("test"))
    assert set(dataset.show_raw("training", [0])[0]) == {"sold", "price"}
    roles = {column.name: column.role for column in dataset.summarize().columns}
    assert roles["sold"] == "dates"
    assert roles["sold year"] == "input"


def test_faults_of_dates_name_the_line_and_the_option(write: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=r"line 3, column 'sold': 'soon' is not a date that starts with the year"):
        table(write("%Y-%m-%d", [MOMENTS[0], "soon", *MOMENTS[2:]]))
    with pytest.raises(
        DataError, match="does not show whether its dates start with the day or the month"
    ) as open_order:
        table(write("%d/%m/%Y", [datetime(2024, 5, 4), datetime(2024, 5, 6)]))
    assert open_order.value.advice == "set data.date_order=day or data.date_order=month"
    file = write("%d/%m/%Y", [datetime(2024, 5, 4), datetime(2024, 5, 6)])
    assert read_inputs(table(file, date_order="day"))["sold day"] == [4, 6]
    with pytest.raises(UsageError, match="no column 'sald'"):
        table(write("%Y-%m-%d"), dates=["sald"])
    with pytest.raises(UsageError, match=r"data.dates: 'sold' is the target"):
        table(write("%Y-%m-%d"), target="sold")
