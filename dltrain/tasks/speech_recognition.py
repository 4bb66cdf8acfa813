"""What was said in a clip, character by character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.data.speech.batches import Utterances
from dltrain.data.speech.recognition import AcousticModel, ClipResult, Decoder, Transcript
from dltrain.decoding.ctc import BLANK, SPACE, align_symbols, decode_greedily, group_words, needed_frames
from dltrain.decoding.edits import align, count_edits
from dltrain.goal import Goal
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step

Pairs = Sequence[tuple[str | None, str | None]]
EDITS = ("substitutions", "insertions", "deletions")


@tasks.register("speech_recognition", data="speech", sizes=("bands", "alphabet", "subsampling"))
class SpeechRecognition:
    """Write down speech with connectionist temporal classification (Graves et al. 2006).

    Reports word_error_rate, character_error_rate, utterance_error_rate (the share of utterances with any mistake), the
    parts of the word and of the character error rate (substitutions, insertions and deletions for each word or
    character that was said), and loss (mean negative log-probability of a character in nats). Characters are taken
    greedily: the likeliest of each frame. A clip with more characters than CTC can place in its frames counts in every
    rate, but not in the loss.

    Options:
        goal: what decides which epoch is the best; null takes words where the alphabet has a space, else characters.
    """

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        goal: Literal["word_error_rate", "character_error_rate"] | None = None,
    ) -> None:
        self.alphabet: tuple[str, ...] = tuple(assets["alphabet"])
        self.subsampling = int(assets["subsampling"])
        self.bands = int(assets["bands"])
        self._places: dict[str | None, int] = {letter: place for place, letter in enumerate(self.alphabet)}
        self._places[None] = BLANK
        self._spaced = SPACE in self.alphabet
        self.goal = Goal(goal or ("word_error_rate" if self._spaced else "character_error_rate"), "min", "characters")

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"bands": self.bands, "alphabet": len(self.alphabet), "subsampling": self.subsampling}

    def step(self, model: nn.Module, batch: Utterances, carry: None) -> Step:
        log_probabilities, frames = cast(AcousticModel, model)(batch.features, batch.frames)
        return Step(compute_nats(log_probabilities, frames, batch).sum() / batch.count)

    def score(self, model: nn.Module, batch: Utterances, carry: None) -> Score:
        return Score(self.tally(self.judge(model, batch, decode_greedily)))

    def judge(self, model: nn.Module, batch: Utterances, decoder: Decoder) -> list[ClipResult]:
        """What the model understands of each clip, and what it should have."""
        log_probabilities, frames = cast(AcousticModel, model)(batch.features, batch.frames)
        lost = compute_nats(log_probabilities, frames, batch).tolist()
        found = decoder(log_probabilities, frames)
        clips, lengths = batch.clips.tolist(), batch.target_lengths.tolist()
        wanted = [row[:length] for row, length in zip(batch.targets.tolist(), lengths, strict=True)]
        return [
            ClipResult(clip, self.text(said), self.text(heard), loss if needed_frames(said) <= room else None)
            for clip, said, heard, loss, room in zip(clips, wanted, found, lost, frames.tolist(), strict=True)
        ]

    def text(self, symbols: Sequence[int]) -> str:
        return "".join(self.alphabet[symbol] for symbol in symbols)

    def tally(self, judgements: Sequence[ClipResult]) -> dict[str, Tensor]:
        """The counts of some clips.

        `confusion` (alphabet, alphabet) int64: rows are what was said, columns what was understood; the blank's row
        holds insertions, its column deletions.
        """
        size = len(self.alphabet)
        counts = dict.fromkeys(("words", *(f"word_{name}" for name in EDITS), "wrong_utterances", "placed"), 0)
        cells: list[int] = []
        for judgement in judgements:
            pairs = align(judgement.reference, judgement.hypothesis)
            cells += [self._places[said] * size + self._places[understood] for said, understood in pairs]
            by_words = count_edits(align(judgement.reference.split(), judgement.hypothesis.split()))
            counts["words"] += by_words.length
            for name in EDITS:
                counts[f"word_{name}"] += getattr(by_words, name)
            counts["wrong_utterances"] += judgement.reference != judgement.hypothesis
            counts["placed"] += len(judgement.reference) * (judgement.nats is not None)
        lost = [judgement.nats for judgement in judgements if judgement.nats is not None]
        return {
            "nats": torch.tensor(lost, dtype=torch.float64).sum(),
            "confusion": torch.bincount(torch.tensor(cells, dtype=torch.int64), minlength=size**2).view(size, size),
            "utterances": torch.tensor(len(judgements)),
            **{name: torch.tensor(count) for name, count in counts.items()},
        }

    def report(self, counts: Counts) -> dict[str, float]:
        confusion = counts["confusion"]
        characters, spoken = (max(1, int(count)) for count in (confusion[BLANK + 1 :].sum(), counts["words"]))
        wrong, missed, made_up = int(confusion.sum() - confusion.trace()), confusion[:, BLANK], confusion[BLANK]
        deletions, insertions = int(missed.sum()), int(made_up.sum())
        by_character = (wrong - insertions - deletions, insertions, deletions)
        by_kind = {f"word_{name.removesuffix('s')}_rate": int(counts[f"word_{name}"]) / spoken for name in EDITS}
        for name, number in zip(EDITS, by_character, strict=True):
            by_kind[f"character_{name.removesuffix('s')}_rate"] = number / characters
        return {
            "word_error_rate": sum(int(counts[f"word_{name}"]) for name in EDITS) / spoken,
            "character_error_rate": wrong / characters,
            "utterance_error_rate": int(counts["wrong_utterances"]) / max(1, int(counts["utterances"])),
            "loss": float(counts["nats"]) / max(1, int(counts["placed"])),
            **by_kind,
        }

    def compared(self, judgement: ClipResult) -> Pairs:
        """What was said beside what was understood: words where the alphabet has a space, else characters."""
        both = (judgement.reference, judgement.hypothesis)
        return align(*map(str.split, both)) if self._spaced else align(*map(list, both))

    def worst(self, judgements: Sequence[ClipResult], number: int) -> list[ClipResult]:
        """The `number` judgements with the most edits, the first of equals first; none that are right."""
        mistakes = [(count_edits(self.compared(judgement)).total, judgement) for judgement in judgements]
        ranked = sorted(mistakes, key=lambda mistake: mistake[0], reverse=True)
        return [judgement for total, judgement in ranked[:number] if total]

    def confused(self, counts: Counts, number: int) -> list[tuple[str, str, int]]:
        """The `number` most frequent mistakes: what was said, what was understood, how often; "" for nothing."""
        mistakes = counts["confusion"].clone().fill_diagonal_(0)
        letters = ["", *self.alphabet[1:]]
        times, cells = mistakes.flatten().sort(descending=True, stable=True)
        return [
            (letters[cell // len(letters)], letters[cell % len(letters)], count)
            for count, cell in zip(times[:number].tolist(), cells[:number].tolist(), strict=True)
            if count
        ]

    def transcribe(self, model: nn.Module, features: Tensor, frames: Tensor, decoder: Decoder) -> list[Transcript]:
        """Features (N, T, bands) of `frames` (N,) to what the clips say, and where each word lies."""
        log_probabilities, lengths = cast(AcousticModel, model)(features, frames)
        found: list[Transcript] = []
        heard, rows, step = decoder(log_probabilities, lengths), log_probabilities.cpu().numpy(), self.subsampling
        for symbols, row, length, end in zip(heard, rows, lengths.tolist(), frames.tolist(), strict=True):
            said = group_words(symbols, align_symbols(row[:length], symbols), self.alphabet)
            placed = [word._replace(first=word.first * step, end=min(end, word.end * step)) for word in said]
            found.append(Transcript(self.text(symbols), placed))
        return found


def compute_nats(log_probabilities: Tensor, frames: Tensor, batch: Utterances) -> Tensor:
    """-log p of each clip's targets, (N,) float32, summed over all paths; infinite where they do not fit."""
    return functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        batch.targets.clamp(min=BLANK),  # padding's number is none of the alphabet's, though nothing there is read
        frames,
        batch.target_lengths,
        blank=BLANK,
        reduction="none",
    )
