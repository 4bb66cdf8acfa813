"""What `dltrain eval` tells of speech besides the rates: the worst clips, and what is taken for what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.cli.shared.decoding import Decoding
    from dltrain.data.speech.recognition import ClipResult, ScoresClips
    from dltrain.runs.loading import Trained
    from dltrain.task import Counts, Score

CONFUSED = 10
"""How many of the most frequent mistakes are listed."""


class ClipScoring:
    """A task's score with the decoder that `decoding` describes; keeps all `judgements`."""

    def __init__(self, task: ScoresClips, decoding: Decoding) -> None:
        self.task, self.decoding = task, decoding
        self.decoder = decoding.decoder(task.alphabet)
        self.judgements: list[ClipResult] = []

    def score(self, model: Any, batch: Any, carry: Any) -> Score:
        from dltrain.task import Score

        judged = self.task.judge(model, batch, self.decoder)
        self.judgements += judged
        return Score(self.task.tally(judged))

    def scoring(self, trained: Trained) -> Trained:
        """The same model, scored by this."""
        task: Any = self
        return dataclasses.replace(trained, task=task)

    def findings(self, counts: Counts, worst: int | None, dataset: Any, split: str) -> dict[str, Any]:
        """The most frequent mistakes, and the `worst` clips with their words side by side, as plain values."""
        mistakes = [
            {"said": said, "understood": understood, "times": times}
            for said, understood, times in self.task.confused(counts, CONFUSED)
        ]
        if worst is None:
            return {"confused": mistakes}
        chosen = self.task.worst(self.judgements, worst)
        return {"confused": mistakes, "worst": [self._clip(judgement, dataset, split) for judgement in chosen]}

    def _clip(self, judgement: ClipResult, dataset: Any, split: str) -> dict[str, Any]:
        from dltrain.data.speech.recognition import NamesClips

        name = {"name": dataset.clip_name(split, judgement.clip)} if isinstance(dataset, NamesClips) else {}
        pairs = [list(pair) for pair in self.task.compared(judgement)]
        return {**judgement._asdict(), **name, "compared": pairs}


def build_clip_scoring(run: Path, trained: Trained, decoding: Decoding | None) -> ClipScoring | None:
    """The scorer of a task that can judge; None for another one, for which UsageError is raised with a `decoding`."""
    from dltrain.cli.shared.decoding import Decoding
    from dltrain.data.speech.recognition import ScoresClips

    if isinstance(trained.task, ScoresClips):
        return ClipScoring(trained.task, decoding or Decoding())
    if decoding is not None:
        raise UsageError(
            f"{run}: --decode is for speech recognisers; the task '{trained.experiment.task.name}' transcribes nothing",
            advice="leave it out",
        )
    return None


def format_worst(findings: Mapping[str, Any]) -> Iterator[str]:
    """The worst clips as lines to print."""
    from dltrain.decoding.edits import format_alignment

    for place, clip in enumerate(findings.get("worst", ()), 1):
        pairs = [tuple(pair) for pair in clip["compared"]]
        edits = sum(said != understood for said, understood in pairs)
        yield f"\nworst {place}: {clip.get('name', 'clip ' + str(clip['clip']))}, {edits} edit{'s' * (edits != 1)}"
        for head, line in zip(("said", "understood", ""), format_alignment(pairs), strict=True):
            yield f"  {head:<10}  {line}".rstrip()


def list_confusion_rows(findings: Mapping[str, Any]) -> Sequence[Sequence[object]]:
    """The most frequent mistakes as the rows of a table."""
    return [
        [_name_character(one["said"]), _name_character(one["understood"]), one["times"]] for one in findings["confused"]
    ]


def _name_character(character: str) -> str:
    return {"": "nothing", " ": "space"}.get(character, character)
