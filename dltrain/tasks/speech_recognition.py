"""Speech recognition with CTC: a text for each clip, character by character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.data.speech.batches import Utterances
from dltrain.data.speech.recognition import AcousticModel, ClipResult, Decoder, Transcript
from dltrain.data.speech.transcripts import count_needed_frames
from dltrain.decoding.ctc import BLANK, SPACE, align_symbols, decode_greedily, group_words
from dltrain.decoding.edits import align, count_edits
from dltrain.goal import Goal
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step

Pairs = Sequence[tuple[str | None, str | None]]
EDITS = ("substitutions", "insertions", "deletions")


@tasks.register(
    "speech_recognition",
    data="speech",
    sizes=("bands", "alphabet", "subsampling"),
    metrics=("word_error_rate", "character_error_rate", "utterance_error_rate", "loss"),
)
class SpeechRecognition:
    """Transcribe speech with connectionist temporal classification (Graves et al. 2006).

    Reports word_error_rate, character_error_rate, utterance_error_rate (the share of utterances with any error), the
    parts of the word and of the character error rate (substitutions, insertions and deletions per word or character of
    the reference), and loss (mean negative log-probability of a character in nats). Characters are decoded greedily:
    the likeliest of each frame. A clip with more characters than CTC can align with its frames counts in every rate,
    but not in the loss.
    The best epoch has the lowest word error rate if the alphabet has a space, else character error rate.
    """

    def __init__(self, assets: Mapping[str, Any]) -> None:
        self.alphabet: tuple[str, ...] = tuple(assets["alphabet"])
        self.subsampling = int(assets["subsampling"])
        self.sizes = {"bands": int(assets["bands"]), "alphabet": len(self.alphabet), "subsampling": self.subsampling}
        self._symbols: dict[str | None, int] = {letter: index for index, letter in enumerate(self.alphabet)}
        self._symbols[None] = BLANK
        self._spaced = SPACE in self.alphabet
        self.goal = Goal("word_error_rate" if self._spaced else "character_error_rate", "min", "characters")

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {"alphabet": assets["alphabet"]}

    def step(self, model: nn.Module, batch: Utterances, carry: None) -> Step:
        log_probabilities, frames = cast(AcousticModel, model)(batch.features, batch.frames)
        return Step(compute_nats(log_probabilities, frames, batch).sum() / batch.count)

    def score(self, model: nn.Module, batch: Utterances, carry: None) -> Score:
        return Score(self.tally(self.decode_clips(model, batch, decode_greedily)))

    def decode_clips(self, model: nn.Module, batch: Utterances, decoder: Decoder) -> list[ClipResult]:
        """Decode each clip of a batch, beside its reference."""
        log_probabilities, frames = cast(AcousticModel, model)(batch.features, batch.frames)
        losses = compute_nats(log_probabilities, frames, batch).tolist()
        hypotheses = decoder(log_probabilities, frames)
        lengths, available = batch.target_lengths.tolist(), frames.tolist()
        references = [row[:length] for row, length in zip(batch.targets.tolist(), lengths, strict=True)]
        results = []
        for index, clip in enumerate(batch.clips.tolist()):
            fits = count_needed_frames(references[index]) <= available[index]
            texts = self.text(references[index]), self.text(hypotheses[index])
            results.append(ClipResult(clip, *texts, losses[index] if fits else None))
        return results

    def text(self, symbols: Sequence[int]) -> str:
        return "".join(self.alphabet[symbol] for symbol in symbols)

    def tally(self, results: Sequence[ClipResult]) -> dict[str, Tensor]:
        """Count the edits of some clips.

        `confusion` (alphabet, alphabet) int64: rows are the reference's characters, columns the hypothesis's; the
        blank's row holds insertions, its column deletions.
        """
        size = len(self.alphabet)
        counts = dict.fromkeys(("words", *(f"word_{name}" for name in EDITS), "wrong_utterances", "placed"), 0)
        cells: list[int] = []
        for result in results:
            pairs = align(result.reference, result.hypothesis)
            cells += [self._symbols[reference] * size + self._symbols[hypothesis] for reference, hypothesis in pairs]
            words = count_edits(align(result.reference.split(), result.hypothesis.split()))
            counts["words"] += words.length
            for name in EDITS:
                counts[f"word_{name}"] += getattr(words, name)
            counts["wrong_utterances"] += result.reference != result.hypothesis
            counts["placed"] += len(result.reference) * (result.nats is not None)
        losses = [result.nats for result in results if result.nats is not None]
        return {
            "nats": torch.tensor(losses, dtype=torch.float64).sum(),
            "confusion": torch.bincount(torch.tensor(cells, dtype=torch.int64), minlength=size**2).view(size, size),
            "utterances": torch.tensor(len(results)),
            **{name: torch.tensor(count) for name, count in counts.items()},
        }

    def report(self, counts: Counts) -> dict[str, float]:
        confusion = counts["confusion"]
        characters, words = (max(1, int(count)) for count in (confusion[BLANK + 1 :].sum(), counts["words"]))
        wrong = int(confusion.sum() - confusion.trace())
        deletions, insertions = int(confusion[:, BLANK].sum()), int(confusion[BLANK].sum())
        by_character = (wrong - insertions - deletions, insertions, deletions)
        by_kind = {f"word_{name.removesuffix('s')}_rate": int(counts[f"word_{name}"]) / words for name in EDITS}
        for name, number in zip(EDITS, by_character, strict=True):
            by_kind[f"character_{name.removesuffix('s')}_rate"] = number / characters
        return {
            "word_error_rate": sum(int(counts[f"word_{name}"]) for name in EDITS) / words,
            "character_error_rate": wrong / characters,
            "utterance_error_rate": int(counts["wrong_utterances"]) / max(1, int(counts["utterances"])),
            "loss": float(counts["nats"]) / max(1, int(counts["placed"])),
            **by_kind,
        }

    def align_result(self, result: ClipResult) -> Pairs:
        """Align reference and hypothesis: words if the alphabet has a space, else characters."""
        if self._spaced:
            return align(result.reference.split(), result.hypothesis.split())
        return align(list(result.reference), list(result.hypothesis))

    def select_worst(self, results: Sequence[ClipResult], number: int) -> list[ClipResult]:
        """Select the `number` results with the most edits, the first of equals first; none that are right."""
        edits = [(count_edits(self.align_result(result)).total, result) for result in results]
        return [result for total, result in sorted(edits, key=lambda pair: pair[0], reverse=True)[:number] if total]

    def list_confusions(self, counts: Counts, number: int) -> list[tuple[str, str, int]]:
        """List the `number` most frequent confusions: reference, hypothesis, count; "" for nothing."""
        confusions = counts["confusion"].clone().fill_diagonal_(0)
        letters = ["", *self.alphabet[1:]]
        times, cells = confusions.flatten().sort(descending=True, stable=True)
        return [
            (letters[cell // len(letters)], letters[cell % len(letters)], count)
            for count, cell in zip(times[:number].tolist(), cells[:number].tolist(), strict=True)
            if count
        ]

    def transcribe(self, model: nn.Module, features: Tensor, frames: Tensor, decoder: Decoder) -> list[Transcript]:
        """Transcribe features (N, T, bands) of `frames` (N,), and locate each word."""
        log_probabilities, lengths = cast(AcousticModel, model)(features, frames)
        hypotheses, step = decoder(log_probabilities, lengths), self.subsampling
        rows, limits = log_probabilities.cpu().numpy(), list(zip(lengths.tolist(), frames.tolist(), strict=True))
        transcripts = []
        for symbols, row, (length, end) in zip(hypotheses, rows, limits, strict=True):
            words = group_words(symbols, align_symbols(row[:length], symbols), self.alphabet)
            located = [word._replace(first=word.first * step, end=min(end, word.end * step)) for word in words]
            transcripts.append(Transcript(self.text(symbols), located))
        return transcripts


def compute_nats(log_probabilities: Tensor, frames: Tensor, batch: Utterances) -> Tensor:
    """Compute -log p of each clip's targets, (N,) float32, summed over all paths; infinite if they do not fit."""
    return functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        batch.targets.clamp(min=BLANK),  # padding is not in the alphabet, though it is not read either
        frames,
        batch.target_lengths,
        blank=BLANK,
        reduction="none",
    )
