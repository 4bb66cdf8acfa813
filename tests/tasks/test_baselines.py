"""The simplest models of each task, against shares and means counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dltrain.batch import Examples
from dltrain.capabilities import Baseline, HasBaselines
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.solving import Unsolvable
from dltrain.data.batching import IndexedBatches
from dltrain.data.text.passages import Passages
from dltrain.runtime.precision import Runtime
from dltrain.stream import Loader
from dltrain.tasks.binary_classification import BinaryClassification
from dltrain.tasks.classification import ImageClassification, TabularClassification
from dltrain.tasks.language_modelling import LanguageModelling
from dltrain.tasks.regression import Regression

CPU = Runtime(torch.device("cpu"), "")


def stream(inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Loader[Any]:
    def make(epoch: int, chosen: Tensor) -> Examples:
        return Examples(inputs[chosen], targets[chosen], None if weights is None else weights[chosen])

    return Loader(IndexedBatches(len(inputs), 4, make))


def score(task: Any, baseline: Baseline, training: Loader[Any], tested: Loader[Any]) -> dict[str, float]:
    assert isinstance(task, HasBaselines)
    if baseline.fit is not None:
        baseline.fit(training)
    report: dict[str, float] = task.report(accumulate_counts(baseline.model, task, tested, CPU))
    return report


def labelled(classes: int, **more: Any) -> dict[str, Any]:
    return {"inputs": ["x"], "target": {"columns": ["y"]}, "labels": [str(each) for each in range(classes)], **more}


def test_class_shares_are_the_training_splits() -> None:
    targets = torch.tensor([0, 1, 1, 1, 2, 1, 0, 1, 1, 2])
    data = stream(torch.zeros(10, 1), targets)
    entropy = -sum(share * math.log(share) for share in (0.2, 0.6, 0.2))
    for assets in (labelled(3), labelled(3, class_counts=[2, 6, 2])):
        task = TabularClassification(assets)
        report = score(task, task.baselines()["class shares"], data, data)
        assert report["accuracy"] == 0.6
        assert report["loss"] == pytest.approx(entropy, rel=1e-6)
    weights = torch.tensor([5.0, *[5 / 9] * 9])
    task = TabularClassification(labelled(3, class_counts=[2, 6, 2], weight={"column": "w", "mean": 1.0}))
    report = score(task, task.baselines()["class shares"], stream(torch.zeros(10, 1), targets, weights), data)
    assert report["accuracy"] == 0.2  # 5.6 of the weight is class 0


def test_counted_classes_are_not_read() -> None:
    sides = {"height": 2, "width": 2, "channels": 1}
    task = ImageClassification({"labels": ["a", "b"], "class_counts": [1, 3], **sides})
    fit = task.baselines()["class shares"].fit
    assert fit is not None
    assert fit(None) == "4 examples"  # type: ignore[arg-type]


@pytest.mark.parametrize("positive", ["0", "1"])
def test_the_share_of_the_positive_label(positive: str) -> None:
    targets = torch.tensor([0, 1, 1, 1])
    data = stream(torch.zeros(4, 1), targets)
    task = BinaryClassification(labelled(2, class_counts=[1, 3]), positive=positive)
    report = score(task, task.baselines()["class shares"], data, data)
    assert report["loss"] == pytest.approx(-(math.log(0.25) + 3 * math.log(0.75)) / 4, rel=1e-6)
    assert report["accuracy"] == 0.75


def test_the_mean_has_no_r2() -> None:
    targets = torch.tensor([[1.0, 2.0], [3.0, 5.0], [8.0, -1.0]])
    data = stream(torch.zeros(3, 1), targets)
    target = {"columns": ["y", "z"], "normalize": "none", "mean": [4.0, 2.0], "std": [1.0, 1.0]}
    task = Regression({"inputs": ["x"], "target": target}, loss="mae")
    baselines = task.baselines()
    assert score(task, baselines["mean"], data, data)["r2"] == pytest.approx(0, abs=1e-6)
    report = score(task, baselines["linear"], data, data)  # on squared errors although the loss is another
    assert report["r2"] == pytest.approx(0, abs=1e-6)


def test_unigrams_are_shares_of_tokens() -> None:
    words = ["a", "b", "c", "never"]
    task = LanguageModelling({"unit": "word", "words": words, "end": "c"})
    targets = torch.tensor([[0, 1, 0], [0, 2, -1]])
    batch = Passages(torch.zeros(2, 3, dtype=torch.int64), targets, 5, continues=False)
    data: Loader[Any] = Loader(IndexedBatches(1, 1, lambda epoch, chosen: batch))
    report = score(task, task.baselines()["unigram"], data, data)
    counts = [3, 1, 1, 0.5]  # half a token for one that does not occur
    loss = -sum(count * math.log(count / 5.5) for count in counts[:3]) / 5
    assert report["loss"] == pytest.approx(loss, rel=1e-6)
    assert report["accuracy"] == 0.6


def test_an_empty_training_split_has_no_linear_baseline() -> None:
    target = {"columns": ["y"], "normalize": "none", "mean": [0.0], "std": [1.0]}
    fit = Regression({"inputs": ["x"], "target": target}).baselines()["linear"].fit
    assert fit is not None
    with pytest.raises(Unsolvable):
        fit(stream(torch.zeros(0, 1), torch.zeros(0, 1)))
