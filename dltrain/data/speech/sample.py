"""A small spoken corpus that needs no download: strings of digits, spoken by eSpeak NG in several voices.

eSpeak NG is a formant synthesiser (https://github.com/espeak-ng/espeak-ng, GPL-3.0-or-later). The package
espeakng-loader provides its library and its voices; a separate process, `python -m dltrain.data.speech.sample FOLDER`,
loads it and writes the corpus: the library's output depends on its earlier output, so each time it starts fresh and
speaks everything in one order. The same version makes the same bytes.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.substitute import Sample
from dltrain.errors import DataError, UsageError

SAMPLE = Sample(
    name="synthetic digits sample (espeak-ng, not Common Voice)",
    replaces="Common Voice",
    contents="strings of digits spoken by a program",
)

PACKAGE = "espeakng-loader"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_FORMAT = 1  # increase it if the corpus changes
_ACCENTS = ("gmw/en", "gmw/en-US", "gmw/en-GB-scotland", "gmw/en-GB-x-rp", "gmw/en-029", "gmw/en-GB-x-gbclan")
_TIMBRES = ("m1", "f2", "m3", "f4", "m7", "f5")
_CLIPS_OF_EACH = {"train": 40, "dev": 20, "test": 20}
"""Clips of each voice, by split."""

_SYNCHRONOUS, _NO_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH = 1, 3


class SynthesizerVoice(NamedTuple):
    """A voice of eSpeak NG: an accent of English, and a timbre."""

    accent: str
    timbre: str

    @property
    def name(self) -> str:
        return f"{self.accent}+{self.timbre}"


def list_voices() -> dict[str, list[SynthesizerVoice]]:
    """List twelve voices for training and three each for validation and test; no two of them are the same."""
    every = [
        SynthesizerVoice(accent, _TIMBRES[(index + shift) % len(_TIMBRES)])
        for shift in range(3)
        for index, accent in enumerate(_ACCENTS)
    ]
    return {"train": every[:12], "dev": every[12:15], "test": every[15:18]}


def make_spoken_sample(cache: Cache) -> CacheEntry:
    """Return the cache entry with train.tsv, dev.tsv and test.tsv (path, text, speaker) and WAV files, made if missing.

    Raises UsageError without espeakng-loader, DataError if its library does not work.
    """
    try:
        release = version(PACKAGE)
    except PackageNotFoundError:
        raise UsageError(
            f"the {SAMPLE.name} is spoken by {PACKAGE}, which is not installed. Install it (pip install "
            "'dltrain[audio]'), or use the real corpus."
        ) from None
    return cache.entry("spoken-digits", {"format": _FORMAT, "version": release}, _run_synthesizer)


def _run_synthesizer(folder: Path) -> None:
    command = [sys.executable, "-m", "dltrain.data.speech.sample", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"the {SAMPLE.name} could not be made: {last}. Use the real corpus, or reinstall {PACKAGE}.")


class Synthesizer:
    """eSpeak NG's library; at most one instance per process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate_hz = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _NO_EXIT
        )
        if self.sample_rate_hz <= 0:
            raise RuntimeError("eSpeak NG does not find its voices")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # for breath noise; otherwise the time of day
        self._blocks: list[Any] = []
        form = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = form(self._collect)  # kept here, or it is freed while the library still calls it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            self._blocks.append(numpy.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: SynthesizerVoice, words_a_minute: int, pitch: int) -> Any:
        """Synthesise text: samples (n,) int16; `pitch` is from 0 to 99."""
        self._blocks = []
        if self._library.espeak_SetVoiceByName(voice.name.encode()):
            raise RuntimeError(f"eSpeak NG has no voice {voice.name}")
        self._library.espeak_SetParameter(_RATE, words_a_minute, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        content = text.encode() + b"\0"
        if self._library.espeak_Synth(content, len(content), 0, 0, 0, _UTF8, None, None):
            raise RuntimeError(f"eSpeak NG cannot speak {text!r}")
        return numpy.concatenate(self._blocks)


def write_corpus(folder: Path) -> None:
    """Write strings of one to three digits, each voice at random pitches and speeds: 16 kHz WAV files, three tables."""
    import soundfile
    import soxr

    synthesizer = Synthesizer()
    for split, speakers in list_voices().items():
        rows = ["path\ttext\tspeaker"]
        for number, voice in enumerate(speakers):
            draw = Random(f"{split} {number}")
            for clip in range(_CLIPS_OF_EACH[split]):
                text = " ".join(draw.choices(DIGITS, k=1 + clip % 3))
                samples = synthesizer.speak(text, voice, draw.randint(120, 200), draw.randint(30, 70))
                changed = soxr.resample(samples, synthesizer.sample_rate_hz, 16000)
                name = f"{split}_{number:02d}_{clip:02d}.wav"
                soundfile.write(folder / name, changed, 16000, "PCM_16")
                rows.append(f"{name}\t{text}\t{voice.name}")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
