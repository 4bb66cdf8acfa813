"""Series: files, splits in time, windows, folds, the sample, the reader; each fault with its text."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit
from torch import Tensor

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.files import read_eeg, read_series
from dltrain.data.series.reader import SeriesReader
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold

LONGEST = 100


def write_series(path: Path, rows: int = LONGEST) -> Path:
    """Columns n and twice n + 5, and the day, for n = 0, 1, ..."""
    lines = ["day,n,twice", *(f"2024-01-01T{n // 60:02}:{n % 60:02},{n},{2 * n + 5}" for n in range(rows))]
    path.write_text("\n".join(lines) + "\n")
    return path


def dataset(root: Path, assets: dict[str, Any] | None = None, **options: Any) -> SeriesWindows:
    options = {"file": "s.csv", "root": str(root), "columns": ["n", "twice"], "window": 4, **options}
    return SeriesWindows("series", 0, assets, **options)


def in_units(data: SeriesWindows, values: Tensor, columns: Sequence[str]) -> Tensor:
    """Standardised values (..., columns) as they stand in the file, rounded."""
    places = [data.assets["columns"].index(name) for name in columns]
    mean, std = (torch.tensor(data.assets[name])[places] for name in ("mean", "std"))
    return (values * std + mean).round().to(torch.int64)


def windows(data: SeriesWindows, stream: Any, epoch: int = 0) -> list[tuple[list[int], list[int]]]:
    """What each window shows of the first column, and what it asks for of it."""
    found = []
    for batch in stream.epoch(epoch):
        shown = in_units(data, batch.inputs[:, :, :1], data.assets["columns"][:1])
        asked = in_units(data, batch.targets.unflatten(1, (data.assets["horizon"], -1))[:, :, :1], ["n"])
        found += [(one.flatten().tolist(), other.flatten().tolist()) for one, other in zip(shown, asked, strict=True)]
    return found


# --- files


def test_the_forms_of_a_file_say_the_same(tmp_path: Path) -> None:
    values = numpy.array([[1.5, -2], [3e4, 0], [7, 1]])
    table = "a,b\n1.5,-2\n3e4, 0\n7,1\n"
    (tmp_path / "s.csv").write_text("\ufeff" + table.replace("\n", "\r\n"))
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(table.encode()))
    (tmp_path / "s.tsv").write_text(table.replace(",", "\t"))
    (tmp_path / "s.jsonl").write_text('{"a": 1.5, "b": -2}\n{"a": 30000, "b": 0}\n{"a": 7, "b": 1}\n')
    numpy.savez(tmp_path / "s.npz", a=values[:, 0], b=values[:, 1].astype(numpy.int8))
    for name in ("s.csv", "s.csv.gz", "s.tsv", "s.jsonl", "s.npz"):
        series = read_series(tmp_path / name, None, None)
        numpy.testing.assert_array_equal(series.values, values)
        assert series.columns == ("a", "b")
        numpy.testing.assert_array_equal(read_series(tmp_path / name, ["b"], None).values, values[:, 1:])
    numpy.savez(tmp_path / "two.npz", x=values)
    series = read_series(tmp_path / "two.npz", ["x[1]", "x[0]"], None)
    numpy.testing.assert_array_equal(series.values, values[:, ::-1])
    assert series.sha256 == hashlib.sha256((tmp_path / "two.npz").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        (["1", "2.5", "3e1"], None),
        (["2024-01-31", "2024-02-01T10:00", "2024-02-01 10:00:01"], None),
        (["2024-01-01T12:00+02:00", "2024-01-01T10:30Z", "2024-01-01T10:31:00+00:00"], None),
        (["2", "10", "9"], "line 4: the time '9' is not later than in the row before\nnext: sort the rows by time"),
        (["1", "1", "2"], "line 3: the time '1' is not later"),
        (["2024-01-31", "2024-01-30", "x"], "line 3: the time '2024-01-30' is not later"),
        (["1", "2", "x"], "line 4: the time is 'x'; expected is a number\nnext: correct the line"),
        (["31.1.2024", "1.2.2024", ""], "line 4: the time is ''; expected is a date as ISO 8601 writes it"),
        (["1", "2", "nan"], "line 4: the time is 'nan'; expected is a number"),
    ],
)  # fmt: skip
def test_the_time_must_rise(times: list[str], fault: str | None, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("when,x\n" + "".join(f"{time},{number}\n" for number, time in enumerate(times)))
    if fault is None:
        series = read_series(path, None, "when")
        assert series.columns == ("x",)
        assert series.values[:, 0].tolist() == [0, 1, 2]
        return
    with pytest.raises(DataError) as caught:
        read_series(path, None, "when")
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    "times",
    [
        ["1949-11", "1949-12", "1950-01"],
        ["30/01/2024", "31/01/2024", "01/02/2024"],
        ["1/30/2024", "1/31/2024", "2/1/2024"],
    ],
)
def test_times_may_be_months_or_dates_with_the_year_last(times: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("when,x\n" + "".join(f"{time},{number}\n" for number, time in enumerate(times)))
    found = read_series(path, None, "when").times
    assert found is not None
    steps = numpy.diff(found.moments) / 86400
    assert steps.tolist() == ([30, 31] if times[0] == "1949-11" else [1, 1])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a,b\n1,2\n3,\n", "column 'b': no value in 1 of 2 rows, the first in line 3\nnext: set data.missing=previous"),
        ("a,b\n1,x\n3,4\n", "column 'b': 1 of 2 values is not a number, the first is 'x' in line 2\nnext: correct"),
        ("a,b\n1,2\ninf,4\n", "column 'a': 1 of 2 values is not a number, the first is 'inf' in line 3"),
        ("a\n1\n\n2\n", "column 'a': no value in 1 of 3 rows, the first in line 3"),
        ("1,2\n3,4\n", "its first line holds numbers (1, 2), not the columns' names\nnext: add a first line"),
        ("", "the file is empty (0 bytes)"),
    ],
)  # fmt: skip
def test_faults_of_tables(content: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read_series(tmp_path / "s.csv", None, None)
    assert fault in str(caught.value)


def test_faults_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"

    def refused(columns: list[str] | None = None, time: str | None = None, **arrays: Any) -> str:
        if arrays:
            numpy.savez(path, **arrays)
        with pytest.raises(DataError) as caught:
            read_series(path, columns, time)
        return str(caught.value).removeprefix(f"{path}")

    assert refused().startswith(f"s.npz: no such file in {tmp_path}\nnext: correct the name")
    path.write_bytes(b"not a zip file")
    assert (
        refused() == ": not an .npz file of arrays (no zip file)\n"
        "next: write it again, with numpy.savez(file, x=..., y=...)"
    )
    numpy.savez(path, a=numpy.arange(1000.0))
    path.write_bytes(path.read_bytes()[:-60])
    assert refused().startswith(": not an .npz file of arrays (")
    assert "Object arrays cannot be loaded" in refused(a=numpy.array([1, None]))
    assert refused(a=[1.0, numpy.nan]) == (
        ": 'a': no value in 1 of 2 rows, the first in item 1\n"
        "next: set data.missing=previous to repeat the value before"
    )
    assert refused(a=["x", "y"]).startswith(": 'a': 2 of 2 values are not a number, the first is 'x' in item 0\n")
    assert refused(["b"], ab=[1, 2]).startswith(": no column 'b' (data.columns); found 'ab'\ndid you mean 'ab'?\n")
    assert refused(a=[1, 2], b=[1]) == (
        ": columns of different lengths (a: 2, b: 1)\nnext: name those to read in data.columns"
    )
    assert refused(a=numpy.zeros((2, 2, 2))).startswith(": no array (T,) or (T, C) with a number in it")
    assert refused(time="t", a=[1, 2, 3], t=[1, 2, 2]).startswith(", 't', item 2: 2.0 is not later than the item")
    assert refused(["a"], "u", a=[1, 2]).startswith(": no column 'u' (data.time); found 'a'")


# --- the dataset


def test_splits_follow_each_other_and_ask_for_each_value_once(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv")
    data = dataset(tmp_path, validation=0.2, test=0.1, batch_size=7, evaluation_batch_size=8)
    training = windows(data, data.training())
    assert sorted(training) == [(list(range(n - 4, n)), [n]) for n in range(4, 70)]
    assert training != sorted(training)
    # The first windows of a later split show the last values of the one before.
    assert windows(data, data.validation()) == [(list(range(n - 4, n)), [n]) for n in range(70, 90)]
    assert windows(data, data.test()) == [(list(range(n - 4, n)), [n]) for n in range(90, 100)]
    assert len(data.training()) == 10
    assert data.fingerprint == {"s.csv": hashlib.sha256((tmp_path / "s.csv").read_bytes()).hexdigest()}
    assert data.name == "series"
    assert data.notice == (
        "20 of 20 validation values of 'n' (and of 1 other target) are outside the range of training, 0 to 69; "
        "10 of 10 test values of 'n' (and of 1 other target) are outside the range of training, 0 to 69; "
        "data.normalize=window learns changes in place of levels"
    )


def test_horizon_and_stride(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv")
    data = dataset(tmp_path, validation=0.2, test=0.1, horizon=3, stride=5, target=["twice", "n"])
    starts = range(0, 64, 5)
    batch = next(data.validation().epoch(0))
    assert batch.inputs.shape == (4, 4, 2)
    assert batch.targets.shape == (4, 6)
    asked = in_units(data, batch.targets.unflatten(1, (3, 2)), ["twice", "n"])  # step after step, as targets are named
    assert asked[0].tolist() == [[145, 70], [147, 71], [149, 72]]
    assert asked[-1].tolist() == [[175, 85], [177, 86], [179, 87]]
    shown = [in_units(data, one.inputs, ["n", "twice"])[:, :, 0].tolist() for one in data.training().epoch(0)]
    assert sorted(row for rows in shown for row in rows) == [list(range(n, n + 4)) for n in starts]
    assert len(next(data.test().epoch(0)).targets) == 2


def test_statistics_are_of_the_training_rows(tmp_path: Path) -> None:
    path = write_series(tmp_path / "s.csv")
    data = dataset(tmp_path, validation=0.2, test=0.1)
    n = numpy.arange(70)
    numpy.testing.assert_allclose(data.assets["mean"], [n.mean(), (2 * n + 5).mean()])
    numpy.testing.assert_allclose(data.assets["std"], [n.std(), 2 * n.std()])
    kept = dict(data.assets)
    later = path.read_text().splitlines()
    later[-30:] = [line.rpartition(",")[0] + ",-1000" for line in later[-30:]]
    path.write_text("\n".join(later))
    assert dataset(tmp_path, validation=0.2, test=0.1).assets == kept


def test_a_column_that_never_changes(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("n,twice\n" + "".join(f"{n},0.1\n" for n in range(30)))
    data = dataset(tmp_path)
    assert data.assets["std"][1] == 1.0
    assert next(data.training().epoch(0)).inputs[:, :, 1].abs().max() < 1e-6


def test_a_checkpoints_assets_are_enough(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv")
    first = dataset(tmp_path, columns=None, time="day", target=["n"])
    assert first.assets["columns"] == ["n", "twice"]
    second = dataset(tmp_path, json.loads(json.dumps(first.assets)), columns=None, time="day", target=["n"])
    assert second.fingerprint == {}  # nothing has been read
    for name in ("training", "validation", "test"):
        for one, other in zip(*(getattr(data, name)().epoch(1) for data in (first, second)), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)
            assert one.targets.shape[1] == 1


def test_batches_by_position(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv")
    stream = dataset(tmp_path, batch_size=9).training()
    whole, late = list(stream.epoch(2)), list(stream.epoch(2, start=3))
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(whole[3:], late, strict=True))
    assert not torch.equal(whole[0].inputs, next(stream.epoch(3)).inputs)
    assert len(late) == len(whole) - 3


@pytest.mark.parametrize("of", [2, 5])
def test_folds_are_those_of_scikit_learns_time_series_split(of: int, tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv", 97)
    for index, (before, tested) in enumerate(TimeSeriesSplit(of).split(numpy.arange(97))):
        data = dataset(tmp_path, fold=Fold(index, of), validation=0.25, test=0.9)
        asked = [[row[1][0] for row in windows(data, stream)]
                 for stream in (data.training(), data.validation(), data.test())]  # fmt: skip
        assert asked[2] == tested.tolist()
        assert sorted(asked[0]) + asked[1] == before.tolist()[4:]
        assert len(asked[1]) == round(0.25 * len(before))
        assert max(asked[0]) < min(asked[1])


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"window": 90}, "80 of 100 rows are left to train on, but one window and its targets take 90 + 1\n"),
        ({"target": ["nn"]}, "the target 'nn' (data.target) is not one of the columns read: n, twice\ndid you mean"),
        ({"columns": ["n", "twise"]}, "no column 'twise' (data.columns); found 'day', 'n', 'twice'\ndid you mean 'tw"),
        ({"columns": None},
         "column 'day' holds dates\nnext: set data.time=day"),
        ({"time": "Day"}, "no column 'Day' (data.time); found 'day', 'n', 'twice'\ndid you mean 'day'?"),
        ({"file": "t.csv"}, "t.csv (plain or .gz): not found in "),
        ({"file": "huge.csv", "time": None},
         "column 'n': 1 of 2 values is not a number between -3.4e+38 and 3.4e+38, the first is '1e300' in line 3"),
        ({"file": "huge.npz", "time": None}, "'n': 1 of 2 values is not a number between -3.4e+38 and 3.4e+38, the"),
        ({"file": "s.txt"}, "ends in '.txt'; allowed are .csv, .tsv, .jsonl (plain or .gz) and .npz"),
    ],
)  # fmt: skip
def test_faults_of_datasets(options: dict[str, Any], fault: str, tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv")
    (tmp_path / "s.txt").write_text("1\n2\n")
    (tmp_path / "huge.csv").write_text("n,twice\n1,2\n1e300,4\n")
    numpy.savez(tmp_path / "huge.npz", n=[1, -1e300], twice=[2, 4])
    with pytest.raises(DataError) as caught:
        dataset(tmp_path, **options)
    assert fault in str(caught.value)


def test_splits_that_are_not_there(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv")
    data = dataset(tmp_path, validation=0.0, test=0.0)
    assert len(data.validation()) == 0
    with pytest.raises(UsageError, match=r"^data.test is 0: there is no test split\nnext: train with data.test as a"):
        data.test()
    with pytest.raises(UsageError, match=r"no test split\nnext: evaluate with --split validation, or train with data"):
        dataset(tmp_path, test=0.0).test()
    short = dataset(tmp_path, validation=0.03, test=0.02, horizon=3)
    assert len(short.validation()) == 1
    with pytest.raises(DataError, match=r"test has 2 rows, but each window predicts 3\nnext: raise data.test, or"):
        short.test()
    with pytest.raises(
        DataError, match="120 folds of 100 rows are blocks of 0, but each window predicts 1\nnext: make"
    ):
        dataset(tmp_path, fold=Fold(0, 120))
    with pytest.raises(DataError, match=r"validation has 0 rows, but each window predicts 1\nnext: raise data.valid"):
        dataset(tmp_path, validation=0.004).validation()


# --- the sample


def test_the_sample_says_what_it_is(tmp_path: Path) -> None:
    data = dataset(tmp_path, when_missing="sample", target=["n"])
    assert data.name == "EEG sample (matplotlib)"
    assert data.notice is not None
    assert data.notice.startswith("NOT YOUR DATA: this uses the EEG sample (matplotlib), four channels of a real")
    assert "s.csv (plain or .gz): not found" in data.notice
    assert data.assets["targets"] == data.assets["columns"] == [f"channel {number}" for number in range(4)]
    again = dataset(tmp_path, json.loads(json.dumps(data.assets)))
    assert again.name == data.name
    for one, other in zip(data.test().epoch(0), again.test().epoch(0), strict=True):
        assert torch.equal(one.inputs, other.inputs)
    assert again.fingerprint == data.fingerprint
    write_series(tmp_path / "s.csv")
    assert dataset(tmp_path, when_missing="sample").name == "series"
    assert str(dataset(tmp_path, sample=True).notice).endswith(
        "each, as requested. Its results say nothing about your data."
    )


def test_the_sample_comes_with_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_eeg().values.shape == (800, 4)
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=r"the EEG sample comes with matplotlib, but .*eeg.dat cannot be read"):
        read_eeg()


# --- the reader


def test_the_last_window_of_files_and_of_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_series(tmp_path / "s.csv")
    data = dataset(tmp_path, columns=["twice", "n"], time="day")
    monkeypatch.chdir(tmp_path)
    Path("later.csv").write_text("\n".join([path.read_text().splitlines()[0], *path.read_text().splitlines()[41:51]]))
    Path("short.csv").write_text("day,n,twice\n1,2,3\n2,3,4\n")
    reader = SeriesReader(json.loads(json.dumps(data.assets)))
    table = ["day,n,twice\n", *(f"{n},{n},{-n}\n" for n in range(5))]
    given = list(reader.read(["later.csv", "-", "short.csv", "absent.csv"], iter(table)))
    assert [one.name for one in given] == ["later.csv", "-", "short.csv", "absent.csv"]
    (inputs,) = reader.inputs([one.value for one in given[:2]])
    assert inputs.shape == (2, 4, 2)
    assert inputs.dtype == torch.float32
    assert in_units(data, inputs, ["twice", "n"]).tolist() == [
        [[97, 46], [99, 47], [101, 48], [103, 49]], [[-1, 1], [-2, 2], [-3, 3], [-4, 4]],
    ]  # fmt: skip
    assert str(given[2].value) == "short.csv: 2 rows, but the model reads 4\nnext: give a longer series"
    assert str(given[3].value).startswith("absent.csv: cannot be read (No such file")
    assert reader.notes() == ("-: the times of the last window are numbers, those of training dates",)
