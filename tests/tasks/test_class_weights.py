"""Weights of classes and rows, and the focal loss: closed forms, scikit-learn, and exact means over ragged batches."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.solving import solve_linear
from dltrain.core.state import TrainState
from dltrain.core.trainer import update
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.models.mlp import LinearModel
from dltrain.runtime.precision import Runtime
from dltrain.tasks.binary_classification import BinaryClassification
from dltrain.tasks.class_weights import compute_class_weights, compute_focal_factors
from dltrain.tasks.classification import Classification, ImageClassification, TabularClassification, TextClassification

CPU = Runtime(torch.device("cpu"), "")
COUNTS = [60, 30, 10]


def table(labels: str = "abc", counts: list[int] = COUNTS, **more: Any) -> dict[str, Any]:
    return {"inputs": ["x", "y"], "labels": list(labels), "class_counts": counts[: len(labels)], **more}


def draw_batch(count: int = 23, classes: int = 3, rows: bool = False, seed: int = 0) -> Examples:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes if classes > 2 else 1, generator=draw)
    targets = torch.randint(classes, (count,), generator=draw)
    return Examples(logits, targets, torch.rand(count, generator=draw) if rows else None)


def compute_loss(task: Any, batch: Examples) -> float:
    return float(task.step(nn.Identity(), batch, None).loss)


def test_balanced_weights_are_scikit_learns() -> None:
    for seed in range(20):
        draw = numpy.random.default_rng(seed)
        truth = draw.choice(5, 60, p=draw.dirichlet(numpy.ones(5)))
        present = numpy.unique(truth)
        theirs = compute_class_weight("balanced", classes=present, y=truth)
        ours = compute_class_weights("balanced", "abcde", numpy.bincount(truth, minlength=5).tolist())
        numpy.testing.assert_allclose(ours[present], theirs, rtol=1e-6)


def test_weights_by_name_leave_the_others_at_one() -> None:
    assert compute_class_weights({"c": 10.0}, "abc", None).tolist() == [1, 1, 10]
    with pytest.raises(UsageError, match=r"'fruad' is not a class; allowed are legit, fraud\ndid you mean 'fraud'"):
        compute_class_weights({"fruad": 10.0}, ["legit", "fraud"], None)
    with pytest.raises(UsageError, match=r"lack the training examples of each class.*\nnext: give a weight by class"):
        compute_class_weights("balanced", "ab", None)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_every_classifier_weighs_each_example_as_its_class(rows: bool, smoothing: float) -> None:
    batch = draw_batch(rows=rows)
    assets = {**table(), "words": ["w"], "channels": 1, "height": 2, "width": 2}
    weights = torch.tensor([1.0, 4.0, 0.5])[batch.targets] * (1 if batch.weights is None else batch.weights)
    each = functional.cross_entropy(batch.inputs, batch.targets, reduction="none", label_smoothing=smoothing)
    wanted = float((weights * each).sum() / 23)  # a mean over the examples, not over the sum of weights
    for build in (ImageClassification, TextClassification, TabularClassification):
        task = build(assets, class_weights={"b": 4.0, "c": 0.5}, label_smoothing=smoothing)
        assert compute_loss(task, batch) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("positive", ["no", "yes"])
def test_binary_weights_are_the_positive_weight_for_any_label(positive: str) -> None:
    batch, assets = draw_batch(classes=2), table("xx", [90, 10]) | {"labels": ["no", "yes"]}
    by_name = BinaryClassification(assets, positive=positive, class_weights={positive: 3.0})
    known = BinaryClassification(assets, positive=positive, positive_weight=3.0)
    assert compute_loss(by_name, batch) == pytest.approx(compute_loss(known, batch), rel=1e-6)
    balanced = BinaryClassification(assets, positive=positive, class_weights="balanced")
    truth = (batch.targets == (positive == "yes")).float()
    each = functional.binary_cross_entropy_with_logits(batch.inputs[:, 0], truth, reduction="none")
    wanted = (each * torch.tensor([100 / 180, 5.0])[batch.targets]).mean()
    assert compute_loss(balanced, batch) == pytest.approx(float(wanted), rel=1e-6)
    with pytest.raises(ValueError, match="positive_weight and class_weights both weigh the positive label"):
        BinaryClassification(assets, positive_weight=2.0, class_weights="balanced")


def test_focal_loss_by_hand() -> None:
    logits, targets = torch.tensor([[2.0, 0, 0], [0, 0, 0]]), torch.tensor([0, 2])
    easy, hard = math.exp(2) / (math.exp(2) + 2), 1 / 3
    wanted = -((1 - easy) ** 2 * math.log(easy) + (1 - hard) ** 2 * math.log(hard)) / 2
    task = TabularClassification(table(), focal_gamma=2.0)
    assert compute_loss(task, Examples(logits, targets)) == pytest.approx(wanted, rel=1e-6)
    binary = BinaryClassification({**table("ab"), "labels": ["no", "yes"]}, focal_gamma=1.5)
    p = torch.tensor([0.9, 0.2], dtype=torch.float64)
    batch = Examples((p / (1 - p)).log()[:, None], torch.tensor([1, 0]))
    wanted = -(0.1**1.5 * math.log(0.9) + 0.2**1.5 * math.log(0.8)) / 2
    assert compute_loss(binary, batch) == pytest.approx(wanted, rel=1e-9)


def test_focal_loss_of_two_classes_is_the_binary_one() -> None:
    batch = draw_batch(classes=2)
    both = torch.cat([torch.zeros_like(batch.inputs), batch.inputs], 1)
    binary = BinaryClassification({**table("ab"), "labels": ["no", "yes"]}, focal_gamma=2.0, class_weights={"yes": 5.0})
    several = Classification(["no", "yes"], focal_gamma=2.0, class_weights={"yes": 5.0})
    wanted = compute_loss(several, Examples(both, batch.targets))
    assert compute_loss(binary, batch) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradients_are_finite_where_the_model_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    factors = compute_focal_factors(logits, torch.tensor([0, 0, 0]), gamma)
    (factors * functional.cross_entropy(logits, torch.tensor([0, 0, 0]), reduction="none")).sum().backward()
    assert torch.isfinite(logits.grad).all()
    single = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    task = BinaryClassification({**table("ab"), "labels": ["no", "yes"]}, focal_gamma=gamma)
    task.step(nn.Identity(), Examples(single, torch.tensor([1, 1])), None).loss.backward()
    assert torch.isfinite(single.grad).all()


def test_focal_loss_and_smoothing_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        TabularClassification(table(), label_smoothing=0.1, focal_gamma=2.0)


def take_steps(task: Any, groups: list[list[Examples]]) -> Tensor:
    """The weights of a linear model after an update for each group of batches."""
    torch.manual_seed(0)
    model = nn.Linear(3, 3 if len(task.labels) > 2 else 1).double()
    state = TrainState(model, torch.optim.SGD(model.parameters(), 0.5), torch.amp.GradScaler(enabled=False))
    for group in groups:
        update(state, task, group, clip_norm=None, runtime=CPU)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("labels", ["ab", "abc"])
def test_accumulated_ragged_batches_are_one_large_batch(labels: str, gamma: float) -> None:
    draw = torch.Generator().manual_seed(1)
    inputs, rows = torch.randn(17, 3, generator=draw).double(), torch.rand(17, generator=draw)
    targets = torch.tensor([0] * 12 + [1] * 4 + [len(labels) - 1])
    whole = Examples(inputs, targets, rows)
    cut = [Examples(inputs[part], targets[part], rows[part]) for part in (slice(0, 12), slice(12, 16), slice(16, 17))]
    build = TabularClassification if len(labels) > 2 else BinaryClassification
    task = build(table(labels), class_weights="balanced", focal_gamma=gamma)
    torch.testing.assert_close(take_steps(task, [cut]), take_steps(task, [[whole]]), atol=1e-12, rtol=0)


def evaluate(task: Any, batch: Examples) -> dict[str, float]:
    halves = [Examples(batch.inputs[part], batch.targets[part], None if batch.weights is None else batch.weights[part])
              for part in (slice(0, 5), slice(5, None))]  # fmt: skip

    class Stream:
        def __len__(self) -> int:
            return 2

        def epoch(self, epoch: int, start: int = 0) -> Any:
            return iter(halves[start:])

    found: dict[str, float] = task.report(accumulate_counts(nn.Identity(), task, Stream(), CPU))
    return found


def test_the_reported_loss_is_comparable_and_the_weighted_one_beside_it() -> None:
    batch = draw_batch()
    chances = batch.inputs.double().softmax(1).numpy()
    weights = numpy.array([100 / 180, 100 / 90, 100 / 30])[batch.targets]
    plain = evaluate(TabularClassification(table()), batch)
    assert "class_weighted_loss" not in plain
    for task in (
        TabularClassification(table(), class_weights="balanced", focal_gamma=2.0),
        TabularClassification(table(sampling="balanced")),
    ):
        found = evaluate(task, batch)
        assert found.pop("class_weighted_loss") == pytest.approx(
            log_loss(batch.targets, chances, sample_weight=weights), rel=1e-6
        )
        assert found == plain
        assert task.goal == Goal("class_weighted_loss", "min")
    assert TabularClassification(table(), focal_gamma=2.0).goal == Goal("loss", "min")


def test_weights_of_rows_enter_the_loss_and_metrics_beside_the_plain_ones() -> None:
    batch = draw_batch(rows=True)
    assert batch.weights is not None
    found = evaluate(TabularClassification(table(), class_weights={"c": 2.0}), batch)
    chances, rows = batch.inputs.double().softmax(1).numpy(), batch.weights.double().numpy()
    assert found["loss"] == pytest.approx(log_loss(batch.targets, chances, sample_weight=rows), rel=1e-9)
    assert found["unweighted_loss"] == pytest.approx(log_loss(batch.targets, chances), rel=1e-9)
    both = rows * numpy.array([1, 1, 2])[batch.targets]
    assert found["class_weighted_loss"] == pytest.approx(log_loss(batch.targets, chances, sample_weight=both), rel=1e-6)
    constant = Examples(batch.inputs, batch.targets, torch.full((23,), 0.25))
    found = evaluate(TabularClassification(table()), constant)
    assert all(found[f"row_weighted_{name}"] == pytest.approx(found[name]) for name in ("accuracy", "macro_f1"))


def test_weighted_logistic_regression_is_scikit_learns() -> None:
    draw = torch.Generator().manual_seed(3)
    targets = (torch.rand(300, generator=draw) < 0.1).long()
    inputs = torch.randn(300, 3, generator=draw).double() + targets[:, None]
    theirs = LogisticRegression(C=numpy.inf, class_weight="balanced", tol=1e-12, max_iter=10_000).fit(inputs, targets)
    task = BinaryClassification(table("ab", numpy.bincount(targets).tolist()), class_weights="balanced", positive="b")
    found = take_steps(task, [[Examples(inputs[:100], targets[:100]), Examples(inputs[100:], targets[100:])]] * 3000)
    numpy.testing.assert_allclose(found[:3], theirs.coef_[0], rtol=1e-4)
    assert float(found[3]) == pytest.approx(theirs.intercept_[0], rel=1e-4)


def test_solved_models_are_weighted_too() -> None:
    draw = torch.Generator().manual_seed(3)
    targets = torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), 400, replacement=True, generator=draw)
    inputs = torch.randn(400, 2, generator=draw) + targets[:, None]
    rows = torch.rand(400, generator=draw)
    options: dict[str, Any] = {"C": numpy.inf, "tol": 1e-12, "max_iter": 10_000}
    counts = numpy.bincount(targets).tolist()
    several: Any = TabularClassification(table("abc", counts), class_weights="balanced")
    binary: Any = BinaryClassification(table("ab", [counts[0], sum(counts[1:])]), class_weights="balanced")
    for task, heads, truth in ((several, 3, targets), (binary, 1, targets.clamp(max=1))):
        model = LinearModel(2, heads)
        solve_linear(model, task, [Examples(inputs, truth, rows)])
        weights = compute_sample_weight("balanced", truth) * rows.numpy()
        theirs = LogisticRegression(**options).fit(inputs, truth, sample_weight=weights)
        ours = task.probabilities(model, inputs).detach()
        numpy.testing.assert_allclose(ours, theirs.predict_proba(inputs), atol=1e-5)


def test_focal_loss_and_balanced_sampling_have_no_closed_optimum() -> None:
    assert TabularClassification(table(), class_weights="balanced").why_not_convex is None
    assert TabularClassification(table(), focal_gamma=2.0).why_not_convex == "task.focal_gamma: 2"
    assert "data.sampling: balanced" in str(TabularClassification(table(sampling="balanced")).why_not_convex)
    assert set(TabularClassification(table(), focal_gamma=2.0).baselines()) == {"class shares", "linear"}


@pytest.mark.parametrize("build", [TabularClassification, BinaryClassification])
def test_class_shares_are_those_of_the_data_however_it_is_sampled(build: Any) -> None:
    labels, counts = ("abc", [60, 30, 10]) if build is TabularClassification else ("ab", [90, 10])
    task = build(table(labels, counts, sampling="balanced"))
    baseline = task.baselines()["class shares"]

    class Stream:
        def epoch(self, epoch: int) -> Any:
            targets = torch.arange(len(labels)).repeat(5)
            return iter([Examples(torch.zeros(len(targets), 2), targets)])

    baseline.fit(Stream())
    chances = task.probabilities(baseline.model, torch.zeros(1, 2))[0]
    torch.testing.assert_close(chances.detach(), torch.tensor(counts) / 100)


def test_warnings_about_the_training_classes() -> None:
    goal = Goal("accuracy", "max")
    (told,) = Classification("abc", assets={"class_counts": [93, 5, 2]}).warnings(goal)
    assert told.startswith("93.0% of the training examples are 'a': a model that always predicts it has that accuracy")
    assert "macro_f1" in told
    assert "class_weights: balanced" in told
    (told,) = Classification("abc", assets={"class_counts": [93, 5, 2]}, class_weights="balanced").warnings(goal)
    assert "class_weights" not in told
    weighed = Classification("abc", assets={"class_counts": [93, 5, 2]}, class_weights={"b": 2.0})
    assert weighed.warnings(Goal("loss", "min")) == []
    assert (
        Classification("abc", assets={"class_counts": [93, 5, 2]})
        .warnings(Goal("loss", "min"))[0]
        .endswith("; read macro_f1, and weigh rare classes (task.class_weights: balanced, or data.sampling: balanced)")
    )
    assert Classification("ab", assets={"class_counts": [89, 11]}).warnings(goal) == []
    told = "; ".join(Classification("abc", assets={"class_counts": [5, 0, 1]}).warnings(goal))
    assert told == "there is one training example only of 'c'"
    assert Classification("ab").warnings(goal) == []  # a plug-in's dataset that does not count


def test_weights_by_sampling_and_by_class_together_are_said() -> None:
    task = TabularClassification(table(sampling="balanced"), class_weights="balanced")
    assert "both weigh" in task.warnings(Goal("loss", "min"))[0]
