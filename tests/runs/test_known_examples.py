"""No example that a run's weights were trained on is scored as new: on changed data, and through other weights."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.errors import UsageError
from dltrain.runs.known_examples import KNOWN, ExampleHashes, KnownExamples
from support.commands import call, good
from support.examples import TRAINER, Examples, write_config
from support.files import lines


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of 200 rows of random numbers with random labels: what is learned by heart shows in the score."""
    monkeypatch.chdir(tmp_path)
    write_noise(Path("noise.csv"), 200, seed=0)
    config = {
        "task": "tabular_classification",
        "data": {"name": "table", "training": "noise.csv", "target": "label"},
        "model": {"name": "dense", "hidden": [8]},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": [],
    }
    return write_config(tmp_path / "noise.yaml", config)


def write_noise(path: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    rows = [f"{draw.random():.6f},{draw.random():.6f},{draw.choice('AB')}" for _ in range(count)]
    path.write_text("\n".join(["a,b,label", *rows]) + "\n")


def evaluate(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good("eval", *words, "--json").stdout)
    return found


def refusal(*words: object) -> str:
    result = call(*words)
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


def split_rows(config: Path, split: str, *flags: str) -> list[str]:
    """The rows of a split of the table as lines of the file, by another way than hashes."""
    from dltrain.config.experiment import load_experiment
    from dltrain.runs.building import Names, construct_dataset

    dataset: Any = construct_dataset(Names(()), load_experiment(config, list(flags)).experiment)
    count = len(dataset.identities(split))
    return [f"{row['a']},{row['b']},{row['label']}" for row in dataset.show_raw(split, range(count))]


# Evaluations on changed data -------------------------------------------------------------------------------------


def test_rows_that_were_trained_or_validated_on_are_left_out_and_counted(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    old = {split: set(split_rows(noise, split)) for split in ("training", "validation", "test")}
    own = evaluate("run")
    with Path("noise.csv").open("a") as file:
        file.write("0.500001,0.5,A\n0.500002,0.5,B\n")
    drawn = split_rows(noise, "test")
    seen = [row for row in drawn if row in old["training"] | old["validation"]]
    assert 0 < len(seen) < len(drawn)
    found = evaluate("run", "--changed-data")
    facts = found["changed_data"]
    assert (facts["left_out"], facts["examples"]) == (len(seen), len(drawn))
    assert sum(map(sum, found["confusion"])) == len(drawn) - len(seen)
    fresh = [row for row in drawn if row not in seen]
    Path("fresh.csv").write_text("\n".join(["a,b,label", *fresh]) + "\n")
    predicted = [line.split("\t")[1] for line in good("predict", "run", "fresh.csv").stdout.splitlines()]
    truth = [row.split(",")[2] for row in fresh]
    right = sum(one == other for one, other in zip(predicted, truth, strict=True))
    assert found["metrics"]["accuracy"] == pytest.approx(right / len(fresh))
    text = good("eval", "run", "--changed-data").stdout
    assert f"{len(seen)} of {len(drawn)} examples left out, which were trained or validated on" in text
    assert lines(Path("run/evaluations.jsonl"))[-1]["changed_data"] == facts
    validated = evaluate("run", "--changed-data", "--split", "validation")["changed_data"]
    again = split_rows(noise, "validation")
    assert validated["left_out"] == sum(row in old["training"] for row in again)
    shutil.copy("noise.csv", "changed.csv")
    lines_before = Path("changed.csv").read_text().splitlines(keepends=True)[:-2]
    Path("noise.csv").write_text("".join(lines_before))
    assert evaluate("run")["metrics"] == own["metrics"]


def test_the_rows_in_another_order_leave_the_run_s_own_test_rows(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    own = set(split_rows(noise, "test"))
    head, *rows = Path("noise.csv").read_text().splitlines(keepends=True)
    random.Random(1).shuffle(rows)
    Path("noise.csv").write_text("".join([head, *rows]))
    drawn = split_rows(noise, "test")
    facts = evaluate("run", "--changed-data")["changed_data"]
    assert facts["examples"] - facts["left_out"] == sum(row in own for row in drawn) > 0


def test_where_no_row_is_new_or_none_is_known_it_is_said(noise: Path) -> None:
    shutil.copy("noise.csv", "test.csv")
    write_noise(Path("test.csv"), 30, seed=9)
    good("fit", noise, "-q", "-o", "run", "--set", "data.test=test.csv")
    good("eval", "run")
    head, *rows = Path("noise.csv").read_text().splitlines(keepends=True)
    Path("test.csv").write_text("".join([head, *rows[:30]]))
    assert "all 30 test examples of the changed data were trained (or validated) on" in refusal(
        "eval", "run", "--changed-data"
    )
    write_noise(Path("test.csv"), 30, seed=10)
    text = good("eval", "run", "--changed-data").stdout
    assert "none of the 30 examples is known to the run: they are new, or only their form has changed" in text
    Path("run", KNOWN).unlink()  # a run of an earlier version has none
    assert "how many of the examples were trained on is not known" in good("eval", "run", "--changed-data").stdout
    assert evaluate("run", "--changed-data")["changed_data"]["left_out"] is None


@pytest.mark.parametrize(
    ("task", "data"),
    [
        ("image_classification", "image_folder"),
        ("text_classification", "labelled_text"),
        ("sequence_regression", "series"),
        ("image_classification", "idx"),
        ("speech_recognition", "audio"),
    ],
)
def test_every_kind_of_data_leaves_out_what_was_trained_on(task: str, data: str, tmp_path: Path) -> None:
    examples = Examples(tmp_path)
    options = {
        "idx": {"fold": {"index": 0, "of": 3}},
        "audio": {"validation": 0.75},
        "series": {"validation": 0.2, "test": 0.2},
    }.get(data, {})
    config = {**examples.model_for_task(task), "data": examples.data(data, options)}
    path = write_config(tmp_path / "config.yaml", {**config, "trainer": {**TRAINER, "epochs": 1}, "observers": []})
    run = tmp_path / "run"
    good("fit", path, "-q", "-o", run)
    other = "validation" if data == "audio" else "test"
    known = KnownExamples.read(run)
    assert known is not None
    assert len(known.training.hashes) > 0
    change_a_little(data, tmp_path)
    assert "the data has changed" in refusal("eval", run, "--split", other)
    facts = evaluate(run, "--split", other, "--changed-data")["changed_data"]
    assert 0 < facts["left_out"] < facts["examples"]


def change_a_little(data: str, folder: Path) -> None:
    """Change the files of an example so that other splits are drawn from mostly the same examples."""
    if data == "image_folder":
        (folder / "write_pictures" / "red" / "5.png").unlink()
    elif data == "labelled_text":
        path = folder / "write_labelled" / "texts.csv"
        path.write_text("".join(text for number, text in enumerate(path.read_text().splitlines(True)) if number != 5))
    elif data == "series":
        path = folder / "write_series" / "series.csv"
        path.write_text("".join(path.read_text().splitlines(True)[:-8]))
    elif data == "idx":
        from support.images import write_idx

        raw = folder / "write_digits" / "MNIST" / "raw"
        for name, axes in (("train-images-idx3-ubyte", 16), ("train-labels-idx1-ubyte", 8)):
            content = numpy.frombuffer((raw / name).read_bytes(), numpy.uint8)[axes:]
            array = content.reshape(-1, 28, 28) if axes == 16 else content
            write_idx(raw / name, array[1:])
    else:
        path = folder / "write_speech" / "train.tsv"
        head, *rows = path.read_text().splitlines(True)
        path.write_text("".join([head, *(row.replace("train-3\n", "a-3\n") for row in rows)]))


def test_a_text_whose_lines_cannot_be_left_out_is_refused(tmp_path: Path) -> None:
    examples = Examples(tmp_path)
    config = examples.model_for_task("language_modelling")
    path = write_config(tmp_path / "config.yaml", {**config, "trainer": {**TRAINER, "epochs": 1}, "observers": []})
    good("fit", path, "-q", "-o", tmp_path / "run")
    text = tmp_path / "write_texts" / "ptb.train.txt"
    text.write_text("".join(text.read_text().splitlines(True)[:-8]))
    message = refusal("eval", tmp_path / "run", "--changed-data")
    assert "test examples of the changed data were trained (or validated) on, and cannot be left out" in message


# Weights from elsewhere ------------------------------------------------------------------------------------------


def test_a_source_that_was_trained_on_test_rows_is_refused_with_their_number(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "source")
    trained, validated = (set(split_rows(noise, split)) for split in ("training", "validation"))
    test = sum(row in trained | validated for row in split_rows(noise, "test", "seed=1"))
    validation = sum(row in trained for row in split_rows(noise, "validation", "seed=1"))
    words = ["fit", noise, "-q", "-o", "run", "--set", "seed=1", "--set"]
    expected = (
        f"was trained (or chosen) on {test} of this run's 40 test examples and on {validation} of this run's 32 "
        "validation examples"
    )
    for extra in ([], ["--inexact"]):
        assert expected in refusal(*words, "weights.init_from=source", *extra)
    assert expected in refusal(*words, "weights.init_from=source/best")
    assert expected in refusal(*words, "weights.init_from=source/best/weights.safetensors")
    good("export", "source", "-o", "source.safetensors")
    shutil.move("source", "elsewhere")
    assert expected in refusal(*words, "weights.init_from=source.safetensors")
    Path("elsewhere", KNOWN).unlink()  # a run of an earlier version: its examples are identified again
    assert expected in refusal(*words, "weights.init_from=elsewhere")
    good("fit", noise, "-q", "-o", "same", "--set", "weights.init_from=elsewhere")


def test_a_source_of_a_source_counts_too(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "a")
    write_noise(Path("other.csv"), 200, seed=5)
    good("fit", noise, "-q", "-o", "b", "--set", "data.training=other.csv", "--set", "weights.init_from=a")
    known = KnownExamples.read(Path("b"))
    assert known is not None
    assert len(known.trained_before.hashes) == 128
    state = json.loads(next(Path("b/checkpoints").glob("step-*/state.json")).read_text())
    assert [one["dataset"] for one in state["record"]["sources"]] == ["noise.csv"]
    words = ["fit", noise, "-q", "-o", "c", "--set", "seed=1", "--set"]
    assert "it, or a run that its weights come from, was trained" in refusal(*words, "weights.init_from=b")
    good("export", "b", "-o", "b.safetensors")
    shutil.rmtree("b")
    assert "test examples" in refusal(*words, "weights.init_from=b.safetensors")


def test_repeats_and_folds_of_a_source_s_rows_are_refused(noise: Path, here: list[list[str]]) -> None:
    good("fit", noise, "-q", "-o", "source")
    folds = call("cv", noise, "--folds", 3, "-o", "cv", "--set", "weights.init_from=source")
    assert "was trained (or chosen) on" in str(folds.exception)
    repeats = call("fit", noise, "--seeds", "1-2", "-o", "seeds", "--set", "weights.init_from=source")
    assert "was trained (or chosen) on" in str(repeats.exception)


def test_a_file_that_names_no_run_is_reported_as_unknown(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "source")
    shutil.copy("source/best/weights.safetensors", "weights.safetensors")
    result = good("fit", noise, "-o", "run", "--set", "seed=1", "--set", "weights.init_from=weights.safetensors")
    assert "whether these weights were trained on examples that this run is scored on is not known" in result.stderr
    notes = json.loads(Path("run/environment.json").read_text())[0]["notes"]
    assert any("is not known" in note for note in notes)


def test_examples_of_another_form_from_the_same_file_are_reported_as_unknown(tmp_path: Path) -> None:
    examples = Examples(tmp_path)
    config = {**examples.model_for_task("sequence_regression"), "model": {"name": "series_rnn", "hidden": 4}}
    config |= {"trainer": {**TRAINER, "epochs": 1}, "observers": []}
    for window in (6, 7):
        data = {**examples.data("series", {}), "window": window, "test": window / 30}
        write_config(tmp_path / f"{window}.yaml", {**config, "data": data})
    good("fit", tmp_path / "6.yaml", "-q", "-o", tmp_path / "a")
    words = ["fit", tmp_path / "7.yaml", "-q", "-o", tmp_path / "b", "--set", f"weights.init_from={tmp_path / 'a'}"]
    assert "is not known; they were trained on series.csv too" in good(*words).stderr


def test_a_separate_test_file_is_compared_when_it_is_evaluated(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "source")
    head, *rows = Path("noise.csv").read_text().splitlines(keepends=True)
    write_noise(Path("other.csv"), 100, seed=7)
    fresh = Path("other.csv").read_text().splitlines(keepends=True)[1:21]
    Path("test.csv").write_text("".join([head, *rows[:50], *fresh]))
    write_noise(Path("other.csv"), 100, seed=8)
    flags = ["--set", "data.training=other.csv", "--set", "data.test=test.csv", "--set", "weights.init_from=source"]
    good("fit", noise, "-q", "-o", "run", *flags)
    learned = set(split_rows(noise, "training")) | set(split_rows(noise, "validation"))
    seen = sum(row.strip() in learned for row in rows[:50])
    message = refusal("eval", "run")
    assert f"run: {seen} of 70 test examples were trained on by a run that its weights come from" in message
    facts = evaluate("run", "--changed-data")["changed_data"]
    assert (facts["files"], facts["left_out"], facts["examples"]) == ([], seen, 70)


def test_rows_that_occur_twice_are_no_reason_to_refuse(noise: Path) -> None:
    head, *rows = Path("noise.csv").read_text().splitlines(keepends=True)
    Path("noise.csv").write_text("".join([head, *rows[:100], *rows[:100]]))
    good("fit", noise, "-q", "-o", "source")
    good("fit", noise, "-q", "-o", "run", "--set", "weights.init_from=source")
    good("eval", "run")


def test_a_run_that_continues_on_changed_data_remembers_what_it_learned(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "run")
    with Path("noise.csv").open("a") as file:
        file.write("0.500001,0.5,A\n0.500002,0.5,B\n")
    message = refusal("fit", noise, "-q", "-o", "run", "--inexact", "--set", "trainer.epochs=2")
    assert "run: before its data changed, this run was trained (or chosen) on" in message
    flags = ["--set", "data.validation=0.0", "--set", "data.test=0.0"]
    good("fit", noise, "-q", "-o", "all", *flags)
    with Path("noise.csv").open("a") as file:
        file.write("0.500003,0.5,A\n")
    good("fit", noise, "-q", "-o", "all", *flags, "--inexact", "--set", "trainer.epochs=2")
    known = KnownExamples.read(Path("all"))
    assert known is not None
    assert len(known.training.hashes) == 203


# Sets of hashes --------------------------------------------------------------------------------------------------


def test_a_limited_set_holds_a_sample_and_says_how_far_it_reaches() -> None:
    draw = numpy.random.default_rng(0)
    first, second = (draw.integers(0, 1 << 63, 1000, dtype=numpy.uint64) for _ in range(2))
    whole, limited = ExampleHashes.of(first), ExampleHashes.of(first, kept=100)
    assert whole.limit is None
    assert limited.limit == int(numpy.sort(first)[99])
    assert limited.contains(first).sum() == 100
    assert not limited.contains(second).any()
    joined = limited.join(ExampleHashes.of(second))
    below = numpy.concatenate([first, second])
    assert joined.hashes.tolist() == sorted(below[below <= limited.limit].tolist())
    assert joined.limit == limited.limit


def test_known_examples_are_the_same_when_read_again(tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    sets = [ExampleHashes.of(draw.integers(0, 1 << 63, size, dtype=numpy.uint64)) for size in (9000, 20, 30)]
    known = KnownExamples(training=sets[0], validation=sets[1], trained_before=sets[2])
    known.write(tmp_path)
    again = KnownExamples.read(tmp_path)
    assert again is not None
    for name, one in known.sets().items():
        assert again.sets()[name].hashes.tolist() == one.hashes.tolist()
    sample = KnownExamples.from_plain(json.loads(json.dumps(known.to_plain())))
    assert len(sample.training.hashes) == 8192
    assert sample.validation.hashes.tolist() == sets[1].hashes.tolist()


@pytest.mark.parametrize("name", ["ptb", "idx", "audio", "common_voice"])
def test_test_files_stay_closed_while_training(name: str, tmp_path: Path) -> None:
    examples = Examples(tmp_path)
    task = {"ptb": "language_modelling", "idx": "image_classification"}.get(name, "speech_recognition")
    config = {**examples.model_for_task(task), "data": examples.data(name, {})}
    path = write_config(tmp_path / "config.yaml", {**config, "trainer": {**TRAINER, "epochs": 1}, "observers": []})
    for found in [*tmp_path.rglob("ptb.test.txt"), *tmp_path.rglob("t10k*"), *tmp_path.rglob("test*.wav")]:
        found.write_bytes(b"damaged")
    good("fit", path, "-q", "-o", tmp_path / "run")
    known = KnownExamples.read(tmp_path / "run")
    assert known is not None
    assert not len(known.test.hashes)


def test_the_same_rows_with_one_more_column_are_reported(noise: Path) -> None:
    good("fit", noise, "-q", "-o", "source")
    head, *rows = Path("noise.csv").read_text().splitlines()
    Path("more.csv").write_text("\n".join([f"{head},note", *(f"{row},{i % 7}" for i, row in enumerate(rows))]) + "\n")
    start = ("fit", noise, "--set", "weights.init_from=source", "--set", "seed=1")
    for flags in (["data.ignore=[note]"], ["data.ignore=null"]):
        result = good(*start, "--set", "data.training=more.csv", "--set", *flags, "-o", flags[0])
        assert "warning: weights.init_from: source/checkpoints/step-" in result.stderr
        assert "none of these examples is known to it, so they are other ones, or have another form" in result.stderr
    write_noise(Path("other.csv"), 90, seed=5)
    other = good(*start, "--set", "data.training=other.csv", "-o", "other").stderr
    assert "note: source/checkpoints/step-" in other
    assert "warning: weights.init_from" not in other


@pytest.mark.parametrize("extra", [(), ("--seeds", "1"), ("--seeds", "1-2")])
def test_a_refused_start_leaves_nothing_behind(noise: Path, extra: tuple[str, ...], here: list[list[str]]) -> None:
    good("fit", noise, "-q", "-o", "source")
    Path("empty").mkdir()
    Path("kept").mkdir()
    before = sorted(Path().rglob("*"))
    flags = ("--set", "weights.init_from=source", "--set", "data.validation=0.3", *extra)
    for output in ("empty", "new/deep"):
        result = call("fit", noise, "-q", *flags, "-o", output)
        assert "was trained (or chosen) on" in str(result.exception)
        assert sorted(Path().rglob("*")) == before
    assert call("fit", noise, "-q", *extra, "--set", "data.training=absent.csv", "-o", "new").exit_code != 0
    assert sorted(Path().rglob("*")) == before
