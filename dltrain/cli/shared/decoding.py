"""The options of `dltrain transcribe` and `dltrain eval` that choose how a CTC model's scores become text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dltrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from dltrain.data.speech.recognition import Decoder

WIDTH = 16
WEIGHT = 0.5
BONUS = 1.0

LanguageModelFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=f"An n-gram model in ARPA format, for a beam search (of {WIDTH})."),
]
LanguageModelWeight = Annotated[float | None, typer.Option(min=0, help=f"What it counts. [default: {WEIGHT:g}]")]
WordBonus = Annotated[float | None, typer.Option(help=f"Added for each word, in nats. [default: {BONUS:g}]")]


class Decoding(NamedTuple):
    """Greedy where `width` is None, else a beam search, with a language model where there is one."""

    width: int | None = None
    language_model: Path | None = None
    weight: float = WEIGHT
    bonus: float = BONUS

    def __str__(self) -> str:
        if self.width is None:
            return "greedy"
        if self.language_model is None:
            return f"beam search (width {self.width})"
        return f"beam search (width {self.width}, {self.language_model}, weight {self.weight:g}, bonus {self.bonus:g})"

    def decoder(self, alphabet: Sequence[str]) -> Decoder:
        """The function itself; raises UsageError where it does not go with the alphabet, DataError for a bad file."""
        from dltrain.decoding.ctc import BeamSearch, greedy
        from dltrain.decoding.ngram import read

        if self.width is None:
            return greedy
        model = None if self.language_model is None else read(self.language_model)
        try:
            return BeamSearch(alphabet, self.width, model, self.weight, self.bonus)
        except ValueError as error:
            raise UsageError(f"--lm {self.language_model}: {error}", advice="leave it out") from error

    def record(self) -> dict[str, Any]:
        """What an evaluation notes of it."""
        from dltrain.files import sha256

        if self.width is None:
            return {"method": "greedy"}
        noted: dict[str, Any] = {"method": "beam_search", "width": self.width}
        if self.language_model is not None:
            noted |= {"language_model": str(self.language_model), "weight": self.weight, "bonus": self.bonus}
            noted["language_model_sha256"] = sha256(self.language_model)
        return noted


def decoding(beam: int | None, lm: Path | None, lm_weight: float | None, word_bonus: float | None) -> Decoding:
    """What the options ask for; a language model asks for a beam.

    Raises UsageError for an option without its own, DataError for a language model that is not there.
    """
    for option, value in (("--lm-weight", lm_weight), ("--word-bonus", word_bonus)):
        if value is not None and lm is None:
            raise UsageError(
                f"{option} goes with --lm, which was not given", advice=f"add --lm FILE, or leave {option} out"
            )
    if lm is not None and not lm.exists():
        raise DataError(f"--lm {lm}: there is no such file", advice="check its name, or make one with dltrain data lm")
    width = WIDTH if beam is None and lm is not None else beam
    return Decoding(width, lm, WEIGHT if lm_weight is None else lm_weight, BONUS if word_bonus is None else word_bonus)
