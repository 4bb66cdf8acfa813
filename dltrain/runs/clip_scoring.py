"""Speech that is transcribed or evaluated: how scores become text, the worst clips, frequent confusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dltrain.errors import DataError, UsageError
from dltrain.options import NonNegativeFloat, PositiveInt

if TYPE_CHECKING:
    from dltrain.data.speech.recognition import ClipResult, Decoder, ScoresClips
    from dltrain.dataset import SplitName
    from dltrain.runs.loading import Trained
    from dltrain.task import Counts, Score

WIDTH = 16
WEIGHT = 0.5
BONUS = 1.0
LM_ADVICE = "leave it out, or make one for this alphabet with `dltrain data lm TEXT --like RUN`"
MANY_UNKNOWN = 0.2
"""Share of the reference words from which it is reported that a language model does not have them."""
CONFUSIONS = 10
"""How many of the most frequent confusions are listed."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Greedy without `beam` and `lm`, else a beam search.

    Options:
        beam: how many texts the search keeps at a time; 16 when not given.
        lm: an n-gram language model in ARPA format.
        lm_weight: weight of the language model; 0.5 when not given.
        word_bonus: added for each word, in nats; 1 when not given.
    """

    beam: PositiveInt | None = None
    lm: str | None = None
    lm_weight: NonNegativeFloat | None = None
    word_bonus: float | None = None

    @property
    def width(self) -> int | None:
        return WIDTH if self.beam is None and self.lm is not None else self.beam

    @property
    def weight(self) -> float:
        return WEIGHT if self.lm_weight is None else self.lm_weight

    @property
    def bonus(self) -> float:
        return BONUS if self.word_bonus is None else self.word_bonus

    def __str__(self) -> str:
        if self.width is None:
            return "greedy"
        if self.lm is None:
            return f"beam search (width {self.width})"
        return f"beam search (width {self.width}, {self.lm}, weight {self.weight:g}, bonus {self.bonus:g})"

    def decoder(self, alphabet: Sequence[str], inform: Callable[[str], None]) -> Decoder:
        """Build the decoder, and `inform` if few words of the language model can be spelled.

        Raises UsageError if it does not fit the alphabet, DataError for a bad file.
        """
        from dltrain.decoding.ctc import BeamSearch, decode_greedily
        from dltrain.decoding.ngram import read_arpa
        from dltrain.decoding.spelling import fit_spelling

        if self.width is None:
            return decode_greedily
        model = None if self.lm is None else read_arpa(Path(self.lm))
        try:
            if model is not None and " " in alphabet:
                model, note = fit_spelling(model, alphabet)
                if note is not None:
                    inform(f"note: language model {self.lm}: {note}")
            return BeamSearch(alphabet, self.width, model, alpha=self.weight, beta=self.bonus)
        except ValueError as error:
            raise UsageError(
                f"language model {self.lm}: {error}",
                advice="leave it out, or make one with `dltrain data lm TEXT --like RUN`",
            ) from error

    def record(self) -> dict[str, Any]:
        """The method and its numbers as an evaluation records them."""
        from dltrain.files import hash_file

        if self.width is None:
            return {"method": "greedy"}
        record: dict[str, Any] = {"method": "beam_search", "width": self.width}
        if self.lm is not None:
            record |= {"language_model": self.lm, "weight": self.weight, "bonus": self.bonus}
            record["language_model_sha256"] = hash_file(Path(self.lm))
        return record


def check_decoding(decoding: Decoding | None, dashes: bool = False) -> None:
    """Raise UsageError for a key that needs `lm`, DataError for a missing file; `dashes` names the keys as flags."""
    if decoding is None:
        return
    lm = "--lm" if dashes else "lm"
    for name in ("lm_weight", "word_bonus"):
        if getattr(decoding, name) is not None and decoding.lm is None:
            stray = f"--{name.replace('_', '-')}" if dashes else name
            add = "add --lm FILE" if dashes else "add lm=FILE"
            raise UsageError(f"{stray} goes with {lm}, which was not given", advice=f"{add}, or leave {stray} out")
    if decoding.lm is not None and not Path(decoding.lm).exists():
        advice = "check its name, or make one with dltrain data lm"
        raise DataError(f"{lm} {decoding.lm}: there is no such file", advice=advice)


class ClipScoring:
    """A task's score with the decoder that `decoding` describes; keeps the `results` of all clips."""

    def __init__(self, task: ScoresClips, decoding: Decoding, inform: Callable[[str], None]) -> None:
        self.task, self.decoding, self._inform = task, decoding, inform
        self.decoder = decoding.decoder(task.alphabet, inform)
        self.results: list[ClipResult] = []

    def score(self, model: Any, batch: Any, carry: Any) -> Score:
        from dltrain.task import Score

        results = self.task.decode_clips(model, batch, self.decoder)
        self.results += results
        return Score(self.task.tally(results))

    def findings(self, counts: Counts, worst: int | None, dataset: Any, split: str) -> dict[str, Any]:
        """The most frequent confusions, and the `worst` clips with their words aligned, as plain values."""
        self._note_unknown_words()
        confusions = [
            {"said": reference, "understood": hypothesis, "times": count}  # keys that scripts read
            for reference, hypothesis, count in self.task.list_confusions(counts, CONFUSIONS)
        ]
        if worst is None:
            return {"confused": confusions}
        chosen = self.task.select_worst(self.results, worst)
        return {"confused": confusions, "worst": [self._describe_clip(result, dataset, split) for result in chosen]}

    def _note_unknown_words(self) -> None:
        """Report if many words of the references are not in the language model."""
        model = getattr(self.decoder, "language_model", None)
        if model is None:
            return
        words = [word for result in self.results for word in result.reference.split()]
        if (unknown := sum(word not in model.vocabulary for word in words)) > MANY_UNKNOWN * len(words):
            where = f"not in the language model {self.decoding.lm}"
            self._inform(f"note: {unknown} of {len(words)} words of the references are {where}")

    def _describe_clip(self, result: ClipResult, dataset: Any, split: str) -> dict[str, Any]:
        from dltrain.dataset import NamesExamples

        name = {}
        if isinstance(dataset, NamesExamples):
            (name["name"],) = dataset.name_examples(cast("SplitName", split), [result.clip])
        pairs = [list(pair) for pair in self.task.align_result(result)]
        return {**result._asdict(), **name, "compared": pairs}


def build_clip_scoring(
    run: Path, trained: Trained, decoding: Decoding | None, inform: Callable[[str], None]
) -> ClipScoring | None:
    """Build the scoring of a task that scores clips; None for another one. Raises UsageError if it has a `decoding`."""
    from dltrain.data.speech.recognition import ScoresClips

    if isinstance(trained.task, ScoresClips):
        return ClipScoring(trained.task, decoding or Decoding(), inform)
    if decoding is not None:
        raise UsageError(
            f"{run}: --decode is for speech recognisers; the task '{trained.experiment.task.name}' transcribes nothing",
            advice="leave it out",
        )
    return None
