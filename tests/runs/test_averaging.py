"""The mean of several members, and of several views of an image, against means computed by hand."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch.nn import functional

from dltrain.errors import NoCheckpoint, UsageError
from support.commands import call, good
from support.examples import write_config
from support.files import lines
from support.images import write_images

TRAINER = {"epochs": 2, "device": "cpu", "threads": 1}


def write_rows(path: Path, seed: int, count: int) -> None:
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        x, kind, z = draw.gauss(3, 2), draw.choice("abc"), draw.uniform(0, 9)
        label = "low" if x + z < 7 else "mid" if x + z < 9 else "high"
        rows.append(f"{x:.4f},{kind},{z:.4f},{label},{'yes' if z > x else 'no'},{1000 * x + z:.2f}")
    path.write_text("\n".join(["x,kind,z,label,flag,number", *rows]) + "\n")


def write_table(folder: Path, task: str, target: str, **options: Any) -> Path:
    write_rows(folder / "train.csv", 0, 90)
    write_rows(folder / "test.csv", 1, 40)
    data = {"name": "table", "training": "train.csv", "test": "test.csv", "target": target, "batch_size": 16}
    data |= {"features": ["x", "kind", "z"], **options}
    model = {"name": "dense", "hidden": [8]}
    return write_config(folder / "c.yaml", {"task": task, "data": data, "model": model, "trainer": TRAINER})


def read_column(name: str) -> list[str]:
    with Path("test.csv").open() as file:
        return [row[name] for row in csv.DictReader(file)]


def predict(*words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good("predict", *words, "--json").stdout.splitlines()]


def average_labels(parent: Path, names: list[str], inputs: str) -> tuple[list[str], numpy.ndarray]:
    """The labels, and the mean (N, classes) of what each member's own `predict` prints."""
    each = [predict(parent / name, inputs, "--top", 9) for name in names]
    labels = sorted(one["label"] for one in each[0][0]["labels"])
    rows = [[{one["label"]: one["probability"] for one in row["labels"]} for row in found] for found in each]
    return labels, numpy.mean([[[row[label] for label in labels] for row in found] for found in rows], axis=0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("task", "target"), [("tabular_classification", "label"), ("binary_classification", "flag")])
def test_probabilities_of_members_are_averaged(here: Path, task: str, target: str) -> None:
    """Members have other validation rows, so that they standardise with other means."""
    good("fit", write_table(here, task, target, validation=0.3), "--seeds", "0-2", "-o", "p", "-q")
    labels, expected = average_labels(Path("p"), ["seed-0", "seed-1", "seed-2"], "test.csv")
    found = predict("p", "test.csv", "--top", 9)
    for row, means in zip(found, expected, strict=True):
        given = {one["label"]: one["probability"] for one in row["labels"]}
        assert [given[label] for label in labels] == pytest.approx(means.tolist(), abs=1e-9)
        assert row["labels"][0]["label"] == labels[means.argmax()]
    truth, expected = read_column(target), expected / expected.sum(1, keepdims=True)
    result = json.loads(good("eval", "p", "--json").stdout)
    guesses = [labels[index] for index in expected.argmax(1)]
    assert result["metrics"]["accuracy"] == pytest.approx(accuracy_score(truth, guesses), abs=1e-12)
    assert result["metrics"]["loss"] == pytest.approx(log_loss(truth, expected, labels=labels), abs=1e-6)
    if target == "flag":
        scores = expected[:, labels.index("yes")]
        assert result["metrics"]["roc_auc"] == pytest.approx(roc_auc_score(numpy.array(truth) == "yes", scores))
    for member in result["members"]:
        own = json.loads(good("eval", Path("p") / member["name"], "--json").stdout)
        assert member["metrics"]["accuracy"] == own["metrics"]["accuracy"]
        assert member["metrics"]["loss"] == pytest.approx(own["metrics"]["loss"], abs=1e-6)
        assert member["weights_sha256"] == own["weights_sha256"]
    assert lines(Path("p/evaluations.jsonl"))[-1]["metrics"] == result["metrics"]
    shown = good("eval", "p").stdout
    assert shown.startswith("test split of train.csv, checkpoint the mean of seed-0, seed-1, seed-2, seed 0, 1, 2, ")
    assert "of the members: " in shown


