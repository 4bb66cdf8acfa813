"""`dltrain init`: every kind of data trains from the config that it writes, and nothing is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from support.commands import call, good


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(name: str = "houses.csv") -> None:
    rows = [f"{n + 1};{('Ulm', 'Bonn')[n % 2]};{40 + n},5;{n % 28 + 1:02}.{n % 12 + 1:02}.2023;;" for n in range(60)]
    lines = [f"{row}{1000 * n + 7 * (n % 5)}" for n, row in enumerate(rows)]
    Path(name).write_text("\n".join(["Id;city;area;sold;empty;price", *lines]) + "\n", encoding="utf-8")


def write_series() -> None:
    lines = [f"{1990 + n // 12}-{n % 12 + 1:02},{100 + n + 20 * np.sin(n * np.pi / 6):.3f}" for n in range(120)]
    Path("sales.csv").write_text("\n".join(["month,sales", *lines]) + "\n", encoding="utf-8")


def write_texts() -> None:
    lines = [f"{n},the film number {n} was {'good' if n % 2 else 'bad'} to see,{'pn'[n % 2]}" for n in range(80)]
    Path("reviews.csv").write_text("\n".join(["id,review,sentiment", *lines]) + "\n", encoding="utf-8")


def write_text_folders() -> None:
    for name, word in (("ham", "lunch"), ("spam", "money")):
        folder = Path("mails") / "train" / name
        folder.mkdir(parents=True)
        for n in range(40):
            (folder / f"{n}.txt").write_text(f"dear friend, {word} number {n} waits for you", encoding="utf-8")


def write_text() -> None:
    lines = (f"It was line {n} of the old book, and {n * 7 % 13} birds sang." for n in range(300))
    Path("novel.txt").write_text("\n".join(lines), encoding="utf-8")


def write_pictures() -> None:
    draw = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 180)):
        folder = Path("photos") / "all" / name
        folder.mkdir(parents=True)
        for n in range(30):
            pixels = draw.integers(0, 60, (20, 20, 3)) + level
            Image.fromarray(pixels.astype("uint8")).save(folder / f"{n}.png")


def write_recordings() -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = Path("voices")
    folder.mkdir()
    draw, rows = np.random.default_rng(0), ["path,text,speaker"]
    for n in range(24):
        soundfile.write(folder / f"{n}.wav", 0.2 * draw.standard_normal(8000), 8000)
        rows.append(f"{n}.wav,{'ab' if n % 2 else 'ba'},s{n % 6}")
    (folder / "transcripts.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "path", "kind", "task"),
    [
        (write_table, "houses.csv", "table", "regression"),
        (write_series, "sales.csv", "series", "sequence_regression"),
        (write_texts, "reviews.csv", "texts", "text_classification"),
        (write_text_folders, "mails", "texts", "text_classification"),
        (write_text, "novel.txt", "text", "language_modelling"),
        (write_pictures, "photos", "images", "image_classification"),
        (write_recordings, "voices", "audio", "speech_recognition"),
    ],
)
def test_each_kind_of_data_trains_from_the_config_as_it_is(
    write: Callable[[], None], path: str, kind: str, task: str
) -> None:
    write()
    shown = good("init", path, "-o", "configs.yaml").stdout
    assert shown.startswith(f"{kind}: ")
    assert shown.splitlines()[-2].strip() == "next: dltrain fit configs.yaml"
    assert max(map(len, shown.splitlines())) <= 120
    written = yaml.safe_load(Path("configs.yaml").read_text(encoding="utf-8"))
    assert written["task"]["name"] == task
    good("config", "check", "configs.yaml")
    small = ["trainer.epochs=1", "trainer.device=cpu"]
    if kind == "images":
        small += ["data.height=16", "data.width=16", "model.channels=[4]"]
    if kind == "audio":
        small += ["model.hidden=8", "data.features={bands: 8}"]
    good("fit", "configs.yaml", "-q", "-o", "run", *(word for each in small for word in ("--set", each)))
    good("eval", "run", *(["--split", "validation"] if kind == "audio" else []))


def test_a_config_in_another_folder_finds_its_data() -> None:
    write_table()
    Path("deep/er").mkdir(parents=True)
    good("init", "houses.csv", "-o", "deep/er/x.yaml")
    assert yaml.safe_load(Path("deep/er/x.yaml").read_text())["data"]["training"] == "../../houses.csv"
    good("fit", "deep/er/x.yaml", "-q", "-o", "run", "--set", "trainer.epochs=1")


def test_a_file_is_replaced_with_force_alone_and_a_dash_prints() -> None:
    write_table()
    good("init", "houses.csv")
    Path("houses.yaml").write_text("mine")
    for words in ((), ("-o", "houses.yaml")):
        refused = call("init", "houses.csv", *words)
        assert refused.exit_code != 0
        assert "houses.yaml: this file exists already" in str(refused.exception)
    assert Path("houses.yaml").read_text() == "mine"
    printed = good("init", "houses.csv", "-o", "-").stdout
    assert yaml.safe_load(printed)["data"]["target"] == "price"
    good("init", "houses.csv", "--force")
    assert Path("houses.yaml").read_text().partition("task:")[2] == printed.partition("task:")[2]


def test_json_has_the_config_the_columns_and_the_file() -> None:
    write_table()
    found = json.loads(good("init", "houses.csv", "--json").stdout)
    assert found["file"] == "houses.yaml"
    assert found["kind"] == "table"
    assert found["config"] == yaml.safe_load(Path("houses.yaml").read_text(encoding="utf-8"))
    assert {each["column"]: each["use"] for each in found["columns"]} == {
        "Id": "left out", "city": "input", "area": "input", "sold": "input: its parts", "empty": "left out",
        "price": "target",
    }  # fmt: skip


def test_names_that_yaml_would_misread_are_quoted_and_control_characters_stay_out_of_comments() -> None:
    rows = [f"{n % 7},{n % 3},{n * 1.5}" for n in range(40)]
    Path("my data.csv").write_text("\n".join(["a: b,yes,${x} #1", *rows]) + "\n", encoding="utf-8")
    good("init", "my data.csv", "--target", "${x} #1")
    assert good("config", "check", "my_data.yaml").stdout.startswith("my_data.yaml: ok")
    Path("odd.csv").write_text('x,"y\nz"\n' + "".join(f"{n},{n * 1.5}\n" for n in range(40)), encoding="utf-8")
    good("init", "odd.csv", "--target", "x")
    good("config", "check", "odd.yaml")


def test_the_shipped_configs_are_listed_and_no_path_lists_what_can_be_read() -> None:
    assert "mnist_cnn" in good("init", "--list").stdout
    names = {each["name"] for each in json.loads(good("init", "--list", "--json").stdout)["configs"]}
    assert {"mnist_cnn", "table_csv"} <= names
    missing = call("init")
    assert missing.exit_code != 0
    assert "no PATH; dltrain init reads" in str(missing.exception)


def test_a_config_is_drafted_without_torch() -> None:
    write_table()
    code = (
        "import sys; from dltrain.cli.main import application\n"
        "try: application(['init'])(['init', 'houses.csv', '-o', '-'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_missing_folder_for_the_config_is_reported_before_the_data_is_read() -> None:
    refused = call("init", "nothing.csv", "-o", "nowhere/x.yaml")
    assert "there is no folder nowhere" in str(refused.exception)
