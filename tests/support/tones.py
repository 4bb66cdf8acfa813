"""Speech made of tones, one for each letter, and a model that recognises them exactly."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from support.commands import good

PLUGIN = '''
from dataclasses import asdict

import torch
from support.tones import FREQUENCIES, RATE, said, tone
from torch import nn

from dltrain.batch import NO_TARGET
from dltrain.data.speech.batches import Utterances
from dltrain.data.speech.log_mel import build_extractor, model_input
from dltrain.data.speech.sound import Sound
from dltrain.data.speech.options import LogMel
from dltrain.registry import datasets, models

FEATURES = LogMel(bands=20)
ALPHABET = ["<blank>", *FREQUENCIES]
HEARD = {"training": ["ab c"], "validation": ["ab c"], "test": ["ab c", "d", "ba cab d", "[bc]"]}
WRITTEN = {"training": ["ab c"], "validation": ["ab c"], "test": ["ab c", "d", "a cad c d", "c"]}


@datasets.register("tones", data="speech")
class Tones:
    """Letters as tones. In the test split, two of four clips do not say what is written.

    Options:
        names: whether clips have names.
    """

    name, fingerprint, notice = "tones", {}, None

    def __init__(self, name, seed, assets, *, names: bool = True):
        self.assets = assets or {
            "dataset": name, "alphabet": ALPHABET, "subsampling": 2, "sample_rate_hz": RATE,
            "features": asdict(FEATURES), "bands": 20, "text": {"spaces": True},
            "normalization": {"over": "corpus", "mean": [0.0] * 20, "variance": [1 - 1e-4] * 20},
        }
        if names:
            self.name_examples = lambda split, clips: [f"{split}_{clip}.wav" for clip in clips]
            self.transcripts = lambda: ["d b", "d"]

    def training(self):
        return Clips("training", self.assets)

    def validation(self):
        return Clips("validation", self.assets)

    def test(self):
        return Clips("test", self.assets)


class Clips:
    def __init__(self, split, assets):
        self.split, self.assets = split, assets

    def __len__(self):
        return len(HEARD[self.split])

    def epoch(self, epoch, start=0):
        for clip in range(start, len(self)):
            features = model_input(Sound(said(HEARD[self.split][clip]), RATE, 1), self.assets)
            target = torch.tensor([ALPHABET.index(letter) for letter in WRITTEN[self.split][clip]])
            yield Utterances(features[None], torch.tensor([len(features)]), target[None],
                             torch.tensor([len(target)]), torch.tensor([clip]), len(target))


@models.register("ear")
class Ear(nn.Module):
    """Each letter's band, where it is loud; a space where it becomes silent. The first of equals is likelier by 1 %."""

    def __init__(self, bands, alphabet, subsampling):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        extract = build_extractor(FEATURES, RATE)
        heard = torch.stack([torch.from_numpy(extract(tone(letter, 0.2)))[10] for letter in FREQUENCIES])
        self.places, self.usual = heard.argmax(1), heard.amax(1)

    def forward(self, features, frames):
        levels, frames = features[:, ::2], (frames + 1) // 2
        letters = levels[:, :, self.places] - self.usual
        loud = letters.amax(2) > -5
        loud &= torch.arange(levels.shape[1]) < frames[:, None]
        likely = (letters > letters.amax(2, keepdim=True) - 2) & loud[:, :, None]
        before = torch.stack([loud.roll(shift, 1) for shift in (1, 2, 3)]).any(0)
        likely[:, :, 0] |= ~loud & before
        likely = torch.cat([~likely.any(2, keepdim=True), likely], 2)
        first = 0.01 * torch.arange(likely.shape[2])
        return (20 * likely.float() - first + self.unused).log_softmax(2), frames
'''


RATE = 16000


FREQUENCIES = {" ": 6000, "a": 500, "b": 1000, "c": 1800, "d": 3000}


LETTER_SECONDS = 0.12


def tone(letters: str, seconds: float, rate: int = RATE) -> np.ndarray:
    """A tone, or more at once, without a click at its ends."""
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * FREQUENCIES[letter] * time) for letter in letters)
    ramp = np.minimum(1, np.minimum(time, time[::-1]) / 0.005)
    return (0.2 * sound * ramp).astype(np.float32)


class Word(NamedTuple):
    text: str
    start: float
    end: float


def spoken(words: list[str], gaps: list[float | None], rate: int = RATE) -> tuple[np.ndarray, list[Word]]:
    """Samples and times of words, after each of which comes silence of so many seconds, or for None the space's tone.

    Letters in [brackets] sound at once.
    """
    parts, told, at = [], [], 0
    for word, gap in zip(words, gaps, strict=True):
        start = at
        for letter in word.replace("[bc]", "*"):
            parts.append(tone("bc" if letter == "*" else letter, LETTER_SECONDS, rate))
            at += len(parts[-1])
        told.append(Word(word, start / rate, at / rate))
        parts.append(tone(" ", LETTER_SECONDS, rate) if gap is None else np.zeros(round(gap * rate), np.float32))
        at += len(parts[-1])
    return np.concatenate(parts), told


def said(text: str, rate: int = RATE) -> np.ndarray:
    words = text.split()
    return spoken(words, [0.15] * (len(words) - 1) + [0], rate)[0]


def random_words(count: int, seed: int) -> list[str]:
    draw, words = Random(seed), []
    for _ in range(count):
        word = draw.choice("abcd")
        while draw.random() < 0.6 and len(word) < 5:
            word += draw.choice([letter for letter in "abcd" if letter != word[-1]])
        words.append(word)
    return words


def train(folder: Path, data: str = "tones") -> Path:
    (folder / "tones.py").write_text(PLUGIN)
    config = folder / "tones.yaml"
    config.write_text(
        f"""
task: speech_recognition
data: {data}
model: ear
optimizer: {{name: sgd, learning_rate: 0.1}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
plugins: [tones.py]
"""
    )
    good("fit", config, "-o", folder / "run", "-q")
    return folder / "run"
