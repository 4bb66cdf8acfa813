"""Preparations of data that are interrupted continue, and what they make is the same, byte for byte."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from dltrain.data import parts as parts_module
from dltrain.data import progress
from dltrain.data.cache import KEPT_SECONDS, Cache
from dltrain.data.images import decoded
from dltrain.data.images.pictures import PictureFormat
from dltrain.data.parts import Parts
from dltrain.data.speech import clips
from dltrain.data.speech.manifests import Clip
from dltrain.data.text import encoding
from dltrain.data.text.vocabulary import Vocabulary, choose_words, count_tokens
from dltrain.data.text_files import LineSpan, scan_file
from dltrain.errors import Stopped
from dltrain.runtime.interrupts import Interrupts, OutOfTime, stop_if_out_of_time
from support.speech import soundfile, speechlike

Prepare = Callable[[Cache], Any]


class Killed(BaseException):
    """As SIGKILL: nothing is carried out afterwards."""


def write_pictures(folder: Path) -> list[Path]:
    random = numpy.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(9)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (6, 7), "uint8")).save(path)
    paths[4].write_bytes(b"no picture")
    return paths


def prepare_pictures(folder: Path) -> tuple[Prepare, Any]:
    paths, form = write_pictures(folder), PictureFormat(1, 4, 4, "stretch")
    hashes = [str(number) for number in range(len(paths))]
    return partial(load, paths, hashes, form), (decoded, "_sum_picture")


def load(paths: Sequence[Path], hashes: Sequence[str], form: PictureFormat, cache: Cache) -> Any:
    return decoded.load_pictures(paths, hashes, form, title="pictures", cache=cache)


def prepare_hashes(folder: Path) -> tuple[Prepare, Any]:
    paths = write_pictures(folder)
    return partial(hash_all, paths), (progress, "_hash_file")


def hash_all(paths: Sequence[Path], cache: Cache) -> list[str]:
    return progress.hash_files("files", paths, "files", cache)


def prepare_depths(folder: Path) -> tuple[Prepare, Any]:
    paths = write_pictures(folder)
    return partial(decoded.find_largest, paths), (decoded, "measure_depth")


def prepare_speech(folder: Path) -> tuple[Prepare, Any]:
    given = []
    for number in range(6):
        path = folder / f"{number}.wav"
        soundfile.write(path, speechlike(0.7 + 0.05 * number, seed=number), 16000)
        given.append(Clip(path.name, path, "text", "", number))
    given.append(Clip("none.wav", folder / "none.wav", "text", "", 9))

    def survey(cache: Cache) -> Any:
        digests = [str(number) for number in range(len(given))]
        return clips.load_survey(given, digests, clips.Preparation(), description="clips", cache=cache, keep=True)

    return survey, (clips, "examine_clip")


def write_texts(folder: Path) -> list[LineSpan]:
    spans = []
    for number in range(3):
        path = folder / f"{number}.txt"
        path.write_text("".join(f"a{line % 7} b{line * number % 5}" * (1 + line % 3) + "\n" for line in range(40)))
        file = scan_file(path)
        spans.append(LineSpan(file, number, file.lines - number))
    return spans


def prepare_vocabulary(folder: Path, unit: Any = "word") -> tuple[Prepare, Any]:
    spans = write_texts(folder)

    def learn(cache: Cache) -> Any:
        return encoding.learn_vocabulary(spans, unit, cache, lowercase=False, min_count=1, max_vocabulary=None)

    return learn, (encoding.TokenCounter, "add")


def prepare_tokens(folder: Path) -> tuple[Prepare, Any]:
    spans = write_texts(folder)
    counts = sum((count_tokens(encoding.read_text_pieces(span, "word"), "word") for span in spans), start=Counter())
    words, unknown = choose_words(counts, 1, None)
    vocabulary = Vocabulary({"words": words, "unit": "word", "lowercase": False, "end": "<eos>", "unknown": unknown})

    def encode(cache: Cache) -> Any:
        tokens = encoding.encode_files(spans, vocabulary, cache, lowercase=False)
        return tokens.ids.tolist(), tokens.longest

    return encode, (encoding.FileEncoder, "encode")


def test_a_large_text_is_scanned_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_LARGE_BYTES", 10)
    path, cache, scans = tmp_path / "text.txt", Cache(tmp_path / "cache", 1e9), []
    scan = encoding.scan_file
    monkeypatch.setattr(encoding, "scan_file", lambda path: scans.append(path) or scan(path))
    path.write_text("one line\nand another\r\n")
    assert encoding.recall_scan(path, cache) == encoding.recall_scan(path, cache) == scan(path)
    assert len(scans) == 1
    path.write_text("one line\nand anothen\r\n")
    assert encoding.recall_scan(path, cache) == scan(path)
    assert len(scans) == 2


PREPARATIONS: dict[str, Callable[[Path], tuple[Prepare, Any]]] = {
    "pictures": prepare_pictures,
    "hashes": prepare_hashes,
    "depths": prepare_depths,
    "speech": prepare_speech,
    "words": prepare_vocabulary,
    "characters": partial(prepare_vocabulary, unit="character"),
    "tokens": prepare_tokens,
}


def read_entries(cache: Path) -> dict[str, bytes]:
    """Every byte of the finished entries; what is unfinished is hidden."""
    files = [path for entry in cache.glob("[!.]*") for path in entry.iterdir()]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def interrupt_after(parts: int, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    """Raise an error once so many parts are complete; for a kill within the next one, with half of it written."""
    complete = Parts.complete_part
    left = parts

    def count(self: Parts) -> None:
        nonlocal left
        left -= 1
        if left == 0 and isinstance(error, Killed):
            for name in self._files:
                self.write(name, b"half")
                self._files[name].flush()
            raise error
        complete(self)
        if left == 0:
            raise error

    patch.setattr(Parts, "complete_part", count)


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["marked after each part", "never marked"])
@pytest.mark.parametrize("kind", [OutOfTime, Killed])
@pytest.mark.parametrize("name", PREPARATIONS)
def test_an_interrupted_preparation_continues_and_makes_the_same_bytes(
    name: str, kind: type[BaseException], seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "MARK_SECONDS", seconds)
    monkeypatch.setattr(parts_module, "_LARGEST_SHARE", 1e9)
    monkeypatch.setattr("dltrain.data.text_files.PIECE_BYTES", 64)
    (tmp_path / "data").mkdir()
    prepare, (owner, worker) = PREPARATIONS[name](tmp_path / "data")
    whole, broken = Cache(tmp_path / "whole", 1e9), Cache(tmp_path / "broken", 1e9)
    calls: list[int] = []
    work = getattr(owner, worker)
    monkeypatch.setattr(owner, worker, lambda *given, **options: calls.append(1) or work(*given, **options))
    prepare(whole)
    total = len(calls)
    calls.clear()
    for _ in range(2):
        with monkeypatch.context() as patch:
            interrupt_after(3, kind("spent", 75) if kind is OutOfTime else kind(), patch)
            with pytest.raises(kind):
                prepare(broken)
    prepare(broken)
    assert read_entries(tmp_path / "broken") == read_entries(tmp_path / "whole")
    assert not list((tmp_path / "broken").glob(".*"))
    lost = len(calls) - total
    if name not in ("pictures", "hashes", "depths", "speech"):  # threads are ahead of what is written
        marked = kind is OutOfTime or seconds == 0
        assert lost == (0 if kind is OutOfTime else 2 if marked else 6)


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b'{"done": 3}', b'{"done": 3, "sizes": {"file": 99}, "state": 1}'])
def test_a_mark_that_does_not_fit_is_worth_nothing(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "mark.json").write_bytes(mark)
    (tmp_path / "file").write_bytes(b"something")
    with Parts(tmp_path, ["file"]) as parts:
        assert (parts.done, parts.state) == (0, None)
        parts.write("file", b"new")
        parts.complete_part()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_parts_are_kept_for_a_week(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1e9)

    def stop(folder: Path) -> None:
        with Parts(folder, ["file"]) as parts:
            parts.complete_part()
            raise OutOfTime("spent", 75)

    with pytest.raises(OutOfTime):
        cache.entry("kind", {"number": 1}, stop, resumable=True)
    (kept,) = tmp_path.glob(".*.parts")
    cache.entry("kind", {"number": 2}, lambda folder: None)
    assert kept.exists()
    old = (kept / "mark.json").stat().st_mtime - KEPT_SECONDS - 1
    os.utime(kept / "mark.json", (old, old))
    cache.entry("kind", {"number": 3}, lambda folder: None)
    assert not kept.exists()


def test_spent_time_stops_a_preparation_but_never_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dltrain.runtime.interrupts.time.monotonic", lambda: now[0])
    interrupts = Interrupts()
    interrupts.limit(0)
    stop_if_out_of_time()  # outside of a preparation
    with interrupts.preparing():
        now[0] += 1.9
        stop_if_out_of_time()
        now[0] += 0.2
        with pytest.raises(Stopped, match="what is prepared is kept") as caught:
            stop_if_out_of_time()
        assert caught.value.exit_code == 75
    stop_if_out_of_time()
    interrupts.limit(10)
    with interrupts.preparing():
        now[0] += 9.9
        stop_if_out_of_time()
        now[0] += 0.2
        with pytest.raises(OutOfTime):
            stop_if_out_of_time()


CONFIG = """
task: image_classification
data: {name: image_folder, root: data, height: 4, width: 4, batch_size: 4, validation: 0.25, test: 0.25}
model: {name: mlp, hidden: [4]}
optimizer: adam
trainer: {epochs: 1, device: cpu, threads: 1}
"""


def test_fit_continues_with_the_data_where_its_time_was_spent(
    tmp_path: Path, dltrain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dltrain.runtime.interrupts.SECONDS_TO_PREPARE", 0.0)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        write_pictures(tmp_path / "data" / label)[4].unlink()
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert dltrain("fit", "config.yaml", "-o", "whole", "--set", "data.cache=one").returncode == 0
    words = ["fit", "config.yaml", "-o", "run", "--set", "data.cache=two"]
    times = 0
    while times < 100:
        stopped = dltrain(*words, "--max-time", "0s")
        assert stopped.returncode == 75
        if "while the data was prepared; what is prepared is kept" not in stopped.stderr:
            break
        assert not (tmp_path / "run").exists()
        times += 1
    assert 3 < times < 100
    assert dltrain(*words).returncode == 0
    weights = [path / "best" / "weights.safetensors" for path in (tmp_path / "run", tmp_path / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert read_entries(tmp_path / "two").keys() == read_entries(tmp_path / "one").keys()
