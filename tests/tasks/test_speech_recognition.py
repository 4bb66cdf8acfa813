"""The speech task: its loss against an enumeration of paths, its rates against counts by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dltrain.batch import NO_TARGET
from dltrain.core.evaluate import accumulate_counts
from dltrain.data.speech.batches import Utterances
from dltrain.data.speech.recognition import AcousticModel
from dltrain.decoding.ctc import BeamSearch, Word, decode_greedily
from dltrain.goal import Goal
from dltrain.models.crnn import CRNN
from dltrain.runtime.precision import Runtime
from dltrain.tasks.speech_recognition import ClipResult, SpeechRecognition, Transcript

ALPHABET = ["<blank>", " ", "a", "b", "c"]
ASSETS: dict[str, Any] = {"alphabet": ALPHABET, "subsampling": 2, "bands": 5}
TASK = SpeechRecognition(ASSETS)


class Fixed(nn.Module):
    """Features that are log-probabilities already, every second frame of them."""

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        return features[:, ::2].log_softmax(2), (frames + 1) // 2


def utterances(features: Tensor, frames: Sequence[int], texts: Sequence[str], first: int = 0) -> Utterances:
    symbols = [[ALPHABET.index(letter) for letter in text] for text in texts]
    longest = max(map(len, symbols))
    targets = torch.tensor([row + [NO_TARGET] * (longest - len(row)) for row in symbols], dtype=torch.int64)
    lengths = torch.tensor([len(row) for row in symbols])
    clips = torch.arange(first, first + len(texts))
    return Utterances(features, torch.tensor(frames), targets, lengths, clips, int(lengths.sum()))


def saying(*texts: str) -> Tensor:
    """Features in which each character lasts for four frames, the next two being blank: (N, T, 5)."""
    rows = [
        [symbol for letter in text for symbol in [ALPHABET.index(letter)] * 4 + [0] * 2] + [0] * (60 - 6 * len(text))
        for text in texts
    ]
    return 20 * torch.nn.functional.one_hot(torch.tensor(rows), 5).float()


def enumerated(scores: Tensor, target: Sequence[int]) -> float:
    """-log p of a labelling: the sum over all paths (T, A) that have it."""
    total = 0.0
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        if [symbol for symbol, _ in itertools.groupby(path) if symbol] == list(target):
            total += math.exp(sum(float(scores[frame, symbol]) for frame, symbol in enumerate(path)))
    return -math.log(total)


def test_the_loss_is_the_sum_over_all_paths_for_each_character() -> None:
    torch.manual_seed(0)
    batch = utterances(torch.randn(3, 10, 5), [10, 7, 9], ["ab", "aa", "c"])
    scores, frames = Fixed()(batch.features, batch.frames)
    expected = [
        enumerated(scores[row, :length], target)
        for row, (length, target) in enumerate(zip(frames.tolist(), [[2, 3], [2, 2], [4]], strict=True))
    ]
    step = TASK.step(Fixed(), batch, None)
    assert float(step.loss) == pytest.approx(sum(expected) / 5, rel=1e-5)
    results = TASK.decode_clips(Fixed(), batch, decode_greedily)
    assert [result.nats for result in results] == pytest.approx(expected, rel=1e-5)
    assert TASK.report(TASK.score(Fixed(), batch, None).counts)["loss"] == pytest.approx(sum(expected) / 5, rel=1e-5)


def test_rates_are_those_counted_by_hand() -> None:
    """Said and understood: a space less and b for c; an a too much; nothing of a b; and all of it."""
    batch = utterances(saying("abb", "aab ca", "", "cab b"), [60] * 4, ["a bc", "ab ca", "a b", "cab b"], first=7)
    results = TASK.decode_clips(Fixed(), batch, decode_greedily)
    assert [(one.clip, one.reference, one.hypothesis) for one in results] == [
        (7, "a bc", "abb"),
        (8, "ab ca", "aab ca"),
        (9, "a b", ""),
        (10, "cab b", "cab b"),
    ]
    report = TASK.report(TASK.score(Fixed(), batch, None).counts)
    assert report["word_error_rate"] == pytest.approx((2 + 1 + 2 + 0) / 8)
    assert report["word_substitution_rate"] == pytest.approx(2 / 8)
    assert report["word_deletion_rate"] == pytest.approx(3 / 8)
    assert report["word_insertion_rate"] == 0
    assert report["character_error_rate"] == pytest.approx((2 + 1 + 3 + 0) / 17)
    assert report["character_substitution_rate"] == pytest.approx(1 / 17)
    assert report["character_insertion_rate"] == pytest.approx(1 / 17)
    assert report["character_deletion_rate"] == pytest.approx(4 / 17)
    assert report["utterance_error_rate"] == pytest.approx(3 / 4)
    confusion = TASK.score(Fixed(), batch, None).counts["confusion"]
    assert confusion[0].tolist() == [0, 0, 1, 0, 0]  # inserted: an a
    assert confusion[:, 0].tolist() == [0, 2, 1, 1, 0]  # deleted: two spaces, an a, a b
    assert confusion[4, 3] == 1
    assert int(confusion[1:].sum()) == 17


def test_word_error_rate_is_jiwer_s() -> None:
    jiwer = pytest.importorskip("jiwer")
    said, understood = ["a bc", "ab ca", "a b", "cab b", "a a a"], ["abb", "aab ca", "c", "cab b", "a a b a"]
    results = [ClipResult(clip, *texts, 0.0) for clip, texts in enumerate(zip(said, understood, strict=True))]
    report = TASK.report(TASK.tally(results))
    assert report["word_error_rate"] == pytest.approx(jiwer.wer(said, understood))
    assert report["character_error_rate"] == pytest.approx(jiwer.cer(said, understood))


def test_counts_of_batches_add_up_to_those_of_all() -> None:
    texts, heard = ["a bc", "ab ca", "a b", "cab b"], saying("abb", "aab ca", "c", "cab b")
    whole = TASK.score(Fixed(), utterances(heard, [60] * 4, texts), None).counts
    halves = [TASK.score(Fixed(), utterances(heard[at : at + 2], [60] * 2, texts[at : at + 2]), None) for at in (0, 2)]
    for name, count in whole.items():
        torch.testing.assert_close(halves[0].counts[name] + halves[1].counts[name], count)
    assert whole["nats"].dtype == torch.float64
    assert all(count.dtype == torch.int64 for name, count in whole.items() if name != "nats")


def test_clips_too_short_for_their_text_count_in_the_rates_alone() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 6, 5)
    batch = utterances(features, [6, 6, 6], ["ab", "abca", "aab"])  # three frames; "aab" needs four
    results = TASK.decode_clips(Fixed(), batch, decode_greedily)
    assert [result.nats is None for result in results] == [False, True, True]
    counts = TASK.score(Fixed(), batch, None).counts
    report = TASK.report(counts)
    assert int(counts["utterances"]) == 3
    assert int(counts["confusion"][1:].sum()) == 9
    assert report["loss"] == pytest.approx((results[0].nats or 0) / 2)
    assert math.isinf(float(TASK.step(Fixed(), batch, None).loss))


def test_silence_counts_what_is_heard_in_it() -> None:
    report = TASK.report(TASK.score(Fixed(), utterances(saying("ab", ""), [60, 60], ["", ""]), None).counts)
    assert report["word_error_rate"] == 1
    assert report["utterance_error_rate"] == 0.5
    assert math.isfinite(report["loss"])


def test_the_most_confused_characters_come_first() -> None:
    pairs = [("abc", "abb"), ("bc", "bb"), ("a", "ab"), ("ab", "b"), ("ac", "abc"), ("c", "b"), ("b", "b ")]
    counts = TASK.tally([ClipResult(0, *texts, 0.0) for texts in pairs])
    assert TASK.list_confusions(counts, 2) == [("c", "b", 3), ("", "b", 2)]
    assert sorted(TASK.list_confusions(counts, 100)[2:]) == [("", " ", 1), ("a", "", 1)]


def test_the_worst_utterances_come_with_what_differs() -> None:
    texts = [("a b", "a b"), ("a b", "a c"), ("ab c a", "b c"), ("c", "a"), ("c", "a b")]
    results = [ClipResult(clip, *pair, 0.0) for clip, pair in enumerate(texts)]
    assert [result.clip for result in TASK.select_worst(results, 3)] == [2, 4, 1]
    assert [result.clip for result in TASK.select_worst(results, 9)] == [2, 4, 1, 3]
    assert TASK.align_result(results[1]) == [("a", "a"), ("b", "c")]
    assert TASK.align_result(results[2]) == [("ab", "b"), ("c", "c"), ("a", None)]
    unspaced = SpeechRecognition({**ASSETS, "alphabet": ["<blank>", "a", "b"]})
    assert unspaced.align_result(ClipResult(0, "ab", "bb", 0.0)) == [("a", "b"), ("b", "b")]


def test_transcripts_have_words_and_their_frames() -> None:
    features, frames = saying("ab ca", "c"), torch.tensor([60, 12])
    found = TASK.transcribe(Fixed(), features, frames, decode_greedily)
    assert [(one.text, [word._replace(confidence=1.0) for word in one.words]) for one in found] == [
        ("ab ca", [Word("ab", 0, 10, 1.0), Word("ca", 18, 28, 1.0)]),
        ("c", [Word("c", 0, 4, 1.0)]),
    ]
    assert found[0].words[0].confidence == pytest.approx(1, abs=1e-3)
    assert TASK.transcribe(Fixed(), features, frames, BeamSearch(ALPHABET, 4)) == found
    assert TASK.transcribe(Fixed(), saying(""), torch.tensor([60]), decode_greedily) == [Transcript("", [])]


def test_goal_and_sizes_come_from_the_data() -> None:
    assert TASK.goal == Goal("word_error_rate", "min", "characters")
    assert TASK.sizes == {"bands": 5, "alphabet": 5, "subsampling": 2}
    unspaced = {**ASSETS, "alphabet": ["<blank>", "a"]}
    assert SpeechRecognition(unspaced).goal.metric == "character_error_rate"


class Toy:
    """A stream of four clips, each character of which sounds for a few frames."""

    texts = ("ab a", "b", "cab", "a c")

    def __len__(self) -> int:
        return 2

    def epoch(self, epoch: int, start: int = 0) -> Any:
        sounds = saying(*self.texts) / 20 + 0.1 * torch.randn(4, 60, 5, generator=torch.Generator().manual_seed(epoch))
        frames = [6 * len(text) for text in self.texts]
        for at in (0, 2):
            used = slice(at, at + 2)
            yield utterances(sounds[used], frames[used], self.texts[used], first=at)


def test_a_model_learns_to_write_down_what_it_hears() -> None:
    torch.manual_seed(0)
    model = CRNN(**TASK.sizes, channels=[8], hidden=16, layers=1)
    recogniser: AcousticModel = model
    assert callable(recogniser)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    runtime = Runtime(torch.device("cpu"), "")
    before = TASK.report(accumulate_counts(model, TASK, Toy(), runtime))
    for epoch in range(1, 41):
        for batch in Toy().epoch(epoch):
            loss = TASK.step(model, batch, None).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = TASK.report(accumulate_counts(model, TASK, Toy(), runtime))
    assert before["word_error_rate"] > 0.5
    assert after["word_error_rate"] == after["character_error_rate"] == 0
    assert after["loss"] < 0.2 < before["loss"]
    rough = TASK.report(accumulate_counts(model, TASK, Toy(), Runtime(torch.device("cpu"), "", "bf16")))
    assert rough["word_error_rate"] == 0
