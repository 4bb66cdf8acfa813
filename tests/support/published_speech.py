"""Small corpora in the layouts of LibriSpeech and Speech Commands, whose letters are tones."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from support.tones import spoken

SUBSETS = {"train-clean-100": 16, "dev-clean": 4, "test-clean": 4}


def write_librispeech(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Two readers with two chapters in each subset; the name and transcript of each clip."""
    soundfile = pytest.importorskip("soundfile")
    draw, written = Random(0), {}
    for subset, count in SUBSETS.items():
        written[subset] = []
        for number in range(count):
            reader, chapter = f"{len(subset)}{number % 2}", f"{100 + number % 4}"
            folder = root / "LibriSpeech" / subset / reader / chapter
            folder.mkdir(parents=True, exist_ok=True)
            name, text = f"{reader}-{chapter}-{number:04d}", "".join(draw.choices("ABCD", k=draw.randint(2, 6)))
            soundfile.write(folder / f"{name}.flac", spoken([text.lower()], [0.1], 8000)[0], 8000)
            with (folder / f"{reader}-{chapter}.trans.txt").open("a") as file:
                file.write(f"{name} {text}\n")
            written[subset].append((name, text))
    return written


def write_commands(root: Path, folder: str = "speech_commands_v0.02") -> dict[str, list[str]]:
    """Four words of eight speakers, of whom one is in each list, and noise; the names of the clips of each split."""
    soundfile = pytest.importorskip("soundfile")
    corpus, splits = root / folder, {"training": [], "validation": [], "test": []}
    for word in ("ab", "bad", "cab", "dad"):
        (corpus / word).mkdir(parents=True)
        for speaker in range(8):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            soundfile.write(corpus / name, spoken([word], [0.05 + 0.01 * speaker], 8000)[0], 8000)
            splits[{6: "validation", 7: "test"}.get(speaker, "training")].append(name)
    (corpus / "_background_noise_").mkdir()
    soundfile.write(corpus / "_background_noise_" / "pink_noise.wav", spoken(["a"], [0.1], 8000)[0], 8000)
    (corpus / "LICENSE").write_text("CC BY 4.0")
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        (corpus / name).write_text("".join(f"{clip}\n" for clip in splits[split]))
    return splits
