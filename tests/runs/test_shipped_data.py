"""What `fit` prints of the data of every shipped config is short, and warns of nothing silly."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dltrain.config.experiment import load_experiment
from dltrain.data.summary import describe_data
from dltrain.observers.data_report import format_brief
from dltrain.runs.building import Names, construct_dataset
from support.cifar import write_cifar
from support.images import write_emnist
from support.published_speech import write_commands, write_librispeech
from support.published_texts import write_news, write_reviews, write_tokens

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
DATA = os.environ.get("DLTRAIN_DATA")
LINES = 8


def read_data_of(config: Path, *overrides: str) -> dict[str, Any]:
    experiment = load_experiment(config, overrides).experiment
    dataset = construct_dataset(Names(experiment.plugins), experiment)
    return describe_data(dataset, dataset.training(), dataset.validation())


PUBLISHED: dict[str, Callable[[Path], object]] = {
    "cifar10_resnet": partial(write_cifar, variant="cifar10"),
    "cifar100_resnet": partial(write_cifar, variant="cifar100"),
    "emnist_letters": write_emnist,
    "librispeech": write_librispeech,
    "speech_commands": write_commands,
    "ag_news": partial(write_news, training=200),
    "imdb_rnn": partial(write_reviews, training=200),
    "wikitext2_lstm": write_tokens,
}


def choose_overrides(config: Path) -> list[str]:
    """What makes a config use a sample of its data, or small files of its format, and a cache of the test's own."""
    options = load_experiment(config).experiment.data.options
    cache = ["data.cache=cache"] if "cache" in options else []
    if config.stem in PUBLISHED:
        PUBLISHED[config.stem](Path("published"))
        return ["data.root=published", *cache, *(["data.download=false"] if "download" in options else [])]
    return (["data.sample=true"] if "sample" in options else []) + cache


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_data_of_a_shipped_config(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_files()
    for variable, value in (("TABLE", "table.csv"), ("TARGET", "y"), ("TEXT", "text.txt")):
        monkeypatch.setenv(variable, value)
    overrides = choose_overrides(config)
    data = read_data_of(config, *overrides)
    lines = format_brief(data)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 80 or data["notice"], lines  # a sample has a long name
    assert data["unit"] != "batches"
    if "data.sample=true" in overrides:
        assert data["notice"].startswith("NOT ")
        assert "sample" in lines[0]
    if config.stem not in PUBLISHED:  # files that stand in for a published set are small, and said to be
        assert data["risks"] == []


def write_own_files() -> None:
    """A table and a text, for the configs whose data are the user's own."""
    draw = random.Random(0)
    rows = [f"{draw.random()},{draw.choice('abc')},{draw.randint(0, 9)},{draw.random()}\n" for _ in range(400)]
    Path("table.csv").write_text("x,kind,z,y\n" + "".join(rows))
    Path("text.txt").write_text("".join(f"the quick brown fox {line}\n" for line in range(3000)))


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="DLTRAIN_DATA names no folder with real data")
@pytest.mark.parametrize("name", ["mnist_cnn", "ptb_lstm", "common_voice_crnn", "common_voice_digits"])
def test_real_data_have_no_risk(name: str, tmp_path: Path) -> None:
    config = next(path for path in CONFIGS if path.stem == name)
    root = Path(str(DATA)) / "common_voice_digits" if name == "common_voice_digits" else DATA
    data = read_data_of(config, f"data.root={root}")
    assert data["risks"] == []
    assert len(format_brief(data)) <= LINES
