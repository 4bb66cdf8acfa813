"""Models whose features are normalised over a speaker: `dltrain transcribe` prepares clips as `dltrain eval` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dltrain.data.speech.dataset import SpokenClips
from dltrain.data.speech.log_mel import model_input, rebuild_extractor
from dltrain.data.speech.recognition import Decoder, Transcribes
from dltrain.data.speech.recordings import RecordingPiece, read_recording
from dltrain.data.speech.sound import Sound, decode_sound, resample
from dltrain.data.speech.transcription import Transcriber
from dltrain.errors import DataError, UsageError
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from support.commands import call, good

soundfile = pytest.importorskip("soundfile")

RATE = 8000
CLIPS = 5

CONFIG = """
task: speech_recognition
data:
  name: audio
  root: {root}
  train: train.tsv
  validation: validation.tsv
  test: test.tsv
  max_seconds: 30
  sample_rate_hz: {rate}
  subsampling: 2
  features: {{bands: 20, speech_db: {speech_db}}}
  normalize: {normalize}
model: {{name: crnn, channels: [4], hidden: 8, layers: 1, dropout: 0.0}}
optimizer: {{name: adam, learning_rate: 1e-2}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
"""


def sound(seconds: float, seed: int) -> np.ndarray:
    """Noise of a colour and a loudness of its own, the middle of which is louder."""
    draw = np.random.default_rng(seed)
    white = draw.standard_normal(round(seconds * RATE) + 4)
    coloured = np.convolve(white, draw.uniform(-1, 1, 5), "valid")
    time = np.linspace(-1, 1, len(coloured))
    samples: np.ndarray = (draw.uniform(0.01, 0.1) * coloured * np.exp(-4 * time**2)).clip(-0.9, 0.9)
    return samples.astype(np.float32)


def trained(folder: Path, normalize: str, speech_db: str = "null") -> Path:
    """A run whose test split is CLIPS clips of one speaker, in `folder`/test, at two sample rates."""
    for split, count in (("train", 4), ("validation", 2), ("test", CLIPS)):
        (folder / split).mkdir()
        rows = ["path\ttext\tspeaker"]
        for number in range(count):
            name = f"{split}/{number}.wav"
            soundfile.write(folder / name, sound(0.8 + 0.3 * number, len(rows) + 100 * count), RATE * (1 + number % 2))
            rows.append(f"{name}\tab {'ba ' * (number % 2)}\t{split}")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    config = folder / "speakers.yaml"
    config.write_text(CONFIG.format(root=folder, rate=RATE, normalize=normalize, speech_db=speech_db))
    good("fit", config, "-o", folder / "run", "-q")
    return folder


@pytest.fixture(scope="module", params=["null", "30"], ids=["of all windows", "of speech"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("speakers"), "speaker", request.param)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The features (T, bands) that a recogniser is given to transcribe."""
    from dltrain.tasks.speech_recognition import SpeechRecognition

    given: list[torch.Tensor] = []
    original = SpeechRecognition.transcribe

    def listen(
        self: Any, model: torch.nn.Module, features: torch.Tensor, frames: torch.Tensor, decoder: Decoder
    ) -> list[Any]:
        given.extend(one[:count].clone() for one, count in zip(features, frames.tolist(), strict=True))
        return original(self, model, features, frames, decoder)

    monkeypatch.setattr(SpeechRecognition, "transcribe", listen)
    return given


@pytest.fixture
def transcriber_of() -> Callable[[Path], Transcriber]:
    from dltrain.decoding.ctc import decode_greedily

    def make(folder: Path) -> Transcriber:
        found = load_trained(find_checkpoint(folder / "run"))
        assert isinstance(found.task, Transcribes)
        return Transcriber(found.task, found.model, found.runtime, found.record.assets, decode_greedily, 2)

    return make


def evaluated(folder: Path) -> list[torch.Tensor]:
    """What `eval` gives the model for each clip of the test split, shortest first."""
    assets = load_trained(find_checkpoint(folder / "run")).record.assets
    data = SpokenClips(
        "audio", 0, assets, root=str(folder), train="train.tsv", test="test.tsv", max_seconds=30, validation=0.0
    )
    clips = [
        features[:count]
        for batch in data.test().epoch(0)
        for features, count in zip(batch.features, batch.frames.tolist(), strict=True)
    ]
    return sorted(clips, key=len)


def test_clips_of_one_speaker_are_prepared_as_in_evaluation(folder: Path, heard: list[torch.Tensor]) -> None:
    expected = evaluated(folder)
    assert len(expected) == CLIPS
    shared = good("transcribe", folder / "run", folder / "test", "--same-speaker")
    told = shared.stdout
    assert "--same-speaker" not in shared.stderr
    assert [line.split("\t")[0] for line in told.splitlines()] == [str(folder / f"test/{n}.wav") for n in range(CLIPS)]
    for found, truth in zip(sorted(heard, key=len), expected, strict=True):
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-6)
    heard.clear()
    where = f"({CLIPS} files of {folder / 'test'})"
    note = f"note: each file counts as another speaker's; if one person speaks {where}, add --same-speaker\n"
    assert note in good("transcribe", folder / "run", folder / "test").stderr
    alone = sorted(heard, key=len)
    assert all((found - truth).abs().max() > 0.1 for found, truth in zip(alone, expected, strict=True))


def test_a_file_counts_once(folder: Path, heard: list[torch.Tensor]) -> None:
    clip = folder / "test" / "0.wav"
    good("transcribe", folder / "run", clip, "--same-speaker")
    good("transcribe", folder / "run", clip, clip, "--same-speaker")
    first, *others = heard
    assert len(others) == 2
    assert all(torch.equal(first, other) for other in others)


