"""`predict` on the files of the test split gives the outputs that `eval` scores, for each kind of data and task.

The metrics are computed from what `predict` prints and the truth in the files, with scikit-learn and NumPy.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from sklearn import metrics

from support.commands import good
from support.examples import write_config

TRAINER = {"epochs": 2, "device": "cpu", "threads": 1}


def fit(root: Path, task: Any, data: Mapping[str, Any], model: Any) -> Path:
    config = {
        "task": task,
        "data": data,
        "model": model,
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "trainer": TRAINER,
        "observers": [],
    }
    good("fit", write_config(root / "c.yaml", config), "-q", "-o", root / "run")
    return root / "run"


def evaluate(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(good("eval", run, "--json").stdout)["metrics"]
    return found


def predict(run: Path, *inputs: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good("predict", run, *inputs, "--json", "--top", 99).stdout.splitlines()]


def compare_labels(told: Mapping[str, float], predictions: Sequence[Mapping[str, Any]], truth: Sequence[str]) -> None:
    """The accuracy and the log loss of predictions are those that were reported."""
    labels = sorted(one["label"] for one in predictions[0]["labels"])
    chances = [{one["label"]: one["probability"] for one in each["labels"]} for each in predictions]
    given = [max(one, key=one.__getitem__) for one in chances]
    assert given == [each["labels"][0]["label"] for each in predictions]
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(truth, given))
    losses = [-math.log(one[label]) for one, label in zip(chances, truth, strict=True)]
    assert told["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    if len(labels) > 2:
        assert told["macro_f1"] == pytest.approx(metrics.f1_score(truth, given, average="macro"))


def compare_numbers(told: Mapping[str, float], estimates: Any, truth: Any) -> None:
    estimates, truth = numpy.asarray(estimates), numpy.asarray(truth)
    squares = numpy.square(estimates - truth).mean(0)
    assert told["rmse"] == pytest.approx(numpy.sqrt(squares).mean(), rel=1e-5)
    assert told["mae"] == pytest.approx(numpy.abs(estimates - truth).mean(), rel=1e-5)
    assert told["r2"] == pytest.approx(metrics.r2_score(truth, estimates), rel=1e-5)


# --- pictures


def draw_picture(path: Path, colour: Sequence[int], draw: numpy.random.Generator, number: int) -> None:
    """Of several sizes and forms: grey, 16 bits, with a palette, transparent, and turned by the camera."""
    size = (20 + number, 31 - number, 3)
    pixels = numpy.clip(colour + draw.normal(0, 60, size), 0, 255).astype(numpy.uint8)
    image = Image.fromarray(pixels)
    if number % 6 == 1:
        image.convert("P").save(path.with_suffix(".gif"))
    elif number % 6 == 2:
        Image.fromarray(pixels[..., 0].astype(numpy.uint16) * 257).save(path.with_suffix(".png"))
    elif number % 6 == 3:
        image.putalpha(Image.fromarray(pixels[..., 1]))
        image.save(path.with_suffix(".webp"), lossless=True)
    elif number % 6 == 4:
        exif = Image.Exif()
        exif[274] = 6
        image.save(path.with_suffix(".jpg"), exif=exif)
    else:
        image.save(path.with_suffix(".png"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "grey", "resize": "crop", "normalize": "unit", "white": "largest"},
        {"resize": "stretch", "normalize": "imagenet"},
    ],
)
def test_pictures(options: dict[str, Any], tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    for split, count in (("train", 18), ("test", 12)):
        for label, colour in (("blue", (90, 90, 150)), ("red", (150, 90, 90)), ("green", (90, 150, 90))):
            (tmp_path / "pictures" / split / label).mkdir(parents=True)
            for number in range(count):
                draw_picture(tmp_path / "pictures" / split / label / f"{number}", colour, draw, number)
    data = {
        "name": "image_folder",
        "root": str(tmp_path / "pictures"),
        "height": 16,
        "width": 16,
        "validation": 0.2,
        "cache": str(tmp_path / "cache"),
        **options,
    }
    run = fit(tmp_path, "image_classification", data, {"name": "mlp", "hidden": [8]})
    files = sorted((tmp_path / "pictures" / "test").rglob("*.*"))
    compare_labels(evaluate(run), predict(run, *files), [file.parent.name for file in files])


# --- tables


def write_tables(root: Path) -> None:
    """Semicolons, decimal commas, currency, dates, missing values, categories with blanks, and three targets."""
    draw = numpy.random.default_rng(0)
    for name, count in (("training", 120), ("test", 60)):
        rows = ["\ufeffsold;price;size;colour;kind;two;y;z"]
        for number in range(count):
            size, price = draw.normal(5, 2), draw.uniform(1000, 9000)
            colour = str(draw.choice(["red", " blue", "Café", "Cafe\u0301", ""]))
            written = f"{price:,.2f} €".replace(",", "_").replace(".", ",").replace("_", ".")
            kind = "abc"[int(price / 3000 + draw.normal(0, 0.3)) % 3]
            shown = "" if number % 9 == 4 else f"{size:.3f}".replace(".", ",")
            y = f"{price / 100 + size:.3f}".replace(".", ",")
            day = f"{1 + number % 28:02}.{1 + number % 12:02}.2024"
            rows.append(f"{day};{written};{shown};{colour};{kind};{'yes' if price > 5000 else 'no'};{y};{number % 7}")
        (root / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def read_column(path: Path, name: str) -> list[str]:
    with path.open(encoding="utf-8-sig") as file:
        return [row[name] for row in csv.DictReader(file, delimiter=";")]


TABLE = {"name": "table", "training": "training.csv", "test": "test.csv", "missing": "mean", "dates": ["sold"]}


@pytest.mark.parametrize(("task", "target"), [("tabular_classification", "kind"), ("binary_classification", "two")])
@pytest.mark.parametrize("model", ["linear", {"name": "dense", "hidden": [8], "batch_norm": True}])
def test_labels_of_tables(task: str, target: str, model: Any, tmp_path: Path) -> None:
    write_tables(tmp_path)
    others = sorted({"kind", "two", "y", "z"} - {target})
    run = fit(tmp_path, task, {**TABLE, "root": str(tmp_path), "target": target, "ignore": others}, model)
    truth = read_column(tmp_path / "test.csv", target)
    compare_labels(evaluate(run), predict(run, tmp_path / "test.csv"), truth)


@pytest.mark.parametrize(
    ("target", "quantiles", "normalize"),
    [(["y"], None, "standard"), (["y", "z"], None, "none"), (["y", "z"], [0.1, 0.5, 0.9], "standard")],
)
def test_numbers_of_tables(target: list[str], quantiles: Any, normalize: str, tmp_path: Path) -> None:
    write_tables(tmp_path)
    others = sorted({"kind", "two", "y", "z"} - set(target))
    data = {**TABLE, "root": str(tmp_path), "target": target, "ignore": others, "normalize_target": normalize}
    run = fit(tmp_path, {"name": "regression", "quantiles": quantiles}, data, {"name": "dense", "hidden": [8]})
    columns = [read_column(tmp_path / "test.csv", name) for name in target]
    truth = numpy.array([[float(text.replace(",", ".")) for text in column] for column in columns]).T
    estimates = [one["estimates"] for one in predict(run, tmp_path / "test.csv")]
    told = evaluate(run)
    compare_numbers(told, [[one[name] for name in target] for one in estimates], truth)
    if quantiles:
        low, high = (numpy.array([[one[f"{name} q{q}"] for name in target] for one in estimates]) for q in (0.1, 0.9))
        assert told["coverage_80"] == pytest.approx(((low <= truth) & (truth <= high)).mean())
        assert told["width_80"] == pytest.approx((high - low).mean(), rel=1e-5)


# --- texts


@pytest.mark.parametrize("options", [{}, {"lowercase": False, "max_tokens": 5}, {"unit": "character"}])
@pytest.mark.parametrize("model", ["embedding_bag", "text_cnn"])
def test_texts(model: str, options: dict[str, Any], tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    words = ["good", "Bad", "fine,", 'so "so"', "Café", "Cafe\u0301", "a\nline", "", "!?", "unknown"]
    for name, count in (("training", 120), ("test", 60)):
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "text"])
            for number in range(count):
                chosen = [words[number % 3], *draw.choice(words, draw.integers(0, 12))]
                writer.writerow(["xyz"[number % 3], " ".join(chosen) if number % 20 else ""])
    data = {
        "name": "labelled_text",
        "root": str(tmp_path),
        "training": ["training.csv"],
        "test": ["test.csv"],
        **options,
    }
    run = fit(tmp_path, "text_classification", data, model)
    with (tmp_path / "test.csv").open(newline="", encoding="utf-8") as file:
        truth = [row["label"] for row in csv.DictReader(file)]
    compare_labels(evaluate(run), predict(run, tmp_path / "test.csv"), truth)


# --- series


@pytest.mark.parametrize(
    ("model", "options", "quantiles"),
    [
        ("autoregression", {}, None),
        ("autoregression", {"normalize": "window"}, None),
        ({"name": "series_rnn", "cell": "gru", "hidden": 8}, {"difference": [1, 3]}, [0.2, 0.5, 0.8]),
        ({"name": "series_rnn", "cell": "gru", "hidden": 8}, {"normalize": "window", "difference": [1]}, None),
    ],
)
def test_series(model: Any, options: dict[str, Any], quantiles: Any, tmp_path: Path) -> None:
    draw, rows = numpy.random.default_rng(0), 120
    values = numpy.array([0, 1000]) + numpy.cumsum(draw.normal(0.3, 1, (rows, 2)), 0).round(3)
    missing = draw.random((rows, 2)) < 0.05
    missing[0] = False
    fields = numpy.where(missing, "", values.astype(str))
    lines = [f"2024-01-01T{n // 60:02}:{n % 60:02},{a},{b}" for n, (a, b) in enumerate(fields)]
    (tmp_path / "s.csv").write_text("\n".join(["time,a,b", *lines]) + "\n")
    window, horizon, test = 6, 2, 24
    data = {
        "name": "series",
        "file": "s.csv",
        "root": str(tmp_path),
        "time": "time",
        "target": ["b"],
        "window": window,
        "horizon": horizon,
        "missing": "previous",
        "test": test / rows,
        **options,
    }
    run = fit(tmp_path, {"name": "sequence_regression", "quantiles": quantiles}, data, model)
    for row in range(1, rows):
        values[row, missing[row]] = values[row - 1, missing[row]]
    starts = range(rows - test, rows - horizon + 1)
    for start in starts:
        (tmp_path / f"{start}.csv").write_text("\n".join(["time,a,b", *lines[:start]]) + "\n")
    estimates = [one["estimates"] for one in predict(run, *(tmp_path / f"{start}.csv" for start in starts))]
    told = evaluate(run)
    truth = numpy.array([values[start : start + horizon, 1] for start in starts])
    compare_numbers(told, [[one["b+1"], one["b+2"]] for one in estimates], truth)
    naive = numpy.array([[values[start - 1, 1]] * horizon for start in starts])
    assert told["naive_mae"] == pytest.approx(numpy.abs(naive - truth).mean(), rel=1e-5)
    if quantiles:
        low, high = (numpy.array([[one[f"b+{step} q{q}"] for step in (1, 2)] for one in estimates]) for q in (0.2, 0.8))
        assert told["coverage_60"] == pytest.approx(((low <= truth) & (truth <= high)).mean())
