"""Tables as inputs and targets: what is read, what is learned of it, and every way in which it can be wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets as bundled
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dltrain.batch import Examples
from dltrain.data.tables.columns import encode_labels
from dltrain.data.tables.dataset import make_row_batches
from dltrain.data.tables.features import FeatureEncoder
from dltrain.data.tables.files import build_table, read_table
from dltrain.data.tables.identity import hash_rows
from dltrain.data.tables.summary import find_numeric_text
from dltrain.data.tables.table_files import BundledTable, TableFiles
from dltrain.dataset import Identifies, Summarizes
from dltrain.errors import DataError, DltrainError, UsageError
from dltrain.options import Fold

FLOWERS = """width,colour,height,kind
1.5,red,10,rose
2.5,blue,20,iris
3.5,red,30,rose
4.5,green,40,iris
5.5,blue,50,rose
6.5,red,60,iris
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def put(content: str | bytes, name: str = "table.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return put


def table(training: str | list[str], target: str | list[str] = "kind", **options: Any) -> TableFiles:
    return TableFiles("table", 0, None, training=training, target=target, **{"validation": 0.0, "test": 0.0, **options})


def rows(dataset: Any, split: str = "training") -> tuple[np.ndarray, np.ndarray]:
    """All inputs and targets of a split, in the order in which they come."""
    batches = list(getattr(dataset, split)().epoch(0))
    return tuple(torch.cat([getattr(b, part) for b in batches]).numpy() for part in ("inputs", "targets"))  # type: ignore[return-value]


def test_inputs_are_standardized_numbers_and_one_hot_categories(write: Callable[..., str]) -> None:
    dataset = table(write(FLOWERS), batch_size=None)
    numbers = np.array([[1.5, 10], [2.5, 20], [3.5, 30], [4.5, 40], [5.5, 50], [6.5, 60]])
    colours = np.array([["red"], ["blue"], ["red"], ["green"], ["blue"], ["red"]])
    scaled, hot = StandardScaler().fit_transform(numbers), OneHotEncoder().fit_transform(colours).toarray()
    inputs, targets = rows(dataset)
    np.testing.assert_allclose(inputs, np.column_stack([scaled[:, 0], hot, scaled[:, 1]]), rtol=1e-6)
    assert dataset.assets["inputs"] == ["width", "colour=blue", "colour=green", "colour=red", "height"]
    assert dataset.assets["labels"] == ["iris", "rose"]
    assert targets.tolist() == [1, 0, 1, 0, 1, 0]
    assert targets.dtype == np.int64
    assert dataset.name == "table.csv"


def test_targets_are_standardized_numbers_or_left_as_they_are(write: Callable[..., str]) -> None:
    file = write(FLOWERS)
    both = table(file, ["height", "width"], batch_size=None)
    _, targets = rows(both)
    expected = np.array([[10 * n, n + 0.5] for n in range(1, 7)])
    np.testing.assert_allclose(targets, StandardScaler().fit_transform(expected), rtol=1e-6)
    assert both.assets["target"]["mean"] == [35.0, 4.0]
    _, plain = rows(table(file, "height", normalize_target="none", batch_size=None))
    assert plain[:, 0].tolist() == [10, 20, 30, 40, 50, 60]
    unscaled, _ = rows(table(file, "height", normalize="none", features=["width"], batch_size=None))
    assert unscaled[:, 0].tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


@pytest.mark.parametrize(
    ("column", "holds", "labels"),
    [
        ("a b a b", "auto", ["a", "b"]),
        ("0 1 0 1", "auto", ["0", "1"]),
        ("1.0 0 1 0", "auto", ["0", "1"]),
        ("false true true false", "auto", ["false", "true"]),
        ("1 2 3 1", "auto", None),
        ("0 1 0 1", "numbers", None),
        ("10 9 2.5 9", "labels", ["2.5", "9", "10"]),
    ],
)
def test_what_a_target_holds(column: str, holds: str, labels: list[str] | None, write: Callable[..., str]) -> None:
    text = "x,y\n" + "".join(f"{place},{cell}\n" for place, cell in enumerate(column.split()))
    assert table(write(text), "y", target_holds=holds).assets.get("labels") == labels


def test_the_same_table_in_every_form(write: Callable[..., str], tmp_path: Path) -> None:
    expected = rows(table(write(FLOWERS), batch_size=None))
    lines = [line.split(",") for line in FLOWERS.splitlines()]
    objects = "".join(f'{{"width": {w}, "colour": "{c}", "height": {h}, "kind": "{k}"}}\n' for w, c, h, k in lines[1:])
    columns = dict(zip(lines[0], zip(*lines[1:], strict=True), strict=True))
    arrays = {name: np.array(cells, float if name in ("width", "height") else str) for name, cells in columns.items()}
    np.savez(tmp_path / "table.npz", **arrays)
    files = [
        write(FLOWERS.replace(",", "\t"), "table.tsv"),
        write("\ufeff" + FLOWERS.replace("\n", "\r\n"), "windows.csv"),
        write(gzip.compress(FLOWERS.encode()), "packed.csv.gz"),
        write(FLOWERS.replace(",", " , ").replace("rose", '"rose"').replace(' "', '"'), "blanks.csv"),
        write(objects, "table.jsonl"),
        str(tmp_path / "table.npz"),
    ]
    given = {name: [float(c) if name in ("width", "height") else c for c in cells] for name, cells in columns.items()}
    inline = TableFiles("table", 0, None, values=given, target="kind", validation=0.0, test=0.0, batch_size=None)
    for dataset in [*(table(file, batch_size=None) for file in files), inline]:
        for found, wanted in zip(rows(dataset), expected, strict=True):
            assert (found == wanted).all()
    unpacked = table(write(FLOWERS))
    assert set(table(files[2]).fingerprint.values()) == set(unpacked.fingerprint.values())
    assert inline.name == "values of the config"


def test_parquet(write: Callable[..., str], tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"x": [1, None, 3], "colour": ["red", None, "blue"], "good": [True, False, True]}
    parquet.write_table(arrow.table(columns), tmp_path / "table.parquet")
    found = read_table(tmp_path / "table.parquet").columns
    np.testing.assert_array_equal(found["x"], [1, np.nan, 3])
    assert found["colour"].tolist() == ["red", "", "blue"]
    assert found["good"].tolist() == ["true", "false", "true"]
    with pytest.raises(DataError, match=r"broken.parquet: not a Parquet file that can be read"):
        read_table(Path(write(b"PAR1 and then nothing", "broken.parquet")))


def test_parquet_says_what_it_needs(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match="reading Parquet needs pyarrow, which is not installed\nnext: pip install"):
        table(write(b"", "table.parquet"))


def test_categories_by_name_and_columns_left_out(write: Callable[..., str]) -> None:
    file = write(FLOWERS.replace("height", "size"))
    dataset = table(file, categorical=["size"], ignore=["colour"])
    assert dataset.assets["inputs"] == ["width", "size=10", "size=20", "size=30", "size=40", "size=50", "size=60"]
    chosen = table(file, features=["size"])
    assert chosen.assets["inputs"] == ["size"]


def test_missing_values_become_the_mean_or_no_category(write: Callable[..., str]) -> None:
    text = "x,colour,y\n1,red,1\n,blue,2\nNA,,3\n3,red,4\n5,red,5\n"
    inputs, _ = rows(table(write(text), "y", missing="mean", normalize="none", batch_size=None))
    assert inputs.tolist() == [[1, 0, 1], [3, 1, 0], [3, 0, 0], [3, 0, 1], [5, 0, 1]]
    standard, _ = rows(table(write(text), "y", missing="mean", batch_size=None))
    assert standard[1:3, 0].tolist() == [0, 0]


def test_splits_are_disjoint_shares_that_the_seed_draws(write: Callable[..., str]) -> None:
    file = write("x,y\n" + "".join(f"{n},{'ab'[n % 5 == 0]}\n" for n in range(100)))
    options: dict[str, Any] = {"test": 0.2, "validation": 0.25, "normalize": "none"}
    dataset = table(file, "y", **options)
    parts = {split: rows(dataset, split) for split in ("training", "validation", "test")}
    assert [len(targets) for _, targets in parts.values()] == [60, 20, 20]
    assert [int(targets.sum()) for _, targets in parts.values()] == [12, 4, 4]
    assert sorted(np.concatenate([inputs[:, 0] for inputs, _ in parts.values()]).tolist()) == list(range(100))
    again = rows(TableFiles("table", 0, None, training=file, target="y", **options), "test")
    assert (again[0] == parts["test"][0]).all()
    other = rows(TableFiles("table", 1, None, training=file, target="y", **options), "test")
    assert (other[0] != parts["test"][0]).any()
    loaded = TableFiles("table", 0, dataset.assets, training=file, target="y", **options)
    assert (rows(loaded, "test")[0] == parts["test"][0]).all()


def test_statistics_are_those_of_the_training_rows(write: Callable[..., str]) -> None:
    file = write("x,y\n" + "".join(f"{n * n},{n}\n" for n in range(40)))
    dataset = table(file, "y", test=0.25, validation=0.2)
    inputs, targets = rows(dataset)
    np.testing.assert_allclose([inputs.mean(), inputs.std(), targets.mean(), targets.std()], [0, 1, 0, 1], atol=1e-6)
    held, _ = rows(dataset, "test")
    assert abs(held.mean()) > 1e-3


def test_groups_stay_together(write: Callable[..., str]) -> None:
    file = write("x,y,who\n" + "".join(f"{n},{n},p{n // 5}\n" for n in range(60)))
    for division in ({"test": 0.25, "validation": 0.25}, {"fold": Fold(1, 3), "validation": 0.25}):
        dataset = table(file, "y", group="who", normalize="none", **division)
        assert dataset.assets["inputs"] == ["x"]
        groups = [set(rows(dataset, split)[0][:, 0] // 5) for split in ("training", "validation", "test")]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 12
        assert all(groups)


def test_weights_of_rows_are_in_the_batch_and_no_input(write: Callable[..., str]) -> None:
    file = write("x,n,y\n1,2,0.5\n2,0,1.5\n3,4,2.5\n")
    dataset = table(file, "y", weight="n", batch_size=None)
    (batch,) = dataset.training().epoch(0)
    assert batch.weights.tolist() == [1, 0, 2]
    assert dataset.assets["inputs"] == ["x"]
    later = table(file, "y", weight="n", batch_size=2, test=file)
    parts = list(later.test().epoch(0))
    assert torch.cat([part.weights for part in parts]).tolist() == [1, 0, 2]
    assert sorted(torch.cat([part.weights for part in later.training().epoch(3)]).tolist()) == [0, 1, 2]
    (plain,) = table(file, "y", ignore=["n"], batch_size=None).training().epoch(0)
    assert plain.weights is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (("1", "-1", "1"), "line 3, column 'n': the weight is -1; expected is a number from 0"),
        (("1", "1", ""), "line 4, column 'n': the weight is missing; expected is a number from 0"),
        (("0", "0", "0"), "all weights in column 'n' are 0 in the training rows"),
    ],
)
def test_wrong_weights(weights: tuple[str, ...], message: str, write: Callable[..., str]) -> None:
    file = write("x,n,y\n" + "".join(f"{row},{weight},{row}.5\n" for row, weight in enumerate(weights)))
    with pytest.raises(DataError, match=message):
        table(file, "y", weight="n").training()


def test_rows_are_recognised_by_their_values(write: Callable[..., str]) -> None:
    first = read_table(Path(write("x,kind,note\n1,red,NA\n2.50,café,a\n3,blue,b\n")))
    again = {"note": ["b", "", "a"], "kind": [" blue", "red ", "cafe\u0301"], "x": [3.0, 1.0, 2.5]}
    found = hash_rows(build_table(again, "again"))
    assert found.dtype == np.uint64
    assert hash_rows(first).tolist() == found[[1, 2, 0]].tolist()
    for name, other in (("x", [3.0, 1.0, 2.6]), ("kind", ["blue", "red", "cafe"]), ("note", ["b", "a", "a"])):
        changed = hash_rows(build_table({**again, name: other}, "changed"))
        assert (changed != found).sum() == 1
    swapped = hash_rows(build_table({**again, "x": again["note"], "note": again["x"]}, "swapped"))
    assert not set(swapped.tolist()) & set(found.tolist())
    extended = read_table(Path(write("x,kind,note\n1,red,NA\nmany,red,NA\n", "extended.csv")))
    assert hash_rows(extended)[0] == hash_rows(first)[0]  # a text further down changes no other row


def test_identities_of_splits(write: Callable[..., str]) -> None:
    file = write("x,y\n" + "".join(f"{row},{row}.5\n" for row in range(30)))
    later = write("x,y\n3,3.50\n99,1\n", "later.csv")
    dataset = table(file, "y", validation=0.2, test=later)
    training, validation, test = (set(dataset.identities(s).tolist()) for s in ("training", "validation", "test"))
    assert isinstance(dataset, Identifies)
    assert (len(training), len(validation), len(test)) == (24, 6, 2)
    assert not training & validation
    assert len(test & (training | validation)) == 1
    dataset.test()
    assert set(dataset.identities("test").tolist()) == test
    assert len(table(file, "y").identities("test")) == 0


def test_each_row_is_in_one_fold(write: Callable[..., str]) -> None:
    file = write("x,y\n" + "".join(f"{n},{'ab'[n % 4 == 0]}\n" for n in range(40)))
    held = [rows(table(file, "y", fold=Fold(k, 4), normalize="none", validation=0.1), "test") for k in range(4)]
    assert sorted(np.concatenate([inputs[:, 0] for inputs, _ in held]).tolist()) == list(range(40))
    assert sorted(int(targets.sum()) for _, targets in held) == [2, 2, 3, 3]


def test_validation_and_test_may_be_files(write: Callable[..., str]) -> None:
    first, second = write(FLOWERS, "one.csv"), write(FLOWERS, "two.csv")
    held = write("kind,height,colour,width\niris,70,purple,1\n", "held.csv")
    dataset = table([first, second], test=held, validation=[held, held])
    assert [len(rows(dataset, split)[1]) for split in ("training", "validation")] == [12, 2]
    assert dataset.notice == (
        "column 'colour' of the validation split: 'purple' is not among the categories trained on; they were ignored"
    )
    inputs, targets = rows(dataset, "test")
    assert inputs[0, 1:4].tolist() == [0, 0, 0]
    assert targets.tolist() == [0]
    assert set(dataset.fingerprint) == {first, second, held}
    assert dataset.name == "one.csv + two.csv"


def test_files_start_from_the_root(write: Callable[..., str], tmp_path: Path) -> None:
    write(FLOWERS, "flowers.csv")
    assert table("flowers.csv", root=str(tmp_path)).fingerprint.keys() == {"flowers.csv"}


def test_a_constant_column_is_told_and_changes_nothing(write: Callable[..., str]) -> None:
    dataset = table(write("x,c,y\n1,0.1,1\n2,0.1,3\n3,0.1,2\n"), "y", batch_size=None)
    assert dataset.notice == "column 'c' is the same in all training rows, so it carries no information"
    assert rows(dataset)[0][:, 1].tolist() == [0, 0, 0]


def test_batches_are_shuffled_by_seed_and_epoch_and_none_is_of_one_row() -> None:
    inputs = torch.arange(21.0)[:, None]
    batches = make_row_batches(Examples(inputs, inputs), 5, seed=3)
    assert [batches.batch(0, index).count for index in range(len(batches))] == [5, 5, 5, 6]
    first = torch.cat([batches.batch(0, index).inputs for index in range(4)])[:, 0]
    second = torch.cat([batches.batch(1, index).inputs for index in range(4)])[:, 0]
    assert (first != second).any()
    assert sorted(second.tolist()) == list(range(21))
    assert (batches.batch(0, 2).inputs == first[10:15, None]).all()
    assert torch.equal(make_row_batches(Examples(inputs, inputs), None, seed=3).batch(4, 0).inputs, inputs)


@pytest.mark.parametrize(
    ("name", "size", "inputs"), [("iris", 150, 4), ("wine", 178, 13), ("breast_cancer", 569, 30), ("diabetes", 442, 10)]
)
def test_bundled_tables_are_those_of_scikit_learn(name: str, size: int, inputs: int) -> None:
    dataset = BundledTable(
        "bundled_table", 0, None, table=name, normalize="none", normalize_target="none", batch_size=None
    )  # type: ignore[arg-type]
    parts = [rows(dataset, split) for split in ("training", "validation", "test")]
    assert sum(len(targets) for _, targets in parts) == size
    assert dataset.assets["dataset"] == f"{name} (scikit-learn)"
    truth = getattr(bundled, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    assert len(dataset.assets["inputs"]) == inputs
    all_rows = np.concatenate([found for found, _ in parts])
    np.testing.assert_allclose(all_rows.astype(float).mean(0), truth.data.mean(0), rtol=1e-6)
    targets = np.concatenate([found.reshape(-1) for _, found in parts])
    if name == "diabetes":
        assert targets.sum() == truth.target.sum()
    else:
        named = sorted(map(str, truth.target_names))
        assert dataset.assets["labels"] == named
        assert [int((targets == place).sum()) for place in range(len(named))] == [
            int((truth.target_names[truth.target] == label).sum()) for label in named
        ]


FAULTS: dict[str, tuple[str | bytes, dict[str, Any], type[DltrainError], str]] = {
    "no such column": (
        FLOWERS, {"target": "kinds"}, UsageError,
        "table.csv: no column 'kinds'; found width, colour, height, kind\n"
        "did you mean 'kind'.\nnext: correct data.target",
    ),
    "no such feature": (FLOWERS, {"features": ["wide"]}, UsageError, "no column 'wide'.*\nnext: correct data.features"),
    "no such group": (FLOWERS, {"group": "who"}, UsageError, "no column 'who'.*\nnext: correct data.group"),
    "target among features": (
        FLOWERS, {"features": ["width", "kind"]}, UsageError, "data.features: 'kind' is the target;",
    ),
    "target among categories": (FLOWERS, {"categorical": ["kind"]}, UsageError, "data.categorical: 'kind' is"),
    "twice": (FLOWERS, {"features": ["width", "width"]}, UsageError, "data.features: 'width' is named twice"),
    "both": (FLOWERS, {"features": ["width"], "ignore": ["height"]}, UsageError, "data.features and data.ignore"),
    "category that is no feature": (
        FLOWERS, {"categorical": ["colour"], "ignore": ["colour"]}, UsageError,
        "data.categorical: 'colour' is not among the features: width, height",
    ),
    "group is the target": (FLOWERS, {"group": "kind"}, UsageError, "data.group: 'kind' is the target or a"),
    "nothing left": ("y\na\nb\n", {"target": "y"}, UsageError, "no column is left to learn from; found y"),
    "labels and numbers": (FLOWERS, {"target": ["height", "kind"]}, UsageError, "data.target: 'kind' holds labels"),
    "empty file": ("", {}, DataError, r"table.csv: the file is empty \(0 bytes\)"),
    "no rows": ("x,y\n", {"target": "y"}, DataError, "table.csv: no row in it"),
    "text among numbers": (
        "x,y\n1,2\n2,3\nthree,4\n4,5\n", {"target": "y"}, DataError,
        "table.csv, line 4, column 'x': 'three' is not a number\n"
        "next: correct the value, or name 'x' in data.categorical",
    ),
    "text in a column that is no category": (
        FLOWERS, {"categorical": []}, DataError, "line 2, column 'colour': 'red' is not a number",
    ),
    "digits with an underscore": ("x,y\n1,2\n1_0,3\n3,4\n", {"target": "y"}, DataError, "'1_0' is not a number"),
    "text in the target": (
        "x,y\n1,2\n2,3\n3,oops\n", {"target": "y"}, DataError, "line 4, column 'y': 'oops' is not .*labels",
    ),
    "nan": ("x,y\n1,2\nnan,3\n,3\n", {"target": "y"}, DataError, r"line 3, column 'x': no value \(and in 1"),
    "missing category": ("x,y\nred,2\n,3\nred,4\n", {"target": "y"}, DataError, "line 3, column 'x': no value\nnext"),
    "missing number of the target": ("x,y\n1,2\n2,NA\n", {"target": "y"}, DataError, "line 3, column 'y': no number"),
    "missing label": ("x,y\n1,a\n2,\n3,b\n", {"target": "y"}, DataError, "line 3, column 'y': no label"),
    "infinite": ("x,y\n1,2\n-inf,3\n", {"target": "y"}, DataError, "line 3, column 'x': the number is infinite"),
    "beyond float64": ("x,y\n1,2\n1e400,3\n", {"target": "y"}, DataError, "line 3, column 'x': the number is infinite"),
    "too large": (
        "x,y\n1,2\n1e300,3\n", {"target": "y"}, DataError,
        r"table.csv, line 3, column 'x': 1e\+300 is too large; expected is a number between -3.4e\+38 and 3.4e\+38\n",
    ),
    "too large as it is": (
        "x,y\n1,2\n-1e39,3\n", {"target": "y", "normalize": "none"}, DataError, "column 'x': -1e.39 is too large",
    ),
    "too large a target": ("x,y\n1,2\n2,1e300\n", {"target": "y"}, DataError, r"line 3, column 'y': 1e\+300 is too"),
    "too large a target as it is": (
        "x,y\n1,2\n2,1e300\n", {"target": "y", "normalize_target": "none"}, DataError, r"'y': 1e\+300 is too",
    ),
    "empty column": (
        "x,z,y\n1,,1\n2,,2\n", {"target": "y", "missing": "mean"}, DataError, "column 'z' holds no value in the",
    ),
    "empty categories": (
        "x,z,y\n1,,1\n2,,2\n", {"target": "y", "missing": "mean", "categorical": ["z"]}, DataError, "'z' holds no",
    ),
    "names taken for categories": (
        "who,y\n" + "".join(f"p{n},{n}\n" for n in range(60)), {"target": "y"}, DataError,
        "column 'who' holds 60 different texts in 60 rows; each would become an input\nnext: leave it",
    ),
    "one class only": (
        "x,y\n1,a\n2,a\n", {"target": "y"}, DataError, "all 2 training rows have the label 'a' in column 'y'; a class",
    ),
    "constant target": (
        "x,y\n1,5\n2,5\n", {"target": "y"}, DataError, "the target 'y' is 5 in all 2 training rows; there is",
    ),
    "duplicate columns": ("x,x,y\n1,2,3\n", {"target": "y"}, DataError, "2 columns are called 'x'\nnext: rename"),
    "column without a name": (",x,y\n0,1,2\n", {"target": "y"}, DataError, "column 1 has no name.*to_csv"),
    "ragged": ("x,y\n1,2\n3\n", {"target": "y"}, DataError, r"line 3: 1 fields, but the first line has 2 \(cut short"),
    "not UTF-8": (b"x,y\n1,2\n\xff,3\n", {"target": "y"}, DataError, "not UTF-8"),
    "semicolons": ("x;y\n1;2\n3\n", {"target": "y"}, DataError, "its first line is one column, 'x;y'; its rows are"),
    "no names": ("1,2\n3,4\n", {"target": "y"}, DataError, r"its first line holds numbers \(1, 2\), not the columns'"),
    "share of no row": (FLOWERS, {"test": 0.01}, DataError, "data.test=0.01 of 6 rows is no row\nnext: give"),
    "share of all rows": (FLOWERS, {"validation": 0.95}, DataError, "data.validation=0.95 of 6 rows leaves none"),
    "too few groups": (
        FLOWERS, {"group": "colour", "validation": 0.1}, DataError, "data.validation=0.1 of 3 groups of rows is no row",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_tables(name: str, write: Callable[..., str]) -> None:
    content, options, kind, message = FAULTS[name]
    with pytest.raises(kind, match=f"(?s){message}"):
        table(write(content), **options)


def test_the_largest_numbers_that_float32_holds_are_standardized(write: Callable[..., str]) -> None:
    """Without a RuntimeWarning, which would be an error here."""
    dataset = table(write("x,y\n-3e38,1\n3e38,2\n1e-300,4\n2e-300,5\n"), "y", batch_size=None)
    inputs, _ = rows(dataset)
    np.testing.assert_allclose(inputs[:, 0], [-np.sqrt(2), np.sqrt(2), 0, 0], rtol=1e-6)
    tiny, _ = rows(table(write("x,y\n1e-200,1\n2e-200,2\n"), "y", batch_size=None))
    assert tiny.tolist() == [[0], [0]]  # no deviation that float64 could tell


@pytest.mark.parametrize(("later", "column"), [("3e38,1", "x"), ("1,3e38", "y")])
def test_numbers_too_far_from_those_of_training(later: str, column: str, write: Callable[..., str]) -> None:
    dataset = table(write("x,y\n0,0\n1e-3,1e-3\n"), "y", test=[write(f"x,y\n0,0\n{later}\n", "later.csv")])
    expected = (
        rf"later.csv, line 3, column '{column}': 3e\+38 is too far from the training rows' numbers \(mean 0.0005, "
        r"standard deviation 0.0005\)\nnext: correct"
    )
    with pytest.raises(DataError, match=expected):
        dataset.test()


def test_a_value_that_is_missing_later_is_not_mended_by_a_setting(write: Callable[..., str]) -> None:
    dataset = table(write("x,c,y\n0,a,1\n1,b,2\n"), "y", test=[write("x,c,y\n,a,1\n", "later.csv")])
    expected = r"column 'x': no value\nnext: fill it in, or train with data.missing: mean$"
    with pytest.raises(DataError, match=expected):
        dataset.test()
    later = table(write("x,c,y\n0,a,1\n1,b,2\n"), "y", test=[write("x,c,y\n1,,1\n", "later.csv")])
    with pytest.raises(DataError, match=r"column 'c': no value\nnext: fill it in, or train with data.missing: mean$"):
        later.test()


def test_faults_of_files(write: Callable[..., str], tmp_path: Path) -> None:
    for name in ("nothing.csv", "nothing.npz", "nothing.parquet"):
        with pytest.raises(DataError, match=f"^{name}.*: no such file in {tmp_path}\nnext: correct the name"):
            table(str(tmp_path / name))
    with pytest.raises(DataError, match=r"table.xlsx: ends in '.xlsx'; a table is a .csv, .tsv or .jsonl file"):
        table(write("", "table.xlsx"))
    with pytest.raises(DataError, match=r"table.npz: not an .npz file of arrays"):
        table(write("PK no zip", "table.npz"))
    np.savez(tmp_path / "square.npz", x=np.ones((2, 2)))
    with pytest.raises(DataError, match=r"square.npz: 'x' has shape \(2, 2\) and type float64; a column is \(rows,\)"):
        table(str(tmp_path / "square.npz"))
    np.savez(tmp_path / "uneven.npz", x=np.ones(2), y=np.ones(3))
    with pytest.raises(DataError, match=r"uneven.npz: columns of different lengths \(x: 2, y: 3\)"):
        table(str(tmp_path / "uneven.npz"))
    np.savez(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none.npz: the table is empty"):
        table(str(tmp_path / "none.npz"))
    with pytest.raises(DataError, match=r"two.csv: no column 'width'; found a\nnext: give files with the columns of"):
        table([write(FLOWERS), write("a\n1\n", "two.csv")])


def test_a_table_is_files_or_values() -> None:
    with pytest.raises(UsageError, match=r"files \(training\) or its columns \(values\); neither is given"):
        TableFiles("table", 0, None, target="y")
    with pytest.raises(UsageError, match="both are given"):
        TableFiles("table", 0, None, target="y", training="x.csv", values={"y": [1.0]})
    with pytest.raises(DataError, match=r"data.values: columns of different lengths \(x: 1, y: 2\)"):
        TableFiles("table", 0, None, target="y", values={"x": [1.0], "y": [1.0, 2.0]})


def test_places_name_the_file_that_a_row_is_of(write: Callable[..., str]) -> None:
    bad = write(FLOWERS.replace("40", "forty"), "two.csv")
    with pytest.raises(DataError, match=r"two.csv, line 5, column 'height': 'forty' is not a number"):
        table([write(FLOWERS), bad])


def test_a_label_that_training_did_not_have(write: Callable[..., str]) -> None:
    held = write("width,colour,height,kind\n1,red,1,iris\n1,red,1,roses\n", "held.csv")
    dataset = table(write(FLOWERS), test=held)
    expected = (
        r"line 3, column 'kind': the label 'roses' is not among those trained on: iris, rose\ndid you mean 'rose'"
    )
    with pytest.raises(DataError, match=expected):
        dataset.test()
    lacking = table(write(FLOWERS), test=write("width,colour,height\n1,red,1\n", "held.csv"))
    with pytest.raises(DataError, match="no column 'kind'; found width, colour, height\nnext: give the target"):
        lacking.test()
    narrow = table(write(FLOWERS), test=write("width,colour,kind\n1,red,iris\n", "held.csv"))
    with pytest.raises(
        DataError, match=r"no column 'height'.*\n(.*\n)?next: give the columns of training: width, colour"
    ):
        narrow.test()
    with pytest.raises(UsageError, match=r"data.test is 0: there is no test split\nnext: train with data.test as a"):
        table(write(FLOWERS)).test()
    with pytest.raises(UsageError, match=r"no test split\nnext: evaluate with --split validation, or train with data"):
        table(write(FLOWERS), validation=0.5).test()


def test_one_form_of_texts_labels_and_names(write: Callable[..., str]) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    first = table(write(f"{composed},shop,kind\nx,1,{composed}\n{apart},1.0,{apart} \ny,2.0,b\nx,10,b\n"), ignore=[])
    names = [f"{composed}={composed}", f"{composed}=x", f"{composed}=y"]
    assert first.assets["inputs"][:3] == names
    assert first.assets["labels"] == ["b", composed]
    shops = table(
        write(f"shop,{apart}\n1,0.5\n1.0,1.5\n2.00,2.5\n01,3.5\n"), apart, categorical=["shop"], batch_size=None
    )
    assert shops.assets["inputs"] == ["shop=01", "shop=1", "shop=2"]
    numbers = FeatureEncoder(shops.assets["features"]).inputs(build_table({"shop": [1.0, 2.0]}, "numbers"))
    assert numbers.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_categories_and_labels_of_older_runs_are_cleaned_as_new_ones_are(write: Callable[..., str]) -> None:
    apart = "cafe\u0301"
    feature = {"name": apart, "kind": "category", "missing": "error", "constant": False, "categories": ["1.0", apart]}
    encoder = FeatureEncoder([feature])
    rows = encoder.inputs(build_table({"caf\u00e9": ["1", "caf\u00e9", "1.0", apart]}, "later"))
    assert rows.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert encoder.notes() == []
    labels = build_table({"kind": ["caf\u00e9", "1"]}, "labels")
    assert encode_labels(labels, "kind", ["1.0", apart]).tolist() == [1, 0]


def test_a_summary_of_what_was_read(write: Callable[..., str]) -> None:
    content = "age,town,note,who,n,kind\n" + "".join(
        f"{'' if row == 3 else row},{'abc'[row % 3]},text {row},{row // 2},1,{'xy'[row % 2]}\n" for row in range(20)
    )
    later = write("age,town,note,who,n,kind\n1,d,x,9,1,y\n2,d,x,9,1,y\n3,a,x,9,1,y\n", "later.csv")
    options = {"ignore": ["note"], "group": "who", "weight": "n", "missing": "mean"}
    dataset = table(write(content), validation=later, test=0.2, **options)
    dataset.training(), dataset.validation()
    assert isinstance(dataset, Summarizes)
    found = dataset.summarize()
    assert (found.unit, found.division) == ("rows", "shares drawn with seed 0, rows of the same 'who' together")
    splits = [(split.name, split.examples, dict(split.classes), split.files) for split in found.splits]
    assert splits == [
        ("training", 16, {"x": 8, "y": 8}, ()),
        ("validation", 3, {"x": 0, "y": 3}, (later,)),
        ("test", 4, {}, ()),
    ]
    columns = {column.name: (column.role, column.kind, dict(column.facts)) for column in found.columns}
    assert columns["town"] == ("input", "categories", {"missing": 0, "distinct": 3, "determines_target": False})
    assert columns["age"][:2] == ("input", "numbers")
    assert columns["age"][2]["missing"] == 1
    assert columns["kind"] == ("target", "labels", {"distinct": 2})
    assert columns["who"] == ("group", "categories", {"distinct": 8})
    assert columns["n"] == ("weight", "numbers", {})
    assert columns["note"] == ("ignored", "text", {})
    assert [(each.what, each.count, each.total, each.option) for each in found.treatments] == [
        ("column 'age': no value in training; replaced by the training rows' mean, 10.2", 1, 16, "data.missing"),
        ("column 'town': 'd' in validation, not among the categories trained on; ignored", 2, 3, None),
    ]


def test_a_summary_of_numbers(write: Callable[..., str]) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=50)
    y = x + 0.5 * draw.normal(size=50)
    dataset = table(write("x,copy,y\n" + "".join(f"{a},{2 * b + 1},{b}\n" for a, b in zip(x, y, strict=True))), "y")
    found = {column.name: column.facts for column in dataset.summarize().columns}
    assert found["x"]["correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)
    assert found["copy"]["correlation"] == pytest.approx(1, abs=1e-12)
    assert (found["x"]["distinct"], found["y"]["distinct"]) == (50, 50)
    assert dataset.summarize().division is None


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["1,234", "5,678"], "1,234"),
        (["2,5", "3"], "2,5"),
        (["12", "3,000"], "3,000"),
        (['"3"', '"4"'], '"3"'),
        (["5 %", "7%"], "5 %"),
        (["$1,200.50", "$3"], "$1,200.50"),
        (["1'000", "2 000"], "1'000"),
        (["1", "2"], None),  # data.categorical says so
        (["1,234", "many"], None),
        (["1-2", "3-4"], None),
        (["a", "b"], None),
        (["1,5"], None),
    ],
)
def test_categories_that_are_numbers_are_noticed(texts: list[str], found: str | None) -> None:
    assert find_numeric_text(texts) == found


def test_whole_numbers_are_labels_where_the_task_needs_labels(write: Callable[..., str]) -> None:
    given = {"target": "y", "validation": 0.0, "test": 0.0}
    whole = write("x,y\n1,3\n2,10\n3,3.0\n4,5\n")
    assert TableFiles("table", 0, None, "labels", training=whole, **given).assets["labels"] == ["3", "5", "10"]
    assert "labels" not in TableFiles("table", 0, None, training=whole, **given).assets
    fractions = write("x,y\n1,3\n2,2.5\n3,4\n")
    with pytest.raises(DataError, match=r"line 3, column 'y': the task needs labels, but 2.5 is a fraction"):
        TableFiles("table", 0, None, "labels", training=fractions, **given)
    explicit = TableFiles("table", 0, None, "labels", training=fractions, target_holds="labels", **given)
    assert explicit.assets["labels"] == ["2.5", "3", "4"]


def test_rows_without_a_target_are_refused_or_left_out(write: Callable[..., str]) -> None:
    numbers = write("x,y\n1,2\n2,\n3,NA\n4,5\n")
    with pytest.raises(DataError, match="no number") as caught:
        table(numbers, "y")
    assert "data.missing_target: drop" in str(caught.value)
    dataset = table(numbers, "y", missing_target="drop", test=write("x,y\n7,\n8,3\n", "test.csv"), batch_size=None)
    assert rows(dataset)[1].tolist() == [[-1], [1]]
    assert len(rows(dataset, "test")[1]) == 1
    assert f"{numbers}: 2 of 4 rows have no target and were left out" in (dataset.notice or "")
    found = [(each.count, each.total, each.option) for each in dataset.summarize().treatments]
    assert found == [(2, 4, "data.missing_target"), (1, 2, "data.missing_target")]
    labels = table(write("x,kind\n1,a\n2,\n3,b\n4,a\n"), missing_target="drop", batch_size=None)
    assert rows(labels)[1].tolist() == [0, 1, 0]
