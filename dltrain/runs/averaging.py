"""The members of `fit --seeds` or `cv` as one model: what they say of an example is averaged.

Classifiers are averaged by their probabilities, regressions and forecasts by their numbers in the data's units. Each
member prepares the example itself, with the statistics and the vocabulary of its own training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.errors import NoCheckpoint, UsageError
from dltrain.runs.listing import SUMMARY
from dltrain.runs.prediction import Prediction, Predictor, rank_labels

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.kinds import Kind, NamedInput, Reader
    from dltrain.runs.loading import Trained

FOLDS, SEEDS = "dltrain cv", "dltrain fit --seeds"


@dataclass(frozen=True)
class Members:
    """The finished members of a parent directory, and the command that made it."""

    parent: Path
    command: str
    paths: Sequence[Path]

    @property
    def settings(self) -> dict[str, Any]:
        """What to change in the members' configs: the test split of a fold is that fold."""
        return {"data": {"fold": None}} if self.command == FOLDS else {}


def find_members(path: Path) -> Members | None:
    """The members of a parent directory; None for anything else. Raises UsageError for a sweep, and without members."""
    try:
        summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        command = summary["kind"]
        names = [one["name"] for one in summary["members"] if one["state"] == "finished"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if command not in (FOLDS, SEEDS):
        raise UsageError(
            f"{path}: the trials of a sweep differ in their settings, and are not averaged",
            advice=f"name one of them, or train its best settings: dltrain fit {path / 'best.yaml'}",
        )
    if not names:
        raise NoCheckpoint(f"{path}: none of its members is finished", advice="rerun the command that trains them")
    return Members(path, command, [path / name for name in names])


def check_members(members: Members, trained: Sequence[Trained]) -> None:
    """Raises UsageError where what the members say cannot be averaged."""
    from dltrain.capabilities import Estimates, Predicts, RecoversOutputs

    first = trained[0]
    if not isinstance(first.task, RecoversOutputs) or not isinstance(first.task, Predicts | Estimates):
        raise UsageError(
            f"{members.parent}: what models of the task '{first.experiment.task.name}' say is not averaged",
            advice=f"name one member, such as {members.paths[0]}",
        )
    names = [sorted(list_names(one.task)) for one in trained]
    for path, found in zip(members.paths, names, strict=True):
        if found != names[0]:
            raise UsageError(
                f"{members.parent}: {path.name} and {members.paths[0].name} know other classes or outputs",
                advice="give data.labels, or split the data so that each training split has every class",
            )


def list_names(task: Any) -> Sequence[str]:
    """The labels of a classifier, or the outputs of a regression, in the order of its predictions."""
    from dltrain.capabilities import Predicts

    names: Sequence[str] = task.labels if isinstance(task, Predicts) else task.outputs
    return names


def average(predictions: Sequence[Tensor], tasks: Sequence[Any]) -> Tensor:
    """The mean of the tasks' predictions (N, names), in the order of the first task's names, float64 on the CPU."""
    import torch

    order = list_names(tasks[0])
    parts = []
    for each, task in zip(predictions, tasks, strict=True):
        names = list(list_names(task))
        parts.append(each.cpu().double()[:, [names.index(name) for name in order]])
    return torch.stack(parts).mean(0)


@dataclass(frozen=True)
class AveragedPredictor:
    """Predicts the mean of several predictors, each of which reads the inputs itself, with all their labels."""

    members: Sequence[Predictor]
    top: int | None = None

    @property
    def trained(self) -> Trained:
        return self.members[0].trained

    @property
    def kind(self) -> Kind:
        return self.members[0].kind

    @property
    def labels(self) -> bool:
        return self.members[0].labels

    @property
    def reader(self) -> Reader:
        return self.members[0].reader

    def describe(self, one: Prediction) -> dict[str, Any]:
        return self.members[0].describe(one)

    def predict_named(
        self, names: Sequence[str], lines: Iterable[str], watch: Callable[[Iterable[NamedInput]], Iterator[NamedInput]]
    ) -> Iterator[list[Prediction]]:
        """As `Predictor.predict_named`; standard input, if it is named, is read first."""
        kept = list(lines) if "-" in names else []
        first, *others = self.members
        streams = [first.predict_named(names, iter(kept), watch)]
        streams += [one.predict_named(names, iter(kept), iter) for one in others]
        for batches in zip(*streams, strict=True):
            yield [self._average(ones) for ones in zip(*batches, strict=True)]

    def _average(self, ones: Sequence[Prediction]) -> Prediction:
        import torch

        first = ones[0]
        if (failed := next((one for one in ones if one.error is not None), None)) is not None:
            return failed
        tasks = [member.trained.task for member in self.members]
        values = [one.probabilities if self.labels else one.values for one in ones]
        rows = [torch.tensor([[each[name] for name in list_names(task)]], dtype=torch.float64)
                for each, task in zip(values, tasks, strict=True)]  # fmt: skip
        mean = average(rows, tasks)
        if self.labels:
            (ranked,) = rank_labels(tasks[0], mean, self.top)
            return Prediction(name=first.name, probabilities=ranked, kept=first.kept)
        return Prediction(
            name=first.name, values=dict(zip(list_names(tasks[0]), mean[0].tolist(), strict=True)), kept=first.kept
        )
