"""What is drafted for small files whose content is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dltrain.errors import DataError, UsageError
from dltrain.starting.draft import Draft
from dltrain.starting.inspection import draft_config

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(columns: dict[str, list[Any]], name: str = "table.csv", separator: str = ",") -> Path:
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return put


def houses(rows: int = 60) -> dict[str, list[Any]]:
    draw = random.Random(0)
    first = date(2021, 1, 1)
    return {
        "Id": list(range(1, rows + 1)),
        "city": [("Ulm", "Bonn", "Jena")[n % 3] for n in range(rows)],
        "area": [40.5 + n for n in range(rows)],
        "rooms": ["" if n % 10 == 0 else n % 4 + 1 for n in range(rows)],
        "sold": [(first + timedelta(days=draw.randrange(700))).isoformat() for _ in range(rows)],
        "note": [f"a flat with {n} windows and a door" for n in range(rows)],
        "street": [f"Street{n}" for n in range(rows)],
        "country": ["DE"] * rows,
        "price": [100000 + 1000 * n + draw.randrange(900) for n in range(rows)],
    }


def data(draft: Draft) -> dict[str, Any]:
    found: dict[str, Any] = draft.settings["data"]
    return found


def test_each_column_of_a_table_gets_the_role_that_its_content_has(write: Write) -> None:
    draft = draft_config(write(houses()))
    assert draft.kind == "table"
    assert draft.settings["task"] == {"name": "regression"}
    assert data(draft)["target"] == "price"
    assert data(draft)["ignore"] == ["Id", "note", "street", "country"]
    assert data(draft)["dates"] == ["sold"]
    assert data(draft)["missing"] == "mean"
    assert "missing_target" not in data(draft)
    assert "separator" not in data(draft)
    rows = {row[0]: list(row[1:5]) for row in draft.columns[1:]}
    sold = len(set(houses()["sold"]))
    assert rows == {
        "Id": ["an id", "0", "60", "left out"],
        "city": ["categories", "0", "3", "input"],
        "area": ["numbers", "0", "60", "input"],
        "rooms": ["numbers", "6", "4", "input"],
        "sold": ["dates", "0", str(sold), "input: its parts"],
        "note": ["free text", "0", "60", "left out"],
        "street": ["names", "0", "60", "left out"],
        "country": ["one value", "0", "1", "left out"],
        "price": ["numbers", "0", "60", "target"],
    }
    assert any("'note'" in doubt for doubt in draft.doubts)


def test_separators_and_written_numbers_are_found_and_set_where_they_are_open(write: Write) -> None:
    columns = {"size": ["1,250", "2,500", "3,125"] * 20, "kind": ["a", "b", "c"] * 20, "y": list(range(60))}
    draft = draft_config(write(columns, separator=";"), "y")
    assert data(draft)["separator"] == "semicolon"
    assert data(draft)["decimal"] == "comma"  # 1,250 may be 1250 as well
    assert "decimal comma" in " ".join(draft.doubts)
    columns["size"] = ["1.250,50", "2.500,25", "3.125,00"] * 20
    clear = draft_config(write(columns, separator=";"), "y")
    assert "decimal" not in data(clear)
    assert any("1.250,50" in fact for fact in clear.facts)


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["yes", "no"] * 30, {"name": "binary_classification", "positive": "yes"}),
        ([0, 1] * 30, {"name": "binary_classification", "positive": "1"}),
        (["a", "b", "c"] * 20, {"name": "tabular_classification"}),
        ([3, 4, 5, 6] * 15, {"name": "tabular_classification"}),
        ([0.5, 1.5, 2.5] * 20, {"name": "regression"}),
        (list(range(60)), {"name": "regression"}),
        (
            ["ok"] * 54 + ["fraud"] * 6,
            {"name": "binary_classification", "positive": "fraud", "goal": "average_precision"},
        ),
        (
            ["a"] * 42 + ["b"] * 12 + ["c"] * 6,
            {"name": "tabular_classification", "class_weights": "balanced", "goal": "macro_f1"},
        ),
    ],
)
def test_the_task_follows_from_the_target_and_the_goal_from_rare_classes(
    target: list[Any], task: dict[str, Any], write: Write
) -> None:
    columns = {"x": [n * 37 % 61 / 2 for n in range(60)], "label": target}
    assert draft_config(write(columns)).settings["task"] == task


def test_a_target_is_named_or_usual_or_the_last_column_and_a_wrong_one_gets_the_nearest(write: Write) -> None:
    file = write(houses())
    assert data(draft_config(file, "CITY"))["target"] == "city"
    with pytest.raises(UsageError, match=r"(?s)no column 'prise'.*did you mean 'price'"):
        draft_config(file, "prise")
    with pytest.raises(UsageError, match=r"'sold' cannot be predicted: it holds dates") as wrong:
        draft_config(file, "sold")
    assert "city, area, rooms, price" in str(wrong.value.advice)
    assert data(draft_config(file, "Id"))["target"] == "Id"  # whoever asks for it knows better
    plain = {"b": [n / 7 for n in range(40)], "a": [n * n / 3 for n in range(40)]}
    last = draft_config(write(plain))
    assert data(last)["target"] == "a"
    assert any("chosen as the last column; others: b" in fact for fact in last.facts)
    longer = write({"median_house_price": plain["a"], "b": plain["b"]})
    assert data(draft_config(longer))["target"] == "median_house_price"


def test_rows_of_one_person_stay_together_and_mixed_columns_are_pointed_out(write: Write) -> None:
    columns = {
        "patient_id": [n // 3 for n in range(90)],
        "dose": [n % 7 if n % 30 else "unknown" for n in range(90)],
        "sex": ["f", "m"] * 45,
        "outcome": ["well", "ill", "ill"] * 30,
    }
    draft = draft_config(write(columns))
    assert data(draft)["group"] == "patient_id"
    assert data(draft)["categorical"] == ["dose", "sex"]
    assert any("'dose' is read as categories" in doubt and "'unknown'" in doubt for doubt in draft.doubts)


def test_dates_whose_order_is_open_are_read_with_the_day_first_and_pointed_out(write: Write) -> None:
    columns = {"when": [f"0{n % 9 + 1}/0{n * 7 % 9 + 1}/2024" for n in range(60)], "y": [n / 3 for n in range(60)]}
    draft = draft_config(write(columns))
    assert data(draft)["date_order"] == "day"
    assert any("data.date_order=month" in doubt for doubt in draft.doubts)


def test_regular_times_make_a_series_with_the_season_that_was_put_in(write: Write) -> None:
    months = [f"{1949 + n // 12}-{n % 12 + 1:02}" for n in range(144)]
    values = [round(100 + n + 30 * float(np.sin(n * np.pi / 6)), 3) for n in range(144)]
    columns = {"month": months, "region": ["north"] * 144, "passengers": values}
    draft = draft_config(write(columns))
    assert draft.kind == "series"
    assert data(draft)["time"] == "month"
    assert data(draft)["columns"] == ["passengers"]
    assert any("every 12 steps" in fact for fact in draft.facts)
    assert draft_config(write(columns), kind="table").kind == "table"
    falling = write({"day": [f"2024-01-{31 - n:02}" for n in range(31)], "x": [n / 3 for n in range(31)]})
    with pytest.raises(UsageError, match=r"the dates in 'day' fall from row to row"):
        draft_config(falling, kind="series")


def test_texts_with_labels_are_told_from_tables_with_a_text(write: Write) -> None:
    texts = [f"the film number {n} was {'good' if n % 2 else 'bad'} to see" for n in range(60)]
    columns = {"id": list(range(60)), "review": texts, "sentiment": ["pos" if n % 2 else "neg" for n in range(60)]}
    draft = draft_config(write(columns))
    assert draft.kind == "texts"
    assert (data(draft)["text"], data(draft)["label"]) == ("review", "sentiment")
    mixed = {**columns, "price": [n / 7 for n in range(60)], "size": [n / 3 for n in range(60)]}
    assert draft_config(write(mixed), "sentiment").kind == "table"
    assert draft_config(write(mixed), "sentiment", "texts").kind == "texts"


def make_pictures(folder: Path, classes: dict[str, int], size: tuple[int, int] = (28, 28), mode: str = "L") -> None:
    for name, number in classes.items():
        (folder / name).mkdir(parents=True)
        for n in range(number):
            Image.new(mode, size, n).save(folder / name / f"{n}.png")


def test_folders_of_pictures_are_found_at_any_depth_with_their_splits(tmp_path: Path) -> None:
    make_pictures(tmp_path / "set" / "images" / "train", {"a": 12, "b": 12})
    make_pictures(tmp_path / "set" / "images" / "test", {"a": 3, "b": 3})
    draft = draft_config(tmp_path / "set")
    assert draft.kind == "images"
    assert data(draft)["root"] == tmp_path / "set" / "images"
    assert (data(draft)["height"], data(draft)["width"], data(draft)["mode"]) == (28, 28, "grey")
    assert "test" not in data(draft)
    assert data(draft)["validation"] == 0.15
    make_pictures(tmp_path / "photos", {"cat": 60, "dog": 12}, (300, 200), "RGB")
    photos = draft_config(tmp_path / "photos")
    assert (data(photos)["height"], data(photos)["mode"]) == (64, "rgb")
    assert photos.settings["task"] == {"name": "image_classification", "class_weights": "balanced", "goal": "macro_f1"}


def test_pictures_beside_a_list_of_labels_are_explained(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "labels.csv").write_text("file,label\n1.png,cat\n")
    with pytest.raises(DataError, match=r"pictures that are not in folders, and labels.csv"):
        draft_config(tmp_path)


def test_a_folder_of_tables_uses_those_of_the_splits_that_have_the_target(write: Write) -> None:
    columns = {"x": [n / 7 for n in range(60)], "y": [n * n / 3 for n in range(60)]}
    training = write(columns, "set/train.csv")
    write({"x": columns["x"]}, "set/test.csv")  # without the target, as in competitions
    draft = draft_config(training.parent)
    assert data(draft)["training"] == training
    assert data(draft)["test"] == 0.2
    test = write(columns, "set/test.csv")
    assert data(draft_config(training.parent))["test"] == test
    write(columns, "set/other.csv")
    write(columns, "set/train2.csv")
    (training.parent / "train.csv").unlink()
    (training.parent / "train2.csv").unlink()
    with pytest.raises(UsageError, match=r"2 tables: .*other.csv"):
        draft_config(training.parent)


def test_what_cannot_be_read_gets_one_message_with_what_can(tmp_path: Path) -> None:
    (tmp_path / "book.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"(?s)dltrain init reads.*a table.*pictures.*sound files") as wrong:
        draft_config(tmp_path / "book.xlsx")
    assert wrong.value.advice == "save its sheet as .csv"
    with pytest.raises(DataError, match=r"nothing to start from; it has 1 other file"):
        draft_config(tmp_path)
    (tmp_path / "houses.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"did you mean 'houses.csv'"):
        draft_config(tmp_path / "house.csv")
