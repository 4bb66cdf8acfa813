"""Sentences about a finished run's score: baselines that it does not beat, and training that was too short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.core.record import History, Record
from dltrain.core.verdict import check_coverage, compare_with_baselines, describe_unfinished, read_baselines
from dltrain.goal import Goal

LEAST, MOST = Goal("rmse", "min"), Goal("accuracy", "max")
BESIDE = {"mean": {"rmse": 2.0}, "linear": {"rmse": 1.0}}


def record(losses: Sequence[float], *, epochs: int | None = None, schedule: str = "constant", **facts: Any) -> Record:
    rates = facts.pop("rates", [0.1] * len(losses))
    accuracies = facts.pop("accuracies", [1 - loss / 10 for loss in losses])
    values = zip(losses, accuracies, rates, strict=True)
    history = [{"loss": loss, "accuracy": score, "learning_rate": rate} for loss, score, rate in values]
    config = {"trainer": {"epochs": epochs or len(losses)}, "schedule": {"name": schedule}}
    empty: dict[str, Any] = {"assets": {}, "dataset": "", "fingerprint": {}, "notice": None, "signature": {}}
    return Record(config=config, plugins={}, history=History(history), **empty, **facts)


def test_the_best_baseline_is_the_one_to_beat() -> None:
    assert compare_with_baselines({"rmse": 0.9}, BESIDE, LEAST, solved=False) is None
    worse = compare_with_baselines({"rmse": 1.5}, BESIDE, LEAST, solved=False)
    assert worse == "the model does not beat the baseline 'linear': its rmse is 1.5, and the baseline's is 1"
    assert compare_with_baselines({"rmse": 1.0}, BESIDE, LEAST, solved=False) is not None
    assert compare_with_baselines({"accuracy": 0.5}, {"class shares": {"accuracy": 0.5}}, MOST, solved=False)
    assert compare_with_baselines({"accuracy": 0.6}, {"class shares": {"accuracy": 0.5}}, MOST, solved=False) is None


def test_a_solved_model_need_not_beat_itself_but_the_mean() -> None:
    assert compare_with_baselines({"rmse": 1.0 + 1e-9}, BESIDE, LEAST, solved=True) is None
    mean_is_better = {"mean": {"rmse": 0.5}, "linear": {"rmse": 1.0}}
    assert "'mean'" in (compare_with_baselines({"rmse": 1.0}, mean_is_better, LEAST, solved=True) or "")


def test_nothing_is_compared_without_scores() -> None:
    assert compare_with_baselines({}, BESIDE, LEAST, solved=False) is None
    assert compare_with_baselines({"rmse": 1.0}, {}, LEAST, solved=False) is None
    assert compare_with_baselines({"accuracy": 1.0}, {"linear": {"accuracy": 1.0}}, MOST, solved=False) is None
    assert compare_with_baselines({"rmse": 1.0}, {"mean": {"rmse": None}}, LEAST, solved=False) is None


def test_a_falling_loss_in_the_last_epoch_is_unfinished() -> None:
    sentence = describe_unfinished(Path("runs/x"), record([1.0, 0.9, 0.81, 0.729, 0.6561]), MOST)
    assert sentence == (
        "training is unfinished: the best of 5 epochs is the last one, and the validation loss still falls by 10.0 % "
        "an epoch; continue: dltrain fit runs/x --set trainer.epochs=20"
    )
    planned = describe_unfinished(Path("runs/x"), record([1.0, 0.9, 0.8], schedule="cosine"), MOST)
    assert planned is not None
    assert planned.endswith("dltrain fit runs/x --set trainer.epochs=12 --fresh")


@pytest.mark.parametrize(
    "finished",
    [
        record([1.0]),  # nothing to compare with
        record([1.0, 0.9, 0.8], epochs=9),  # stopped by patience
        record([1.0, 0.8, 0.9]),  # the best epoch is not the last
        record([1.0, 0.999, 0.998, 0.997]),  # hardly falls
        record([1.0, 0.9, 0.8], rates=[0.1, 0.05, 1e-6]),  # the schedule has ended
        record([1.0, 0.1, 1e-5, 1e-6]),  # nothing left to learn
        record([1.0, 0.9, 0.8], solved="5 examples"),
        record([1.0, 0.9, 0.8], accuracies=[0.8, 0.9, 1.0]),  # no mistake is left
    ],
)
def test_no_false_alarm(finished: Record) -> None:
    assert describe_unfinished(Path("runs/x"), finished, MOST) is None


def test_a_run_without_baselines_has_none(tmp_path: Path) -> None:
    assert read_baselines(tmp_path) == {}
    for content in ("{", "[1]"):
        (tmp_path / "baselines.json").write_text(content)
        assert read_baselines(tmp_path) == {}


@pytest.mark.parametrize("nominal", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("examples", [20, 100, 1000])
def test_honest_intervals_are_seldom_called_miscalibrated(nominal: float, examples: int) -> None:
    name = f"coverage_{100 * nominal:g}"
    covered = numpy.random.default_rng(0).binomial(examples, nominal, 2000) / examples
    wrong = [check_coverage({name: float(share)}, examples, {}) for share in covered]
    assert sum(one is not None for one in wrong) <= 20, "at most 1 %, and the true share of 3 deviations is 0.3 %"
    too_few = nominal - 0.4 if examples == 20 else nominal - 0.2
    assert check_coverage({name: too_few}, examples, {}) is not None


def test_the_coverage_is_reported_with_both_numbers() -> None:
    metrics = {"rmse": 1.0, "coverage_80": 0.55, "width_80": 2.0, "coverage_99_5": 0.9, "coverage_50": 0.47}
    assert check_coverage(metrics, 300, {}) == (
        "prediction intervals are miscalibrated: the 80 % interval covers 55 % of the true values, the 99.5 % interval "
        "covers 90 % of the true values, which is more than chance explains"
    )
    assert check_coverage({"coverage_80": 0.99}, 300, {}) is not None, "too wide is wrong, too"
    assert check_coverage({"coverage_80": 0.7}, 300, {}) is not None
    assert check_coverage({"coverage_80": 0.7}, 300, {"horizon": 12}) is None, "overlapping windows are few"
    assert check_coverage({"coverage_80": 0.76}, 10**6, {}) is None, "a difference without a meaning"
    assert check_coverage(metrics, None, {}) is None
    assert check_coverage({"rmse": 1.0, "coverage_80": None}, 300, {}) is None
