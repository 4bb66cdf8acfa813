"""`task.goal` chooses the metric that decides, for every task; all that waits for progress follows it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.experiment import load_experiment
from dltrain.core.checkpoint import Checkpoints
from dltrain.errors import ConfigError, UsageError
from dltrain.goal import Goal, find_direction
from dltrain.runs.building import Names, construct_task
from support.commands import call, good

# Twelve rows of one class to one of the other: the accuracy of saying "a" always is high.
ROWS = "".join(f"{i * 37 % 19},{i * 11 % 23},{'b' if i % 6 == 0 else 'a'}\n" for i in range(180))
CONFIG = """\
task: {name: tabular_classification, goal: macro_f1}
data: {name: table, training: rows.csv, target: label}
model: {name: dense, hidden: [8]}
optimizer: {name: adam, learning_rate: 0.02}
trainer: {epochs: 6, device: cpu, threads: 1}
observers: [report]
"""
PLUGIN = """\
from dltrain.goal import Goal
from dltrain.registry import tasks
from dltrain.tasks.classification import TabularClassification


@tasks.register("ranked", data="table", sizes=("inputs", "outputs")FACTS)
class Ranked(TabularClassification):
    '''Ranked.'''

    def report(self, counts):
        return {**super().report(counts), "surprise": 1.0}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("x,y,label\n" + ROWS)
    Path("a.yaml").write_text(CONFIG)


def history(run: str) -> list[dict[str, Any]]:
    last = Checkpoints(Path(run, "checkpoints")).last()
    assert last is not None
    return last.record.history


def test_best_patience_and_the_report_follow_the_chosen_metric() -> None:
    result = good("fit", "a.yaml", "-o", "run")
    scores = [epoch["macro_f1"] for epoch in history("run")]
    best = Checkpoints(Path("run/checkpoints")).best()
    assert best is not None
    assert best.goal == Goal("macro_f1", "max")
    assert best.score == max(scores)
    assert f"validation macro_f1  {max(scores):.6g}"[:20] in result.stdout
    assert json.loads(Path("run/metrics.jsonl").read_text().splitlines()[0])["metric"] == "macro_f1"
    good("fit", "a.yaml", "-o", "other", "--set", "task.goal=loss")
    losses = [epoch["loss"] for epoch in history("other")]
    other = Checkpoints(Path("other/checkpoints")).best()
    assert other is not None
    assert other.score == min(losses)
    assert [epoch["macro_f1"] for epoch in history("other")] == scores  # it changes no training
    good("eval", "run", "--require", "macro_f1>=0")


def test_a_plateau_follows_it() -> None:
    plateau = ("--set", "schedule={name: plateau, patience: 0}", "--set", "optimizer.learning_rate=0.3")
    for goal in ("macro_f1", "loss"):
        good("fit", "a.yaml", "-o", goal, *plateau, "--set", f"task.goal={goal}")
        epochs = history(goal)
        best, falls = None, 0
        for before, epoch in itertools.pairwise(epochs):
            score = before[goal] * (1 if goal == "macro_f1" else -1), -before["loss"]
            best, falls = (score, falls) if best is None or score > best else (best, falls + 1)
            assert epoch["learning_rate"] == pytest.approx(0.3 * 0.1**falls)


def test_an_unknown_metric_is_refused_before_training_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("a.yaml"), ["task.goal=macro_f"])
    assert "task.goal cannot be 'macro_f'" in str(caught.value)
    assert "did you mean 'macro_f1'?" in str(caught.value)
    result = call("fit", "a.yaml", "-o", "run", "--set", "task.goal=class_weighted_loss")
    assert isinstance(result.exception, UsageError)
    assert "does not report 'class_weighted_loss' for this data; it reports accuracy, loss" in str(result.exception)
    assert not Path("run").exists()


def test_a_task_of_a_plugin_has_it_too() -> None:
    text = CONFIG.replace("tabular_classification, goal: macro_f1", "ranked")
    Path("b.yaml").write_text(text + "plugins: [ranked.py]\n")
    Path("ranked.py").write_text(PLUGIN.replace("FACTS", ""))
    good("fit", "b.yaml", "-o", "known", "--set", "task.goal=roc_auc")
    unknown = call("fit", "b.yaml", "-o", "unknown", "--set", "task.goal=surprise")
    assert "whether more or less of 'surprise' is better is not known" in str(unknown.exception)
    Path("ranked.py").write_text(PLUGIN.replace("FACTS", ", metrics={'surprise': 'max', 'loss': 'min'}"))
    good("fit", "b.yaml", "-o", "declared", "--set", "task.goal=surprise")
    wrong = call("config", "check", "b.yaml", "--set", "task.goal=surprize")
    assert "did you mean 'surprise'?" in str(wrong.exception)
    Path("ranked.py").write_text(PLUGIN.replace("FACTS", ", metrics=('surprise',)"))
    assert "say whether more or less of 'surprise' is better" in str(call("config", "check", "b.yaml").exception)


@pytest.mark.parametrize("name", load_package_catalogue().names("task"))
def test_every_task_declares_what_may_decide(name: str) -> None:
    entry = load_package_catalogue().find("task", name)
    assert entry is not None
    metrics = entry.facts["metrics"]
    assert "loss" in metrics
    assert {find_direction(metric) for metric in metrics} <= {"max", "min"}


def test_a_sweep_does_not_compare_two_metrics_and_old_settings_mean_the_same() -> None:
    search = "search: {trials: 2, space: {task.goal: [loss, accuracy]}}\n"
    Path("s.yaml").write_text(CONFIG + search)
    with pytest.raises(ConfigError, match="the values of two metrics cannot be compared"):
        load_experiment(Path("s.yaml"))
    experiment = load_experiment(Path("a.yaml"), ["task.goal=null"]).experiment
    labels = {"labels": ["a", "b"], "inputs": ["x", "y"], "target": {"columns": ["label"]}}
    assert construct_task(Names(()), experiment, labels).goal == Goal("loss", "min")
