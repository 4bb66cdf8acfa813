"""Tables whose numbers have separators and signs: read as the numbers they are, in every command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dltrain.data.risks import find_risks
from dltrain.data.tables.reader import TableReader
from dltrain.data.tables.table_files import TableFiles
from dltrain.errors import DataError

SIZES = [1018, 7205, 999, 12345, 3333, 2500]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def put(content: str, name: str = "table.csv") -> str:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return put


def table(training: str, assets: Any = None, **options: Any) -> TableFiles:
    kind = options.pop("kind", None)
    chosen = {"target": "y", "validation": 0.0, "test": 0.0, "batch_size": None, **options}
    return TableFiles("table", 0, assets, kind, training=training, **chosen)


def inputs(dataset: TableFiles, split: str = "training") -> tuple[np.ndarray, np.ndarray]:
    batches = list(getattr(dataset, split)().epoch(0))
    return tuple(torch.cat([getattr(b, part) for b in batches]).numpy() for part in ("inputs", "targets"))  # type: ignore[return-value]


def make(texts: list[str], separator: str = ",") -> str:
    quoted = [f'"{text}"' if separator in text else text for text in texts]
    return f"x{separator}y\n" + "".join(f"{text}{separator}{2 * n}\n" for n, text in enumerate(quoted))


PLAIN = make([str(size) for size in SIZES])


@pytest.mark.parametrize(
    ("content", "report"),
    [
        (make([f"{size:,}" for size in SIZES]), "thousands separators, such as '1,018'"),
        (make([f"{size:,}.0" for size in SIZES], ";"), "thousands separators, such as '1,018.0'"),
        (make([f"{size:,}".replace(",", ".") + ",0" for size in SIZES], ";"), "separators and decimal commas, such as"),
        (make([f"$ {size}" for size in SIZES], "\t"), "numbers with currency signs, such as '$ 1018'"),
        (make([f"{size:,} €".replace(",", "\u00a0") for size in SIZES]), "thousands separators and currency signs"),
    ],
)
def test_the_same_numbers_written_in_other_ways(content: str, report: str, write: Callable[..., str]) -> None:
    plain, found = table(write(PLAIN)), table(write(content, "other.csv"))
    for one, other in zip(inputs(plain), inputs(found), strict=True):
        assert np.array_equal(one, other)
    notes = [each for each in found.summarize().treatments if each.option == "data.decimal"]
    assert report in notes[0].what
    assert "format" not in json.dumps(plain.assets)


def test_percent_is_a_hundredth_and_targets_are_read_too(write: Callable[..., str]) -> None:
    dataset = table(write('x,y\n"5%","1,500.5"\n"12.5 %","2,500"\n3%,10\n'), normalize="none", normalize_target="none")
    x, y = inputs(dataset)
    assert x[:, 0].tolist() == pytest.approx([0.05, 0.125, 0.03])
    assert y[:, 0].tolist() == [1500.5, 2500, 10]
    labels = table(write("x,y\n1,5%\n2,10%\n"), kind="labels")
    assert labels.assets["labels"] == ["10%", "5%"]


def test_a_trained_model_reads_by_the_format(write: Callable[..., str]) -> None:
    assets = json.loads(json.dumps(table(write(make([f"{size:,}" for size in SIZES])), normalize="none").assets))
    lines = [
        write('x\n"5,000"\n5000\n', "new.csv"),
        write('{"x": 5000}\n{"x": "5,000"}\n', "new.jsonl"),
        "x=5000",
        '"x=5,000"',
    ]
    read = [each.value for each in TableReader(assets).read(lines, iter(()))]
    assert [row.tolist() for row in read] == [[5000.0]] * 6
    comma = table(write("x;y\n2,5;1\n3,5;2\n1,234;3\n"), normalize="none").assets
    jsonl = write('{"x": 1.234}\n{"x": "1.234"}\n{"x": "2.5"}\n', "more.jsonl")
    exact, thousand, wrong = (each.value for each in TableReader(comma).read([jsonl], iter(())))
    assert exact.tolist() == pytest.approx([1.234])
    assert thousand.tolist() == [1234]
    assert isinstance(wrong, DataError)
    assert "line 3, column 'x': '2.5' is not a number with a decimal comma" in str(wrong)
    assert "data.decimal=point" in str(wrong)


def test_evaluation_reads_by_the_format_and_names_what_conflicts(write: Callable[..., str]) -> None:
    training = write("x;y\n2,5;1,5\n3,5;2\n1,234;3\n")
    assets = table(training).assets
    good = table(training, assets, test=[write("x;y\n7;1\n", "test.csv")])
    assert inputs(good, "test")[1].shape == (1, 1)
    bad = table(training, assets, test=[write("x;y\n7;1\n7.5;1\n", "bad.csv")])
    with pytest.raises(DataError, match=r"bad.csv, line 3, column 'x': '7.5' is not.*\nnext: .*data.decimal=point"):
        bad.test()


def test_an_open_decimal_mark_stops_with_the_option(write: Callable[..., str]) -> None:
    content = "x;y\n1,234;1\n5,678;2\n9,012;3\n"
    with pytest.raises(DataError, match=r"column 'x' \(such as '1,234'\).*\nnext: set data.decimal=point"):
        table(write(content))
    for decimal, first in (("point", 1234), ("comma", 1.234)):
        x, _ = inputs(table(write(content), decimal=decimal, normalize="none"))
        assert x[0, 0] == np.float32(first)
    assert inputs(table(write(content), categorical=["x"]))[0].shape == (3, 3)


@pytest.mark.parametrize(
    "texts", [["1-2", "3-4"], ["2024-01-31", "2024-02-01"], ["612 345 678", "655 111 222"], ["A1", "B2"]]
)
def test_codes_dates_and_phone_numbers_stay_categories(texts: list[str], write: Callable[..., str]) -> None:
    dataset = table(write(make(texts * 2)))
    assert dataset.assets["features"][0]["categories"] == sorted(texts)


def test_a_model_without_formats_reads_as_before(write: Callable[..., str]) -> None:
    assets = table(write(PLAIN)).assets
    (found,) = TableReader(assets).read([write('x\n"5,000"\n', "new.csv")], iter(()))
    assert "'5,000' is not a number" in str(found.value)


def test_points_that_may_separate_thousands_are_warned_of(write: Callable[..., str]) -> None:
    texts = ["812", "50.495", "1.200", "7.001", "9.100", "3.333"]
    found = table(write(make(texts)))
    (column,) = [each for each in found.summarize().columns if each.name == "x"]
    assert column.facts["maybe_thousands"] == "50.495"
    (risk,) = [each for each in find_risks(found, found.summarize()) if "three digits" in each]
    assert risk.endswith("set data.decimal=comma")
    assert inputs(table(write(make(texts)), decimal="comma", normalize="none"))[0][1, 0] == 50495
