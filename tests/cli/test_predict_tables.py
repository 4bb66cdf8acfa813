"""`dltrain predict` and `dltrain eval` with models of tables."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from dltrain.data.tables.reader import TableReader, parse_row
from dltrain.data.tables.table_files import load_bundled_table
from dltrain.errors import DataError, UsageError
from dltrain.kinds import find_kind, resolve_reference
from support.commands import call, good
from support.examples import write_config, write_labelled

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear regression of configs/."""
    run = tmp_path_factory.mktemp("line") / "run"
    good("fit", PROJECT / "configs" / "linear_regression.yaml", "-o", run)
    return run


@pytest.fixture(scope="module")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on .csv files of real tumours, and a made-up column of categories; the test file has another of these."""
    folder = tmp_path_factory.mktemp("tumours")
    columns = load_bundled_table("breast_cancer").columns
    chosen = ["mean radius", "mean texture"]
    for name, rows in (("train", range(300)), ("test", range(300, 569))):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*chosen, "side", "diagnosis"])
            sides = ("left", "right", "no one knows") if name == "test" else ("left", "right")
            writer.writerows(
                [*(columns[column][row] for column in chosen), sides[row % len(sides)], columns["diagnosis"][row]]
                for row in rows
            )
    (folder / "small.yaml").write_text(
        f"""
