"""What `dltrain eval` reports of speech besides the rates: the worst clips, and the most frequent confusions."""

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

CONFUSIONS = 10
"""How many of the most frequent confusions are listed."""


class ClipScoring:
    """A task's score with the decoder that `decoding` describes; keeps the `results` of all clips."""

    def __init__(self, task: ScoresClips, decoding: Decoding) -> None:
        self.task, self.decoding = task, decoding
        self.decoder = decoding.decoder(task.alphabet)
        self.results: list[ClipResult] = []

    def score(self, model: Any, batch: Any, carry: Any) -> Score:
        from dltrain.task import Score

        results = self.task.decode_clips(model, batch, self.decoder)
        self.results += results
        return Score(self.task.tally(results))

    def replace_task(self, trained: Trained) -> Trained:
        """Return the same model, scored by this."""
        task: Any = self
        return dataclasses.replace(trained, task=task)

    def findings(self, counts: Counts, worst: int | None, dataset: Any, split: str) -> dict[str, Any]:
        """The most frequent confusions, and the `worst` clips with their words aligned, as plain values."""
        confusions = [
            {"said": reference, "understood": hypothesis, "times": count}  # keys that scripts read
            for reference, hypothesis, count in self.task.list_confusions(counts, CONFUSIONS)
        ]
        if worst is None:
            return {"confused": confusions}
        chosen = self.task.select_worst(self.results, worst)
        return {"confused": confusions, "worst": [self._describe_clip(result, dataset, split) for result in chosen]}

    def _describe_clip(self, result: ClipResult, dataset: Any, split: str) -> dict[str, Any]:
        from dltrain.data.speech.recognition import NamesClips

        name = {"name": dataset.clip_name(split, result.clip)} if isinstance(dataset, NamesClips) else {}
        pairs = [list(pair) for pair in self.task.align_result(result)]
        return {**result._asdict(), **name, "compared": pairs}


def build_clip_scoring(run: Path, trained: Trained, decoding: Decoding | None) -> ClipScoring | None:
    """Build the scoring of a task that scores clips; None for another one. Raises UsageError if it has a `decoding`."""
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
    """Format the worst clips as lines to print: reference, hypothesis, and the kind of each edit."""
    from dltrain.decoding.edits import format_alignment

    for number, clip in enumerate(findings.get("worst", ()), 1):
        pairs = [tuple(pair) for pair in clip["compared"]]
        edits = sum(reference != hypothesis for reference, hypothesis in pairs)
        name = clip.get("name", f"clip {clip['clip']}")
        yield f"\nworst {number}: {name}, {edits} {'edit' if edits == 1 else 'edits'}"
        for head, line in zip(("reference", "hypothesis", ""), format_alignment(pairs), strict=True):
            yield f"  {head:<10}  {line}".rstrip()


def list_confusion_rows(findings: Mapping[str, Any]) -> Sequence[Sequence[object]]:
    """List the most frequent confusions as the rows of a table, after its head."""
    confusions = findings["confused"]
    rows = [[_name_character(one["said"]), _name_character(one["understood"]), one["times"]] for one in confusions]
    return [["reference", "hypothesis", "count"], *rows]


def _name_character(character: str) -> str:
    return {"": "nothing", " ": "space"}.get(character, character)
