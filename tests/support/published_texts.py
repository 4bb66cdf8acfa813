"""Small files in the formats of published sets of texts."""

from __future__ import annotations

from pathlib import Path
from random import Random

_WORDS = {"1": "treaty", "2": "goal", "3": "shares", "4": "chip", "neg": "dull", "pos": "great"}


def _write_words(draw: Random, label: str) -> str:
    return " ".join([_WORDS[label], *draw.choices([f"word{number}" for number in range(12)], k=draw.randint(3, 9))])


def write_news(root: Path, *, training: int = 60, test: int = 20) -> None:
    """Write AG News' two files, so many rows each, whose classes take turns."""
    draw, folder = Random(0), root / "ag_news_csv"
    folder.mkdir(parents=True)
    for name, count in (("train", training), ("test", test)):
        labels = [str(number % 4 + 1) for number in range(count)]
        rows = [f'"{label}","News {number}","{_write_words(draw, label)}"' for number, label in enumerate(labels)]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


def write_reviews(folder: Path, *, training: int = 60, test: int = 20) -> None:
    """Write IMDB's folders, half of so many texts in each class, and an unlabelled one."""
    draw = Random(0)
    for split, count in (("train", training), ("test", test)):
        for label in ("neg", "pos"):
            home = folder / split / label
            home.mkdir(parents=True)
            for number in range(count // 2):
                (home / f"{number}_{3 if label == 'neg' else 8}.txt").write_text(_write_words(draw, label))
    (folder / "train" / "unsup").mkdir()
    (folder / "train" / "unsup" / "0_0.txt").write_text("neither")


def write_tokens(folder: Path) -> None:
    """Write WikiText-2's three files of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    article = " \n = Robert = \n \n The <unk> was built in 1900 @-@ 1 , and the town grew . \n"
    for split, repeats in (("train", 30), ("valid", 4), ("test", 6)):
        (folder / f"wiki.{split}.tokens").write_text(article * repeats)
