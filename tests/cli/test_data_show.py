"""`dltrain data show`: the data as `fit` reads them, with examples of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dltrain.data.shown import pick_examples
from dltrain.dataset import ReceivedExample
from dltrain.errors import UsageError
from dltrain.kinds import Kind
from support.commands import call, good

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS = [("Rome", 10, 1.5), ("Paris", 20, 2.5), ("Rome", 30, 3.5), ("Oslo", 40, 4.5)] * 25
TABLE = """task: regression
data: {name: table, training: prices.csv, target: price, ignore: [note]}
model: linear
trainer: {epochs: 1, device: cpu, threads: 1}
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = (f"{city},{size},n{size},{price}\n" for city, size, price in ROWS)
    Path("prices.csv").write_text("city,size,note,price\n" + "".join(lines))
    Path("prices.yaml").write_text(TABLE)
    return tmp_path


def show_json(*words: object) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(good("data", "show", *words, "--json").stdout)
    return shown


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_a_row_is_shown_as_read_and_as_a_model_receives_it(table: Path) -> None:
    shown = show_json("prices.yaml", "--number", 3)
    assert len(shown["examples"]) == 3
    sizes = [size for _, size, _ in ROWS]
    assert len(shown["files"]["prices.csv"]) == 64
    for example in shown["examples"]:
        read, received = example["read"], example["received"]
        assert read["note"] == f"n{read['size']}"  # ignored columns are shown as well
        assert (read["city"], int(read["size"]), float(read["price"])) in ROWS
        assert received[f"city={read['city']}"] == 1.0
        assert sum(received[f"city={city}"] for city in ("Oslo", "Paris", "Rome")) == 1.0
        assert received["size"] == pytest.approx((int(read["size"]) - sum(sizes) / len(sizes)) / 11.2, abs=0.2)


def test_text_has_tables_and_draws_by_the_seed(table: Path) -> None:
    printed = good("data", "show", "prices.yaml").stdout
    assert printed == good("data", "show", "prices.yaml").stdout
    assert "prices.csv" in printed
    assert "examples of the training split, drawn with seed 0" in printed
    assert "as a model receives them" in printed
    other = good("data", "show", "prices.yaml", "--set", "seed=1").stdout
    assert other.split("drawn with seed 1")[1] != printed.split("drawn with seed 0")[1]
    assert "examples" not in good("data", "show", "prices.yaml", "--number", 0).stdout


def test_other_splits_and_nothing_is_trained(table: Path) -> None:
    sizes = {split: len(show_json("prices.yaml", "--split", split, "--number", 1000)["examples"])
             for split in ("training", "validation", "test")}  # fmt: skip
    assert sizes == {"training": 64, "validation": 16, "test": 20}
    assert sorted(path.name for path in table.iterdir()) == ["prices.csv", "prices.yaml"]


def test_all_rows_as_one_batch_are_matched_with_what_was_read(table: Path) -> None:
    shown = show_json("prices.yaml", "--set", "data.batch_size=null", "--number", 7)
    for example in shown["examples"]:
        assert example["received"][f"city={example['read']['city']}"] == 1.0


def test_of_a_run_changed_files_are_named(table: Path) -> None:
    good("fit", "prices.yaml", "-o", "run", "-q")
    assert "has changed" not in good("data", "show", "run").stderr
    with Path("prices.csv").open("a") as file:
        file.write("Rome,50,n50,5.5\n")
    assert "warning: prices.csv has changed since run was trained" in good("data", "show", "run").stderr


def test_what_has_no_picture_is_refused(table: Path) -> None:
    error = call("data", "show", "prices.yaml", "-o", "rows.png").exception
    assert isinstance(error, UsageError)
    assert "there are no pictures of rows, only of images, speech and series" in error.message


