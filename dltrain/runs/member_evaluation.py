"""The score of the mean of several members, and of each, on a split that none of them has trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.batch import to_device
from dltrain.capabilities import Predicts
from dltrain.core.checkpoint import WEIGHTS
from dltrain.dataset import Dataset, Identifies, SplitName
from dltrain.errors import UsageError
from dltrain.observers.console import Messenger
from dltrain.runs.averaging import FOLDS, Members, average
from dltrain.runs.evaluated_data import OpenedSplit, choose_new_examples
from dltrain.runs.evaluation import describe_classes, open_split, replace_nan
from dltrain.runs.loading import Trained
from dltrain.runtime.memory import explain_memory_errors
from dltrain.task import Counts


class GivenOutputs(nn.Module):
    """A model that gives these outputs, whatever it is asked."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self._outputs = outputs

    def forward(self, *inputs: Any) -> Tensor:
        return self._outputs


def evaluate_members(
    members: Members, trained: Sequence[Trained], split: SplitName, messenger: Messenger
) -> dict[str, Any]:
    """Score the mean of the members on a split that none of them has trained on; the results as plain values.

    Raises UsageError where the members' splits have other examples.
    """
    datasets, streams = open_splits(members, trained, split)
    tasks: list[Any] = [one.task for one in trained]
    totals: list[Counts] = [{} for _ in range(len(trained) + 1)]
    with torch.inference_mode(), explain_memory_errors():
        for batches in zip(*(stream.epoch(0) for stream in streams), strict=True):
            predictions = [predict_batch(one, batch) for one, batch in zip(trained, batches, strict=True)]
            scored = [
                *zip(tasks, predictions, batches, strict=True),
                (tasks[0], average(predictions, tasks), batches[0]),
            ]
            for index, (task, prediction, batch) in enumerate(scored):
                counts = task.score(GivenOutputs(task.recover_outputs(prediction.cpu().double())), batch, None).counts
                before = totals[index]
                totals[index] = {name: before[name] + count if before else count for name, count in counts.items()}
    if datasets[0].notice:
        messenger.warn(datasets[0].notice)
    reports = [
        {name: replace_nan(value) for name, value in task.report(counts).items()}
        for task, counts in zip([*tasks, tasks[0]], totals, strict=True)
    ]
    return {
        **describe_members(members, trained, split, datasets[0]),
        "metrics": reports[-1],
        "goal": trained[0].checkpoint.goal.metric,
        "members": [
            {
                "name": path.name,
                "checkpoint": one.checkpoint.name,
                "metrics": report,
                "weights_sha256": hash_weights(one),
            }
            for path, one, report in zip(members.paths, trained, reports, strict=False)
        ],
        **describe_classes(tasks[0], totals[-1]),
    }


def open_splits(members: Members, trained: Sequence[Trained], split: SplitName) -> tuple[list[Dataset], list[Any]]:
    """Each member's dataset and its batches of the split, which have the same examples in the same order.

    Raises UsageError where they have not, or where a member may have trained on them.
    """
    test = trained[0].experiment.data.options.get("test")
    if members.command == FOLDS and (split == "validation" or (isinstance(test, float) and test > 0)):
        raise UsageError(
            f"{members.parent}: each member of cv has trained on other examples of the {split} split",
            advice="give test data of their own (data.test); each fold's own score is in summary.json",
        )
    datasets, streams, identities = [], [], []
    for path, one in zip(members.paths, trained, strict=True):
        dataset = one.dataset()
        opened = OpenedSplit(dataset, split, open_split(one, dataset, split))
        streams.append(choose_new_examples(path, one, opened, allowed=False, warn=lambda line: None).stream)
        datasets.append(dataset)
        identities.append(dataset.identities(split).tolist() if isinstance(dataset, Identifies) else None)
        if identities[-1] != identities[0]:
            raise UsageError(
                f"{members.parent}: {path.name} has other {split} examples than {members.paths[0].name}, which has "
                "trained on some of them: the splits are drawn with the seed",
                advice=f"give the examples as files of their own (data.{split}), and train again",
            )
    return datasets, streams


def predict_batch(trained: Trained, batch: Any) -> Tensor:
    """What a model says of a batch: probabilities (N, classes) or numbers in units (N, outputs)."""
    task: Any = trained.task
    arguments = to_device(batch, trained.runtime.device).arguments
    with trained.runtime.autocast():
        found: Tensor = (task.probabilities if isinstance(task, Predicts) else task.estimates)(
            trained.model, *arguments
        )
    return found


def describe_members(
    members: Members, trained: Sequence[Trained], split: SplitName, dataset: Dataset
) -> dict[str, Any]:
    first = trained[0]
    return {
        "run": str(members.parent),
        "checkpoint": f"the mean of {', '.join(path.name for path in members.paths)}",
        "split": split,
        "dataset": dataset.name,
        "seed": [one.experiment.seed for one in trained],
        "device": str(first.runtime.device),
        "torch": first.runtime.signature()["torch"],
        "data_sha256": dict(dataset.fingerprint),
    }


def hash_weights(trained: Trained) -> str:
    digest: str = trained.checkpoint.manifest["files"][WEIGHTS]["sha256"]
    return digest
