"""`dltrain.load`: what the commands print, as objects, for files and for what a program holds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import dltrain
from dltrain.errors import DataError, NoCheckpoint, UsageError
from support.commands import good
from support.examples import Examples, write_rows
from support.images import patterns

pytestmark = pytest.mark.filterwarnings("ignore::dltrain.DltrainWarning")  # of the small splits
CPU = {"epochs": 2, "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return Examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture
def fit(examples: Examples, tmp_path: Path) -> Callable[..., dltrain.LoadedRun]:
    """Trains the example of a task."""

    def train(task: str, **settings: Any) -> dltrain.LoadedRun:
        config = examples.model_for_task(task)
        return dltrain.fit({**config, "trainer": CPU}, output=tmp_path / "run", **settings)

    return train


def read_predictions(run: dltrain.LoadedRun, *words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good("predict", run.path, *words, "--json", "--top", 99).stdout.splitlines()]


def as_plain(predictions: list[dltrain.Prediction]) -> list[dict[str, Any]]:
    return [
        {"labels": [{"label": a, "probability": b} for a, b in one.probabilities.items()]}
        if one.probabilities
        else {"estimates": dict(one.values)}
        for one in predictions
    ]


def without_names(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key in ("labels", "estimates")} for line in lines]


def test_images_as_files_arrays_and_pictures(fit: Callable[..., dltrain.LoadedRun], tmp_path: Path) -> None:
    run = fit("image_classification")
    images, _ = patterns(3, seed=9)
    files = []
    for number, pixels in enumerate(images):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    printed = without_names(read_predictions(run, *files))
    pictures = [Image.open(file) for file in files]
    for given in (
        [*map(str, files)],
        files,
        images,
        list(images),
        pictures,
        [images[..., None]],
        [torch.tensor(images)],
    ):
        assert as_plain(run.predict(given)) == printed
    assert as_plain(run.predict(str(files[0]), images[1], [pictures[2]])) == printed
    assert len(run.predict(tmp_path / "run" / ".." / "0.png", top=2)[0].probabilities) == 2
    for wrong in (images.astype(float), images[0, 0], None, 3):
        with pytest.raises(DataError):
            run.predict(wrong)
    (tmp_path / "bad.png").write_text("no picture")
    bad, fine = run.predict([tmp_path / "bad.png", images[0]], on_error="keep")
    assert (bad.label, str(bad.error).startswith(str(tmp_path / "bad.png"))) == (None, True)
    assert fine.probability == max(fine.probabilities.values())


def test_rows_as_mappings_bare_rows_and_frames(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    write_rows(tmp_path)
    data = {"name": "table", "root": str(tmp_path), "training": "rows.csv", "target": "difference"}
    config = {"task": "regression", "data": {**data, "features": ["a", "b", "positive"]}, "model": "linear"}
    run = dltrain.fit({**config, "trainer": CPU}, output=tmp_path / "run")
    frame = pandas.read_csv(tmp_path / "rows.csv").head(5)
    frame.to_csv(tmp_path / "few.csv", index=False)
    printed = without_names(read_predictions(run, tmp_path / "few.csv"))
    rows = list(csv.DictReader((tmp_path / "few.csv").read_text().splitlines()))
    numbers = [{**row, "a": float(row["a"]), "b": numpy.float64(row["b"])} for row in rows]
    bare = [[float(row["a"]), float(row["b"]), row["positive"]] for row in rows]
    for given in (tmp_path / "few.csv", frame, rows, numbers, bare, [frame.iloc[row] for row in range(5)]):
        assert as_plain(run.predict(given)) == printed
    assert run.predict("a=1,b=2,positive=no")[0].value == run.predict({"a": 1, "b": 2, "positive": "no"})[0].value
    mixed = run.predict([rows[0], {"a": 1}, 5, rows[1], {**rows[2], "a": "many"}, rows[3]], on_error="keep")
    assert [one.error is None for one in mixed] == [True, False, False, True, False, True]
    assert [one.name for one in mixed] == [f"input {number}" for number in range(6)]
    assert mixed[3].values == printed[1]["estimates"]
    assert str(mixed[4].error).startswith("input 4, row ")
    with pytest.raises(DataError, match=r"no column 'positive'"):
        run.predict({"a": 1, "b": 2})
    with pytest.raises(DataError, match=r"found a row of 2 cells; the model reads 3: a, b, positive"):
        run.predict([1.0, 2.0])
    with pytest.raises(DataError, match=r"input 0.*column 'a'"):
        run.predict({"a": "many", "b": 2, "positive": "no"})
    with pytest.raises(DataError, match="no value"):
        run.predict({"a": None, "b": 2, "positive": "no"})
    with pytest.warns(dltrain.DltrainWarning, match="'maybe' is not among the categories"):
        run.predict({"a": 1, "b": 2, "positive": "maybe"})


def test_texts_as_strings_files_and_columns(fit: Callable[..., dltrain.LoadedRun], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run = fit("text_classification")
    texts = ["good film", "bad film"]
    (tmp_path / "two.txt").write_text("\n".join(texts) + "\n")
    printed = without_names(read_predictions(run, tmp_path / "two.txt"))
    frame = pandas.DataFrame({"text": texts})
    for given in (texts, tmp_path / "two.txt", frame, frame["text"], [{"text": text} for text in texts]):
        assert as_plain(run.predict(given)) == printed
    with pytest.raises(DataError, match="found int; expected is a text"):
        run.predict(3)


def test_series_as_files_arrays_and_frames(fit: Callable[..., dltrain.LoadedRun], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run = fit("sequence_regression")
    draw = numpy.random.default_rng(0).normal(size=(9, 2))
    frame = pandas.DataFrame(draw, columns=["x", "y"])
    frame.to_csv(tmp_path / "new.csv", index=False)
    printed = without_names(read_predictions(run, tmp_path / "new.csv"))
    for given in (str(tmp_path / "new.csv"), draw, frame[["y", "x"]], {"x": draw[:, 0], "y": list(draw[:, 1])}):
        assert as_plain(run.predict(given)) == printed
    for wrong, message in (
        (draw[:, 0], "expected are numbers, the columns x, y"),
        (frame[["x"]], "no column 'y'"),
        (draw * numpy.nan, "column 'x': no value in any row"),
        (draw[:2], "the model reads"),
    ):
        with pytest.raises(DataError, match=message):
            run.predict(wrong)


def test_evaluation_is_that_of_the_command_and_is_recorded(
    fit: Callable[..., dltrain.LoadedRun], capfd: pytest.CaptureFixture[str]
) -> None:
    run = fit("tabular_classification")
    result = run.evaluate("validation", worst=1)
    assert capfd.readouterr() == ("", "")
    printed = json.loads(good("eval", run.path, "--split", "validation", "--worst", 1, "--json").stdout)
    assert dict(result.details) == printed
    assert result.metrics == printed["metrics"]
    assert run.history[-1]["accuracy"] == result.metrics["accuracy"]
    recorded = [json.loads(line) for line in (run.path / "evaluations.jsonl").read_text().splitlines()]
    assert recorded[0] == {**recorded[1], "time": recorded[0]["time"]}


def test_history_model_and_checkpoints(fit: Callable[..., dltrain.LoadedRun]) -> None:
    run = fit("tabular_classification")
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.labels == ["setosa", "versicolor", "virginica"]
    assert not run.model.training
    last = dltrain.load(run.path, checkpoint="last")
    saved = load_file(run.path / "last" / "weights.safetensors")
    assert all(torch.equal(last.model.state_dict()[name], value) for name, value in saved.items())
    assert "tabular_classification" in repr(run)
    assert run.config["trainer"]["epochs"] == 2
    (listed,) = [each for each in dltrain.runs(run.path.parent) if each.path == run.path]
    assert dltrain.load(listed).history == run.history
    assert listed.best == max(row[run.metric] for row in run.history) or listed.direction == "min"
    for refused in (run.generate, run.transcribe):
        with pytest.raises(UsageError, match="the task 'tabular_classification' does not"):
            refused("a")
    for wrong in ({"split": "training"}, {"worst": 0}):
        with pytest.raises(UsageError, match="allowed"):
            run.evaluate(**wrong)
    with pytest.raises(NoCheckpoint):
        dltrain.load(run.path, checkpoint="step-1")
    with pytest.raises(UsageError, match="--threshold is for binary"):
        dltrain.load(run.path, threshold=0.3)


def test_texts_are_those_of_the_command(fit: Callable[..., dltrain.LoadedRun]) -> None:
    run = fit("language_modelling")
    options = ["--num-samples", 2, "--max-tokens", 5, "--seed", 3, "--json"]
    lines = good("generate", run.path, "--prompt", "word1 word2", *options).stdout.splitlines()
    texts = run.generate("word1 word2", samples=2, max_tokens=5, seed=3)
    assert [one.text for one in texts] == [json.loads(line)["text"] for line in lines]
    assert str(texts[0]) == texts[0].prompt + texts[0].text
    assert len(texts[0].tokens) == 5
    with pytest.warns(dltrain.DltrainWarning, match="not in the model's vocabulary"):
        run.generate("zebra")


def test_transcripts_are_those_of_the_command(examples: Examples, tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    config = examples.model_for_task("speech_recognition")
    run = dltrain.fit({**config, "trainer": CPU}, output=tmp_path / "run", epochs=1)
    clip = next(Path(config["data"]["root"]).rglob("test0.wav"))
    printed = json.loads(good("transcribe", run.path, clip, "--json").stdout)
    (found,) = run.transcribe(clip)
    assert (found.text, round(found.seconds, 3)) == (printed["text"], printed["seconds"])
    with pytest.raises(DataError):
        run.transcribe(tmp_path / "none.wav")
    (kept,) = run.transcribe(tmp_path / "none.wav", on_error="keep")
    assert kept.error is not None


def test_a_binary_threshold_and_other_data(tmp_path: Path) -> None:
    write_rows(tmp_path)
    data = {"name": "table", "root": str(tmp_path), "training": "rows.csv", "target": "positive", "features": ["a"]}
    config = yaml.safe_load(yaml.safe_dump({"task": "binary_classification", "data": data, "model": "linear"}))
    run = dltrain.fit({**config, "trainer": CPU}, output=tmp_path / "run")
    row = {"a": 0.0}
    assert dltrain.load(run.path, threshold=0.999).predict(row)[0].label == "no"
    assert dltrain.load(run.path, threshold=0.001).predict(row)[0].label == "yes"
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "rows.csv").rename(moved / "rows.csv")
    with pytest.raises(DataError):
        run.evaluate()
    assert run.evaluate(root=moved).metrics["accuracy"] is not None