def test_numbers_of_the_members_of_cv_are_averaged_in_units(here: Path) -> None:
    config = write_table(here, "regression", "number")
    good("cv", config, "--folds", 3, "-o", "p", "-q")
    names = [f"fold-{number}" for number in range(3)]
    each = [[row["estimates"]["number"] for row in predict(Path("p") / name, "test.csv")] for name in names]
    expected = numpy.mean(each, axis=0)
    found = [row["estimates"]["number"] for row in predict("p", "test.csv")]
    assert found == pytest.approx(expected.tolist(), rel=1e-12)
    truth = list(map(float, read_column("number")))
    result = json.loads(good("eval", "p", "--json").stdout)
    assert result["metrics"]["rmse"] == pytest.approx(math.sqrt(numpy.mean((expected - truth) ** 2)), rel=1e-5)
    table = good("predict", "p", "-", stdin=Path("test.csv").read_text()).stdout
    assert [float(row.split("\t")[1]) for row in table.splitlines()[1:]] == pytest.approx(found, rel=1e-5)


def test_quantiles_of_forecasts_are_averaged(here: Path) -> None:
    draw = random.Random(3)
    Path("train.csv").write_text("y\n" + "".join(f"{100 + draw.gauss(0, 5):.3f}\n" for _ in range(120)))
    Path("test.csv").write_text("y\n" + "".join(f"{100 + draw.gauss(0, 5):.3f}\n" for _ in range(40)))
    data = {"name": "series", "file": "train.csv", "window": 4, "horizon": 2}
    task = {"name": "sequence_regression", "quantiles": [0.1, 0.5, 0.9]}
    model = {"name": "series_rnn", "hidden": 4}
    config = write_config(here / "c.yaml", {"task": task, "data": data, "model": model, "trainer": TRAINER})
    good("fit", config, "--seeds", "0,1", "-o", "p", "-q")
    each = [predict(Path("p") / name, "test.csv")[0]["estimates"] for name in ("seed-0", "seed-1")]
    found = predict("p", "test.csv")[0]["estimates"]
    assert found == pytest.approx({name: (each[0][name] + each[1][name]) / 2 for name in each[0]}, rel=1e-9)
    result = json.loads(good("eval", "p", "--json").stdout)
    scores = [one["metrics"]["pinball_loss"] for one in result["members"]]
    own = [json.loads(good("eval", f"p/seed-{seed}", "--json").stdout)["metrics"]["pinball_loss"] for seed in (0, 1)]
    assert scores == pytest.approx(own, rel=1e-6)
    assert result["metrics"]["pinball_loss"] <= max(scores) + 1e-9, "the pinball loss is convex"


def test_what_cannot_be_averaged_is_refused(here: Path) -> None:
    config = write_table(here, "regression", "number", test=0.2)
    good("fit", config, "--seeds", "0,1", "-o", "seeds", "-q")
    drawn = call("eval", "seeds").exception
    assert isinstance(drawn, UsageError)
    assert "seed-1 has other test examples than seed-0" in str(drawn)
    good("cv", config, "--folds", 2, "-o", "folds", "-q")
    assert "each member of cv has trained on other examples of the test split" in str(call("eval", "folds").exception)
    assert "--worst is for a single run" in str(call("eval", "seeds", "--worst", 2).exception)
    summary = json.loads(Path("seeds/summary.json").read_text())
    Path("sweep").mkdir()
    Path("sweep/summary.json").write_text(json.dumps({**summary, "kind": "dltrain sweep"}))
    assert "trials of a sweep differ in their settings" in str(call("predict", "sweep", "test.csv").exception)
    members = [{**one, "state": "failed"} for one in summary["members"]]
    Path("sweep/summary.json").write_text(json.dumps({**summary, "members": members}))
    assert isinstance(call("predict", "sweep", "test.csv").exception, NoCheckpoint)


@pytest.fixture
def digits(here: Path) -> Path:
    write_images(here, training=40, test=20)
    data = {"name": "mnist", "root": str(here), "when_missing": "error", "batch_size": 10, "evaluation_batch_size": 7}
    data["augment"] = {"shift": 0.1, "rotation_degrees": 10, "erase": 1.0}
    model = {"name": "cnn", "channels": [4], "hidden": None}
    settings = {"task": "image_classification", "data": data, "model": model, "trainer": TRAINER}
    return write_config(here / "c.yaml", settings)


