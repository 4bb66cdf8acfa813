"""How a CTC model's scores become text: options of `dltrain transcribe`, and the keys of `dltrain eval --decode`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.errors import DataError, UsageError
from dltrain.options import NonNegativeFloat, PositiveInt

if TYPE_CHECKING:
    from dltrain.data.speech.recognition import Decoder

WIDTH = 16
WEIGHT = 0.5
BONUS = 1.0

LanguageModelFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help=f"An n-gram model in ARPA format, for a beam search (of {WIDTH})."),
]
LanguageModelWeight = Annotated[
    float | None, typer.Option(min=0, help=f"Weight of the language model. [default: {WEIGHT:g}]")
]
WordBonus = Annotated[float | None, typer.Option(help=f"Added for each word, in nats. [default: {BONUS:g}]")]
Decode = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="Decode speech with a beam search: beam=WIDTH hypotheses (default with lm: "
        f"{WIDTH}), lm=FILE for an n-gram model (dltrain data lm), lm_weight={WEIGHT:g}, word_bonus={BONUS:g} nats. "
        "[default: greedy]",
    ),
]


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

    def decoder(self, alphabet: Sequence[str]) -> Decoder:
        """Build the decoder. Raises UsageError if it does not fit the alphabet, DataError for a bad file."""
        from dltrain.decoding.ctc import BeamSearch, decode_greedily
        from dltrain.decoding.ngram import read_arpa

        if self.width is None:
            return decode_greedily
        model = None if self.lm is None else read_arpa(Path(self.lm))
        try:
            return BeamSearch(alphabet, self.width, model, alpha=self.weight, beta=self.bonus)
        except ValueError as error:
            raise UsageError(f"language model {self.lm}: {error}", advice="leave it out") from error

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


def check_decoding(decoding: Decoding, dashes: bool = False) -> Decoding:
    """Raise UsageError for a key that needs `lm`, DataError for a missing file; `dashes` names the keys as flags."""
    lm = "--lm" if dashes else "lm"
    for name in ("lm_weight", "word_bonus"):
        if getattr(decoding, name) is not None and decoding.lm is None:
            stray = f"--{name.replace('_', '-')}" if dashes else name
            add = "add --lm FILE" if dashes else "add lm=FILE"
            raise UsageError(f"{stray} goes with {lm}, which was not given", advice=f"{add}, or leave {stray} out")
    if decoding.lm is not None and not Path(decoding.lm).exists():
        advice = "check its name, or make one with dltrain data lm"
        raise DataError(f"{lm} {decoding.lm}: there is no such file", advice=advice)
    return decoding


def parse_decoding(text: str | None) -> Decoding | None:
    """Parse the value of --decode. Raises UsageError as `parse_group` and `check_decoding` do."""
    from dltrain.cli.shared.grouped import parse_group

    return None if text is None else check_decoding(parse_group("--decode", text, Decoding))
