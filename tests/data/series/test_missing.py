"""Series with missing values: every fault in one report, values repeated where asked for, and their number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.files import read_series
from dltrain.data.series.reader import SeriesReader
from dltrain.dataset import SplitName
from dltrain.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def dataset(root: Path, assets: dict[str, object] | None = None, **options: object) -> SeriesWindows:
    return SeriesWindows("s", 0, assets, file="s.csv", root=str(root), window=4, **options)  # type: ignore[arg-type]


def write_gappy(root: Path) -> pandas.DataFrame:
    """100 rows of two columns; every seventh value of the first is missing, in several spellings, and two of b."""
    spellings = ["", "NaN", "null", " NA ", "?", "None"]
    rows = [
        [spellings[n // 7 % 6] if n % 7 == 3 else f"{n * n % 11}", " " if n in (50, 51) else f"{n % 5}.5"]
        for n in range(100)
    ]
    write(root / "s.csv", "a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    return pandas.read_csv(root / "s.csv", na_values=["?", " NA ", " "])


def test_one_report_names_every_column_with_faults(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "day,a,b,c\n2024-01-01,1,,x\n2024-01-02,,2,3\n2024-01-03,4,nan,inf\n")
    with pytest.raises(DataError) as caught:
        read_series(path, None, None)
    assert str(caught.value) == (
        f"{path}: 4 faults\n"
        "  column 'day' holds dates\n"
        "  column 'a': no value in 1 of 3 rows, the first in line 3\n"
        "  column 'b': no value in 2 of 3 rows, the first in line 2\n"
        "  column 'c': 2 of 3 values are not a number, the first is 'x' in line 2\n"
        "next: set data.time=day; set data.missing=previous to repeat the value before; remove the rows before the "
        "first value of each column; correct the values, or name the columns to read in data.columns"
    )
    with pytest.raises(DataError) as caught:
        read_series(path, ["a", "b"], "day")
    assert str(caught.value).endswith("; remove the rows before the first value of each column")


def test_a_single_fault_has_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "a,b\n1,2\n3,\n")
    with pytest.raises(DataError, match=r"column 'b': no value in 1 of 2 rows, the first in line 3\nnext: .*=previous"):
        read_series(path, None, None)


def test_missing_values_are_those_before_them(tmp_path: Path) -> None:
    frame = write_gappy(tmp_path)
    data = dataset(tmp_path, missing="previous")
    assert np.array_equal(data.series.values, frame.ffill().to_numpy())
    a, b = frame.isna().sum()
    treatments = {each.what: each for each in data.summarize().treatments}
    found = treatments["missing values of 'a': repeat the one before"]
    assert (found.count, found.total, found.option) == (a, 100, "data.missing")
    assert treatments["missing values of 'b': repeat the one before"].count == b
    training = frame[: data.borders.validation].isna().sum()
    assert [column.facts["missing"] for column in data.summarize().columns] == training.tolist()


def test_scores_against_repeated_values_are_reported(tmp_path: Path) -> None:
    frame = write_gappy(tmp_path)
    data = dataset(tmp_path, missing="previous", target=["a"])
    data.training(), data.validation(), data.test()
    splits: tuple[SplitName, ...] = ("validation", "test")
    for split in splits:
        first, end = data.borders.rows(split)
        count = int(frame["a"][first:end].isna().sum())
        assert f"{count} of 10 {split} values of 'a' are missing in the file" in str(data.notice)
    assert "'b'" not in str(data.notice)


def test_the_first_value_has_none_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "a,b\n,1\nna,2\n3,4\n")
    with pytest.raises(
        DataError, match=r"column 'a': no value in the first 2 of 3 rows, and none before them"
    ) as caught:
        read_series(path, None, None, missing="previous")
    assert "remove the rows before the first value" in str(caught.value)
    path = write(tmp_path / "s.csv", "a,b\n,1\nna,2\n,4\n")
    with pytest.raises(DataError, match=r"column 'a': no value in any row"):
        read_series(path, None, None, missing="previous")


def test_numbers_with_signs_and_missing_values(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", 'a\n"1,234.5"\n\n-2\nn/a\n$3\n')
    series = read_series(path, None, None, missing="previous")
    assert series.values[:, 0].tolist() == [1234.5, 1234.5, -2, -2, 3]
    with pytest.raises(DataError, match=r"column 'a': no value in 2 of 5 rows, the first in line 3"):
        read_series(path, None, None)


def test_jsonl_and_arrays(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", '{"a": 1.5, "b": 1}\n{"a": null, "b": 2}\n')
    assert read_series(path, None, None, missing="previous").values[:, 0].tolist() == [1.5, 1.5]
    with pytest.raises(DataError, match="column 'a': no value in 1 of 2 rows, the first in line 2"):
        read_series(path, None, None)
    path = tmp_path / "s.npz"
    np.savez(path, a=np.array([1, np.nan, np.nan, 4]), b=np.array([1.0, 2, np.nan, 3]))
    with pytest.raises(DataError) as caught:
        read_series(path, None, None)
    assert "  'a': no value in 2 of 4 rows, the first in item 1\n" in str(caught.value)
    series = read_series(path, None, None, missing="previous")
    assert series.values.tolist() == [[1, 1], [1, 2], [1, 2], [4, 3]]
    assert series.filled is not None
    assert series.filled.sum(0).tolist() == [2, 1]


def test_predict_repeats_values_as_training_did_and_counts_them(tmp_path: Path) -> None:
    write_gappy(tmp_path)
    assets = json.loads(json.dumps(dataset(tmp_path, missing="previous").assets))
    new = write(tmp_path / "new.csv", "a,b\n7,9\n1,2\n,3\n3,\n4,\n")
    full = write(tmp_path / "full.csv", "a,b\n1,2\n1,3\n3,3\n4,3\n")
    reader = SeriesReader(assets)
    read, same = reader.read([str(new), str(full)], iter(()))
    assert np.array_equal(np.asarray(read.value), np.asarray(same.value))
    assert reader.notes() == (
        f"{new}: 3 of 8 values of the last window are missing, and repeat the one before (data.missing=previous)",
    )
    (held,) = reader.read_values([{"a": [7, 1, np.nan, 3, 4], "b": [9, 2, 3, np.nan, np.nan]}])
    assert np.array_equal(np.asarray(held.value), np.asarray(same.value))
    plain = SeriesReader({name: value for name, value in assets.items() if name != "missing"})
    (refused,) = plain.read([str(new)], iter(()))
    assert "2 faults" in str(refused.value)
    assert str(refused.value).endswith("next: fill them in, or train with data.missing=previous")