def test_views_are_averaged(digits: Path) -> None:
    """Each view is one rotation and one shift of the whole image, made here with torch's own affine grid."""
    from dltrain.data.images.augmentation import CHANCES
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained
    from dltrain.runs.views import average_views
    from dltrain.runtime.seeds import draw_uniform

    good("fit", digits, "-o", "run", "-q")
    trained = load_trained(find_checkpoint(Path("run")))
    averaged = average_views(Path("run"), trained, 3)
    batches = list(trained.dataset().test().epoch(0))
    inputs = torch.cat([batch.inputs for batch in batches])
    assets = trained.record.assets
    background = (assets["background"] - assets["mean"]) / assets["std"]
    with torch.inference_mode():
        means = trained.model(inputs).double().softmax(1)
        for view in (1, 2):
            chances = draw_uniform(0, view, torch.zeros(1, dtype=torch.int64), CHANCES)[0].double()
            angle, shift = math.radians(10) * (2 * chances[0] - 1), 0.1 * (2 * chances[2:4] - 1)
            expected = _move(inputs.double() - background, float(angle), shift) + background
            changed = averaged.model._change(inputs, view=view)  # type: ignore[attr-defined]
            torch.testing.assert_close(changed.double(), expected, atol=2e-2, rtol=0)
            means += trained.model(changed).double().softmax(1)
        found = averaged.model(inputs).softmax(1)
        alone = torch.cat([averaged.model(one).softmax(1) for one in inputs.split(1)])
    torch.testing.assert_close(found, means / 3, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone, found, atol=1e-6, rtol=0)
    truth = torch.cat([batch.targets for batch in batches])
    result = json.loads(good("eval", "run", "--views", 3, "--json").stdout)
    assert result["views"] == 3
    assert result["metrics"]["accuracy"] == pytest.approx(float((means.argmax(1) == truth).double().mean()))
    assert result["metrics"]["loss"] == pytest.approx(float(functional.nll_loss((means / 3).log(), truth)), abs=1e-5)
    assert "mean of 3 views" in good("eval", "run", "--views", 3).stdout
    assert lines(Path("run/evaluations.jsonl"))[-1]["views"] == 3
    assert ">views<" in Path("run/report.html").read_text()


def test_members_are_averaged_over_views_of_files(digits: Path) -> None:
    """A picture from a file, alone and among others; the views differ with the members' seeds."""
    good("fit", digits, "--seeds", "0,1", "-o", "p", "-q")
    draw = numpy.random.default_rng(0)
    for number in range(3):
        Image.fromarray(draw.integers(0, 255, (28, 28), dtype=numpy.uint8)).save(f"{number}.png")
    given = ["--views", 3, "--invert", "no", "--top", 10]
    together = [_read_probabilities(row) for row in predict("p", "0.png", "1.png", "2.png", *given)]
    each = [[_read_probabilities(row) for row in predict(f"p/seed-{one}", "0.png", "1.png", *given)] for one in (0, 1)]
    plain = _read_probabilities(predict("p", "0.png", "--invert", "no", "--top", 10)[0])
    assert together[1] == pytest.approx(_read_probabilities(predict("p", "1.png", *given)[0]), abs=1e-6)
    assert together[0] != pytest.approx(plain, abs=1e-5)
    for number in (0, 1):
        mean = {label: (each[0][number][label] + each[1][number][label]) / 2 for label in each[0][number]}
        assert together[number] == pytest.approx(mean, abs=1e-7)
    result = json.loads(good("eval", "p", "--views", 3, "--json").stdout)
    assert result["views"] == 3
    own = [json.loads(good("eval", f"p/seed-{one}", "--views", 3, "--json").stdout)["metrics"] for one in (0, 1)]
    assert [one["metrics"]["loss"] for one in result["members"]] == pytest.approx(
        [one["loss"] for one in own], rel=1e-5
    )


def _read_probabilities(row: dict[str, Any]) -> dict[str, float]:
    return {one["label"]: one["probability"] for one in row["labels"]}


def _move(images: torch.Tensor, angle: float, shift: torch.Tensor) -> torch.Tensor:
    """Rotate about the centre, then shift by a share of width and height, with zeros outside."""
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
    offset = -(matrix @ (2 * shift))
    theta = torch.cat([matrix, offset[:, None]], 1)[None].expand(len(images), -1, -1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def test_views_where_there_is_nothing_to_vary_are_refused(digits: Path, here: Path) -> None:
    good("fit", digits, "-o", "plain", "-q", "--set", "data.augment=null")
    assert "so there is nothing to vary" in str(call("eval", "plain", "--views", 4).exception)
    good("fit", write_table(here, "regression", "number"), "-o", "rows", "-q")
    assert "--views is for classifiers of images" in str(call("predict", "rows", "test.csv", "--views", 4).exception)