task: binary_classification
data: {{name: table, root: "{folder}", training: train.csv, test: test.csv, validation: 0.2, target: diagnosis}}
model: linear
optimizer: {{name: adam, learning_rate: 0.05}}
trainer: {{epochs: 3, device: cpu, threads: 1}}
"""
    )
    good("fit", folder / "small.yaml", "-o", folder / "run")
    return folder / "run"


def test_y_is_twice_x(line: Path) -> None:
    told = good("predict", line, "x=6", "x = -2.5").stdout.splitlines()
    assert [text.split("\t") for text in told][:2] == [["input", "y"], ["x=6", "12"]]
    entries = [json.loads(text) for text in good("predict", line, "x=6", "x=100", "--json").stdout.splitlines()]
    assert [entry["input"] for entry in entries] == ["x=6", "x=100"]
    assert [entry["estimates"]["y"] for entry in entries] == pytest.approx([12, 200], rel=1e-6)


def test_rows_of_files_and_of_standard_input(line: Path, tmp_path: Path) -> None:
    (tmp_path / "more.tsv").write_text("note\tx\nfirst\t6\n\nsecond\t7\n")
    np.savez(tmp_path / "more.npz", x=[8, 9])
    told = good(
        "predict", line, tmp_path / "more.tsv", "-", tmp_path / "more.npz", stdin="\ufeffx,z\r\n10,1\r\n"
    ).stdout
    found = dict(text.split("\t") for text in told.splitlines()[1:])
    assert found == {
        f"{tmp_path}/more.tsv:2": "12", f"{tmp_path}/more.tsv:4": "14", "-:2": "20",
        f"{tmp_path}/more.npz:1": "16", f"{tmp_path}/more.npz:2": "18",
    }  # fmt: skip


def test_a_csv_of_predictions(line: Path, tumours: Path, tmp_path: Path) -> None:
    result = good("predict", line, "x=6", "x=7", "-o", tmp_path / "out.csv")
    assert result.stdout == ""
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[0] == ["input", "y"]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([12, 14], rel=1e-6)
    good("predict", tumours, tumours.parent / "test.csv", "-o", tmp_path / "kinds.csv", "--top", 2)
    rows = list(csv.reader((tmp_path / "kinds.csv").read_text().splitlines()))
    assert rows[0] == ["input", "label", "probability", "label_2", "probability_2"]
    assert len(rows) == 1 + 269
    assert all(float(row[2]) + float(row[4]) == pytest.approx(1, abs=1e-6) for row in rows[1:])
    nowhere = call("predict", line, "x=6", "-o", tmp_path / "none" / "out.csv")
    assert f"--output {tmp_path}/none/out.csv: there is no folder {tmp_path}/none\n" in str(nowhere.exception)
    both = call("predict", line, "x=6", "-o", tmp_path / "out.csv", "--json")
    assert "--output writes CSV and --json lines of JSON; give one of the two" in str(both.exception)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(line: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("x\n6\nsix\n7\n\n")
    result = call("predict", line, tmp_path / "bad.csv", "y=3", tmp_path / "none.csv", "x=1,y", "-", "x=1", stdin="")
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "2 files and 3 of 6 rows could not be read; the others are done"
    assert [text.split("\t")[1] for text in result.stdout.splitlines()] == ["y", "12", "14", "2"]
    for told in (
        f"error: {tmp_path}/bad.csv, line 3, column 'x': 'six' is not a number",
        "error: y=3: no column 'x'; found y\nnext: give the columns of training: x",
        f"error: none.csv (plain or .gz): no such file in {tmp_path}",
        "error: x=1,y: not a row; allowed is NAME=VALUE for each column, between commas",
        "error: standard input: no row in it",
    ):
        assert told in result.stderr
    missing = call("predict", line, "x=")
    assert "x=, row 1, column 'x': no value\nnext: fill it in, or train with data.missing: mean\n" in missing.stderr
    assert missing.stdout == ""
    assert str(missing.exception) == "1 of 1 rows could not be read"


def test_a_ragged_row_is_refused_alone(line: Path, tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text("x,z\n6,1\n7\n8,1,2\n9,1\n")
    result = call("predict", line, tmp_path / "ragged.csv", "-", stdin="x,z\n1,1\n2\n")
    assert [text.split("\t")[1] for text in result.stdout.splitlines()] == ["y", "12", "18", "2"]
    assert f"error: {tmp_path}/ragged.csv, line 3: 1 fields, but the first line has 2 (cut short?)" in result.stderr
    assert f"error: {tmp_path}/ragged.csv, line 4: 3 fields, but the first line has 2 (a separator" in result.stderr
    assert "error: standard input, line 3: 1 fields" in result.stderr
    assert str(result.exception) == "3 of 6 rows could not be read; the others are done"
    (tmp_path / "all.csv").write_text("x,z\n6\n")
    nothing = call("predict", line, tmp_path / "all.csv")
    assert str(nothing.exception) == "1 file and 1 of 1 rows could not be read"


def test_a_device_that_is_not_there_is_the_options_fault(line: Path) -> None:
    for command, words in (("eval", []), ("predict", ["x=6"])):
        result = call(command, line, *words, "--device", "foo")
        assert isinstance(result.exception, UsageError)
        assert str(result.exception).startswith("--device: this machine has no device 'foo'\navailable:\n")
        assert str(result.exception).endswith("\nnext: set --device to one of these, or to auto")


def test_rows_as_the_command_line_gives_them() -> None:
    row = parse_row('a=1, "place=Paris, Texas",b==')
    assert {name: values.tolist() for name, values in row.columns.items()} == {
        "a": ["1"], "place": ["Paris, Texas"], "b": ["="],
    }  # fmt: skip
    for text in ("", "a", "a=1,a=2", '"a=1'):
        with pytest.raises(DataError, match="not a row; allowed is NAME=VALUE for each column"):
            parse_row(text)


@pytest.mark.parametrize(
    ("given", "quoted"),
    [
        ("place=Paris, Texas", '"place=Paris, Texas"'),
        ("a=1, place=Paris,Texas,b=3", 'a=1,"place=Paris,Texas",b=3'),
        ("note=1,a", '"note=1,a"'),
    ],
)
def test_a_comma_in_a_value_needs_quotes(given: str, quoted: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_row(given)
    assert f"quote a value that has a comma: '{quoted}'" in str(caught.value)
    assert len(parse_row(quoted).columns) == given.count("=")


def test_json_names_the_positive_label(tumours: Path, line: Path) -> None:
    told = good("predict", tumours, tumours.parent / "test.csv", "--json").stdout.splitlines()
    assert {json.loads(text)["positive_label"] for text in told} == {"malignant"}
    assert "positive_label" not in json.loads(good("predict", line, "x=6", "--json").stdout)


def test_standard_input_that_is_no_text() -> None:
    def lines() -> Iterator[str]:
        yield b"x\n\xff\n".decode()

    (given,) = TableReader({"features": []}).read(["-"], lines())
    assert str(given.value) == "standard input: not text: invalid start byte\nnext: give it as UTF-8"


def predictions(run: Path, *options: object) -> list[dict[str, Any]]:
    told = good("predict", run, run.parent / "test.csv", "--json", "--top", 2, *options).stdout
    return [json.loads(text)["labels"] for text in told.splitlines()]


@pytest.mark.parametrize("threshold", [None, 0.1, 0.9])
def test_eval_measures_what_predict_says(tumours: Path, threshold: float | None) -> None:
    options = [] if threshold is None else ["--threshold", threshold]
    found = json.loads(good("eval", tumours, "--json", *options).stdout)
    said = predictions(tumours, *options)
    with (tumours.parent / "test.csv").open() as file:
        truth = [row["diagnosis"] for row in csv.DictReader(file)]
    given = [labels[0]["label"] for labels in said]
    chances = [next(one["probability"] for one in labels if one["label"] == "malignant") for labels in said]
    assert given == ["malignant" if chance >= (threshold or 0.5) else "benign" for chance in chances]
    told = found["metrics"]
    for name in ("precision", "recall", "f1"):
        expected = getattr(metrics, f"{name}_score")(truth, given, pos_label="malignant")
        assert told[name] == pytest.approx(expected, abs=1e-12)
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(truth, given), abs=1e-12)
    positive = np.array(truth) == "malignant"
    assert told["roc_auc"] == pytest.approx(metrics.roc_auc_score(positive, chances), abs=1e-9)
    assert told["loss"] == pytest.approx(metrics.log_loss(positive, chances), rel=1e-5)
    assert found.get("threshold") == threshold


def test_a_category_that_training_did_not_know_is_named(tumours: Path) -> None:
    told = "column 'side' of the test split: 'no one knows' is not among the categories trained on; they were ignored"
    assert f"warning: {told}" in good("eval", tumours).stderr
    given = good("predict", tumours, tumours.parent / "test.csv").stderr
    assert "note: column 'side': 'no one knows' is not among the categories trained on" in given
    assert "note" not in good("predict", tumours, tumours.parent / "train.csv").stderr


def test_thresholds_that_cannot_be(tumours: Path, line: Path) -> None:
    for command, words in (("eval", []), ("predict", ["x=6"])):
        result = call(command, line, *words, "--threshold", 0.5)
        assert "--threshold is for binary classifiers; the task 'regression' has none" in str(result.exception)
    for found in (0, 1, 3):
        result = call("eval", tumours, "--threshold", found)
        assert isinstance(result.exception, UsageError)
        assert f"--threshold: found {found}; allowed is a probability, above 0 and below 1" in str(result.exception)


def test_eval_without_a_test_split(line: Path) -> None:
    result = call("eval", line)
    assert isinstance(result.exception, UsageError)
    assert "data.test is 0: there is no test split\nnext: train with" in str(result.exception)
    neither = call("eval", line, "--split", "validation")
    assert isinstance(neither.exception, UsageError)
    assert "is empty (data.validation: 0.0)\nnext: train with data.validation as a share" in str(neither.exception)


def test_a_metric_that_is_not_defined_is_null_and_meets_nothing(tumours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "benign"
    folder.mkdir()
    lines = (tumours.parent / "test.csv").read_text().splitlines()
    (folder / "test.csv").write_text("\n".join([lines[0], *(text for text in lines if text.endswith("benign"))]))
    found = json.loads(good("eval", tumours, "--root", folder, "--changed-data", "--json").stdout)
    assert found["metrics"]["roc_auc"] is None
    told = good("eval", tumours, "--root", folder, "--changed-data").stdout
    assert re.search(r"^roc_auc +undefined$", told, re.MULTILINE)
    required = call("eval", tumours, "--root", folder, "--changed-data", "--require", "roc_auc>=0.5")
    assert "not met: roc_auc>=0.5 (found nan)" in str(required.exception)


def test_invert_is_for_images(line: Path) -> None:
    result = call("predict", line, "x=6", "--invert", "yes")
    assert "--invert is for images; the task 'regression' reads rows\nnext: leave it out" in str(result.exception)


@pytest.mark.parametrize("kind", ["images", "table", "series", "documents"])
def test_kinds_of_data_that_predict_takes_have_a_reader(kind: str) -> None:
    reference = find_kind(kind).reader
    assert reference is not None
    assert all(callable(getattr(resolve_reference(reference), method)) for method in ("read", "inputs", "notes"))


def test_targets_far_from_0_keep_their_digits(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("x,seen\n" + "".join(f"{row},{1_700_000_000 + 2 * row}\n" for row in range(40)))
    (tmp_path / "times.yaml").write_text(
        f"""