def test_texts_with_unknown_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [
        f"a {word} film number{n},{label}\n" for n in range(30) for word, label in (("good", "pos"), ("bad", "neg"))
    ]
    Path("reviews.csv").write_text("text,label\n" + "".join(texts))
    Path("reviews.yaml").write_text(
        "task: text_classification\ndata: {name: labelled_text, training: [reviews.csv]}\n"
        "model: {name: embedding_bag, embedding: 4}\ntrainer: {epochs: 1, device: cpu}\n"
    )
    (example,) = show_json("reviews.yaml", "--number", 1)["examples"]
    word = {"pos": "good", "neg": "bad"}[example["read"]["label"]]
    assert example["read"]["text"].startswith(f"a {word} film number")
    assert example["read"]["from"].startswith("reviews.csv, line ")
    assert example["received"]["tokens"] in (f"a {word} film {example['read']['text'].split()[-1]} <eos>",
                                             f"a {word} film <unk> <eos>")  # fmt: skip
    assert example["received"]["label"] == example["read"]["label"]


def test_images_as_a_contact_sheet(tmp_path: Path) -> None:
    shown = show_json(
        CONFIGS / "image_folder_resnet.yaml", "--set", "data.sample=true", "--set", f"data.cache={tmp_path}",
        "--number", 4, "-o", tmp_path / "sheet.png",
    )  # fmt: skip
    assert is_png(tmp_path / "sheet.png")
    assert shown["picture"] == str(tmp_path / "sheet.png")
    for example in shown["examples"]:
        assert example["read"]["class"] == example["received"]["class"]
        assert f"-{example['read']['class']}-" in example["read"]["file"]


def test_windows_of_a_series(tmp_path: Path) -> None:
    arguments = (CONFIGS / "series_lstm.yaml", "--set", "data.sample=true", "--number", 3)
    shown = show_json(*arguments, "-o", tmp_path / "windows.png")
    assert is_png(tmp_path / "windows.png")
    (first, last), columns = shown["examples"][0]["read"]["rows"].split(" to "), shown["columns"]
    assert len(shown["examples"][0]["received"][columns[0]["name"]]) == int(last) - int(first) + 1


def test_a_text_for_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("training", "validation", "test"):
        Path(f"{split}.txt").write_text("ab ba\n" * 400)
    Path("letters.yaml").write_text(
        "task: language_modelling\ndata: {name: text, training: [training.txt], validation: [validation.txt], "
        f"test: [test.txt], unit: character, batch_size: 4, sequence_length: 6, cache: {tmp_path / 'cache'}}}\n"
        "model: {name: rnn, embedding: 4, hidden: 4}\ntrainer: {epochs: 1, device: cpu}\n"
    )
    examples = show_json("letters.yaml", "--number", 2)["examples"]
    assert [example["received"]["length"] for example in examples] == [6, 6]
    assert set("".join(example["received"]["tokens"] for example in examples).replace("<eos>", "")) <= set("ab ")


@pytest.mark.slow
def test_speech_as_spectrograms(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    shown = show_json(
        CONFIGS / "common_voice_crnn.yaml", "--set", "data.sample=true", "--set", f"data.cache={tmp_path}",
        "--number", 2, "-o", tmp_path / "clips.png",
    )  # fmt: skip
    assert is_png(tmp_path / "clips.png")
    for example in shown["examples"]:
        assert example["received"]["transcript"] == example["read"]["text"].lower()


class Pairs:
    """A plug-in's dataset that shows nothing raw, with a batch that its kind does not describe."""

    def __init__(self) -> None:
        self.assets: dict[str, Any] = {}

    def training(self) -> Any:
        from dltrain.batch import Examples
        from dltrain.data.batching import IndexedBatches
        from dltrain.stream import Loader

        return Loader(IndexedBatches(9, 4, lambda _, at: Examples(torch.zeros(len(at), 3), torch.zeros(len(at)))))

    validation = test = training


def test_a_plugin_that_describes_nothing_shows_shapes() -> None:
    (example,) = pick_examples(Pairs(), "training", Kind(name="pairs"), 0, number=2)  # type: ignore[arg-type]
    assert example.read == {}
    assert example.received == ReceivedExample(values={"argument 1": "2 x 3"})