def test_of_one_clip_alone_the_training_corpus_counts_as_a_second(folder: Path, heard: list[torch.Tensor]) -> None:
    clip = folder / "test" / "0.wav"
    good("transcribe", folder / "run", clip)
    assets = load_trained(find_checkpoint(folder / "run")).record.assets
    pieces = [piece for path in sorted((folder / "train").iterdir()) for piece in read_recording(path)]
    corpus = [piece._replace(sound=Sound(resample(piece.sound, RATE), RATE, 1)) for piece in pieces]
    mean, variance = statistics(assets, corpus)
    np.testing.assert_allclose(assets["normalization"]["mean"], mean, atol=1e-3)
    np.testing.assert_allclose(assets["normalization"]["variance"], variance, rtol=1e-3)
    torch.testing.assert_close(heard[0], model_input(decode_sound(clip.read_bytes()), assets), rtol=0, atol=1e-6)


def test_the_pieces_of_a_long_file_share_its_statistics(
    folder: Path, heard: list[torch.Tensor], transcriber_of: Any, tmp_path: Path
) -> None:
    paths = [tmp_path / "long.wav", tmp_path / "short.wav"]
    samples = np.concatenate([sound(25, 1), np.zeros(RATE, np.float32), sound(32, 2)])
    soundfile.write(paths[0], samples, RATE)
    soundfile.write(paths[1], sound(2, 3), RATE)
    transcriber = transcriber_of(folder)
    cut = list(read_recording(paths[0]))
    assert len(cut) == 3
    recordings = list(transcriber.transcribe_files(paths))
    assert [one.seconds for one in recordings] == pytest.approx([58, 2])
    mean, variance = statistics(transcriber.assets, cut)
    extract = rebuild_extractor(transcriber.assets)
    for piece in cut:
        raw = extract(piece.sound.samples).astype(np.float16).astype(np.float32)
        expected = torch.from_numpy(((raw - mean) / np.sqrt(variance + 1e-4)).astype(np.float32))
        if transcriber.assets["features"]["speech_db"] is not None:
            expected = expected.clip(min=-3)
        [found] = [one for one in heard if len(one) == len(expected)]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    [short] = [one for one in heard if len(one) == 201]
    alone = list(transcriber.transcribe_files(paths[1:]))
    assert alone[0].words == recordings[1].words
    assert torch.equal(heard[-1], short)


def statistics(assets: Any, cut: Sequence[RecordingPiece]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the bands over the own parts of all pieces, each frame once; quiet windows of a piece do
    not count where the features have speech_db, but in how much a piece weighs."""
    extract, speech_db = rebuild_extractor(assets), assets["features"]["speech_db"]
    weights, first, second = [], [], []
    for piece in cut:
        raw = extract(piece.sound.samples).astype(np.float16).astype(np.float64)
        times = piece.start_seconds + 0.01 * np.arange(len(raw))
        own = raw[(times >= piece.from_seconds - 0.005) & (times <= piece.to_seconds + 0.005)]
        weights.append(len(own))
        if speech_db is not None:
            power = np.log(np.exp(own).sum(1))
            own = own[power >= power.max() - speech_db * np.log(10) / 10]
        first.append(own.mean(0))
        second.append((own**2).mean(0))
    mean = np.average(first, 0, weights)
    return mean, np.average(second, 0, weights) - mean**2


def test_what_cannot_be_read_is_said_once_and_does_not_count(
    folder: Path, heard: list[torch.Tensor], tmp_path: Path
) -> None:
    clips = [folder / "test" / f"{number}.wav" for number in range(CLIPS)]
    good("transcribe", folder / "run", *clips, "--same-speaker")
    expected = list(heard)
    heard.clear()
    damaged, silent = tmp_path / "damaged.wav", tmp_path / "silent.wav"
    loud = np.concatenate([sound(30, 7), sound(30, 8)])
    soundfile.write(damaged, loud, RATE)
    damaged.write_bytes(damaged.read_bytes()[: int(1.5 * len(loud))])  # its first pieces can be read
    soundfile.write(silent, np.full(3 * RATE, 1e-4, np.float32), RATE)
    result = call("transcribe", folder / "run", damaged, *clips, silent, tmp_path / "none.wav", "--same-speaker")
    assert isinstance(result.exception, DataError)
    assert str(result.exception).startswith("2 of 8 files could not be transcribed")
    assert [line.partition(": ")[2].partition(": ")[0] for line in result.stderr.splitlines() if "error" in line] == [
        str(damaged), str(tmp_path / "none.wav")
    ]  # fmt: skip
    assert result.stdout.count("\n") == CLIPS + 1
    for found, truth in zip(sorted(heard, key=len), sorted(expected, key=len), strict=True):
        assert torch.equal(found, truth)
    nothing = good("transcribe", folder / "run", silent, "--same-speaker")
    assert nothing.stdout == f"{silent}\t\n"


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["utterance", "corpus"])
def test_only_models_that_normalise_over_speakers_ask_whose_the_files_are(
    normalize: str, heard: list[torch.Tensor], tmp_path: Path
) -> None:
    folder = trained(tmp_path, normalize)
    refused = call("transcribe", folder / "run", folder / "test", "--same-speaker")
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        f"--same-speaker: the features of this model are normalised over the {normalize}, whoever speaks; it goes with "
        "models trained with data.normalize: speaker\nnext: leave it out"
    )
    heard.clear()  # the report of the training transcribes too
    good("transcribe", folder / "run", folder / "test")
    for found, truth in zip(sorted(heard, key=len), evaluated(folder), strict=True):
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-6)
