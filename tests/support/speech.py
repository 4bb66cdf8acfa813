"""A small Common Voice release, and the datasets built from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from typer.testing import CliRunner

from dltrain.cli.data import app
from dltrain.data.speech.dataset import SpokenClips

soundfile = pytest.importorskip("soundfile")


HEADER = "client_id\tpath\tsentence\tlocale\n"


def speechlike(seconds: float, rate: int = 16000, seed: int = 0) -> numpy.ndarray:
    draw = numpy.random.default_rng(seed)
    return (0.2 * draw.standard_normal(round(seconds * rate))).clip(-0.9, 0.9).astype(numpy.float32)


def write_locale(root: Path, splits: dict[str, int] | None = None, speakers: int = 5) -> Path:
    """A small release of WAV files: `splits` say how many clips each table has; speakers are of one table only."""
    folder = root / "en"
    (folder / "clips").mkdir(parents=True)
    everything = []
    for split, count in (splits or {"train": 20, "dev": 4, "test": 4}).items():
        rows = []
        for number in range(count):
            name = f"{split}_{number}.wav"
            seconds = 0.7 + 0.05 * number
            soundfile.write(folder / "clips" / name, speechlike(seconds, seed=number), 16000)
            rows.append(f"{split}-{number % speakers}\t{name}\tHello, {'two ' * (number % 2)}world{'!' * number}\ten\n")
        (folder / f"{split}.tsv").write_text(HEADER + "".join(rows), encoding="utf-8")
        everything += rows
    (folder / "validated.tsv").write_text(HEADER + "".join(everything), encoding="utf-8")
    return root


def built(root: Path, name: str = "common_voice", assets: Any = None, seed: int = 0, **options: Any) -> SpokenClips:
    return SpokenClips(name, seed, assets, root=str(root), **options)


def names(loader: Any) -> list[str]:
    return [clip.name for clip in loader.source.spoken.clips]


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def run(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)))