task: regression
data: {{name: table, root: "{tmp_path}", training: times.csv, target: seen}}
model: linear
optimizer: {{name: adam, learning_rate: 0.1}}
trainer: {{epochs: 200, device: cpu, threads: 1}}
"""
    )
    good("fit", tmp_path / "times.yaml", "-o", tmp_path / "run")
    for arguments in ([], ["--json"], ["-o", tmp_path / "found.csv"]):
        told = good("predict", tmp_path / "run", "x=5", "x=17", *arguments).stdout.splitlines()
        if not arguments:
            found = [float(line.split("\t")[1]) for line in told[1:]]
        elif not told:
            found = [float(row["seen"]) for row in csv.DictReader((tmp_path / "found.csv").read_text().splitlines())]
        else:
            found = [json.loads(line)["estimates"]["seen"] for line in told]
        assert np.array(found) - 1.7e9 == pytest.approx([10, 34], abs=0.05)


def test_a_category_of_validation_is_named_by_fit_and_by_no_prediction(tmp_path: Path) -> None:
    for name, town in (("train", "Paris"), ("validation", "Oslo"), ("test", "Rome")):
        rows = "".join(f"Rome,4.{row}\n{town},5.{row}\n" for row in range(9))
        (tmp_path / f"{name}.csv").write_text(f"city,y\n{rows}")
    (tmp_path / "city.yaml").write_text(
        f"""
