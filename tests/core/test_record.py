"""A run's history: scores, the best epoch and the end of training; and the record that carries it, as JSON."""

from __future__ import annotations

import json

import pytest

from dltrain.core.record import History, Record
from dltrain.goal import Goal
from dltrain.options import Plan

MOST, LEAST = Goal("accuracy", "max"), Goal("loss", "min")


def with_scores(metric: str, scores: list[float | None]) -> History:
    return History({"epoch": epoch, metric: score} for epoch, score in enumerate(scores, 1))


def plan(epochs: int, patience: int | None) -> Plan:
    return Plan(epochs=epochs, patience=patience)


@pytest.mark.parametrize(("scores", "stale"), [([], 0), ([0.1], 0), ([0.2, 0.1, 0.2], 2), ([None, None], 2)])
def test_epochs_without_improvement(scores: list[float | None], stale: int) -> None:
    assert with_scores("accuracy", scores).stale(MOST) == stale


def test_equal_scores_with_a_lower_loss_are_progress() -> None:
    """A score that is at its limit says nothing any more, while the loss still falls."""
    history = History({"epoch": n, "accuracy": 1.0, "loss": loss} for n, loss in enumerate([0.5, 0.3, 0.1, 0.2], 1))
    assert history.best(MOST) == 2
    assert history.stale(MOST) == 1
    assert History(history[:3]).improved(MOST)
    assert not history.improved(MOST)
    assert history.improved(MOST, among=2)
    assert history.rank(MOST) == [2, 3, 1, 0]
    assert history.finished(MOST, plan(9, 1)) == "stopped early: no better accuracy in 1 epochs"
    assert History(history[:3]).finished(MOST, plan(9, 1)) is None


def test_training_ends_by_epochs_or_by_patience() -> None:
    assert with_scores("accuracy", [0.1, 0.2]).finished(MOST, plan(3, None)) is None
    assert with_scores("accuracy", [0.1, 0.2, 0.3]).finished(MOST, plan(3, None)) == "all 3 epochs done"
    assert with_scores("accuracy", [0.3, 0.2]).finished(MOST, plan(9, 2)) is None
    assert (
        with_scores("accuracy", [0.3, 0.2, 0.1]).finished(MOST, plan(9, 2))
        == "stopped early: no better accuracy in 2 epochs"
    )
    assert with_scores("loss", [0.3, 0.2, 0.1]).finished(LEAST, plan(9, 2)) is None


def test_scores_and_metrics_come_from_the_entries() -> None:
    facts = {"step": 1, "training_loss": 2.0, "learning_rate": 0.1}
    history = History([{"epoch": 1, **facts}, {"epoch": 2, **facts, "loss": None, "accuracy": 0.5}])
    assert history.scores("accuracy") == [None, 0.5]
    assert history.best(MOST) == 1
    assert history.best(LEAST) is None
    assert history.metrics() == {"loss": None, "accuracy": 0.5}
    assert history.metrics(0) == {}
    assert History().metrics() == {}


def test_a_record_keeps_its_keys_and_their_order_and_reads_them_back() -> None:
    plain = {
        "config": {"seed": 1},
        "assets": {"labels": ["a", "b"]},
        "dataset": "made up",
        "fingerprint": {"train": "12ab"},
        "notice": None,
        "signature": {"device": "cpu"},
        "plugins": {"plugins/mine.py": "x = 1"},
        "history": [{"epoch": 1, "loss": 0.5}],
        "finished": "all 1 epochs done",
        "metrics": {"size": 3, "sha256": "ab"},
    }
    record = Record.from_plain({**plain, "of a later version": 1})
    assert json.dumps(record.to_plain()) == json.dumps(plain)
    assert list(record.portable()) == [name for name in plain if name not in ("finished", "metrics")]
    assert Record.from_plain(record.portable()).finished is None
    with pytest.raises(TypeError, match="signature"):
        Record.from_plain({name: value for name, value in plain.items() if name != "signature"})