task: regression
data: {{name: table, root: "{tmp_path}", training: train.csv, validation: validation.csv, test: test.csv, target: y}}
model: linear
optimizer: {{name: adam, learning_rate: 0.1}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
"""
    )
    told = good("fit", tmp_path / "city.yaml", "-o", tmp_path / "run")
    assert "column 'city' of the validation split: 'Oslo' is not among the categories trained on" in told.stderr
    assert "Oslo" not in good("predict", tmp_path / "run", "city=Rome").stderr


def test_columns_of_the_input_are_kept_beside_the_predictions(tumours: Path, tmp_path: Path) -> None:
    table = tumours.parent / "test.csv"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    words = ("predict", tumours, table, "--keep", "side", "--keep", "diagnosis")
    call(*words, "-o", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        written = list(csv.reader(file))
    assert written[0] == ["input", "side", "diagnosis", "label", "probability"]
    assert [row[1:3] for row in written[1:]] == [[row["side"], row["diagnosis"]] for row in rows]
    plain = [line.split("\t") for line in good("predict", tumours, table).stdout.splitlines()]
    kept = [line.split("\t") for line in good(*words).stdout.splitlines()]
    assert [[row[0], *row[3:]] for row in kept] == plain
    first = json.loads(good(*words, "--json").stdout.splitlines()[0])
    assert first["kept"] == {"side": rows[0]["side"], "diagnosis": rows[0]["diagnosis"]}


def test_a_kept_column_does_not_hide_the_number_that_is_predicted(line: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x,y,id\n6,1,a\n7,2,b\n")
    good("predict", line, tmp_path / "in.csv", "--keep", "y", "--keep", "id", "-o", tmp_path / "out.csv")
    head, *rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert head == ["input", "y", "id", "predicted y"]
    assert [row[1:3] for row in rows] == [["1", "a"], ["2", "b"]]


def test_a_column_to_keep_that_is_not_there(line: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x,name\n6,a\n")
    refused = call("predict", line, tmp_path / "in.csv", "--keep", "nam")
    assert refused.exit_code != 0
    assert (
        f"{tmp_path}/in.csv: has no column 'nam' to keep; its columns are x, name\ndid you mean 'name'?"
        in refused.stderr
    )


def test_texts_keep_the_cells_of_their_table(tmp_path: Path) -> None:
    write_labelled(tmp_path)
    config = {
        "task": "text_classification",
        "data": {"name": "labelled_text", "training": ["texts.csv"]},
        "model": "text_cnn",
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
    }
    good("fit", write_config(tmp_path / "texts.yaml", config), "-q", "-o", tmp_path / "run")
    lines = good("predict", tmp_path / "run", tmp_path / "texts.csv", "--keep", "author").stdout.splitlines()
    with (tmp_path / "texts.csv").open() as file:
        authors = [row["author"] for row in csv.DictReader(file)]
    assert [line.split("\t")[1] for line in lines] == authors
    (tmp_path / "lines.txt").write_text("one\n")
    refused = call("predict", tmp_path / "run", tmp_path / "lines.txt", "--keep", "author")
    assert "has no columns to keep" in refused.stderr
