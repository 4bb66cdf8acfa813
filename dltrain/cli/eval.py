"""`dltrain eval`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from dltrain.cli.shared.adaptation import Adapt
from dltrain.cli.shared.options import (
    ChangedData,
    CheckpointName,
    DataRoot,
    DeviceName,
    JsonTables,
    RunPath,
    Threshold,
    Views,
    load_members,
)
from dltrain.cli.shared.speech import Decode
from dltrain.errors import RequirementNotMet, UsageError
from dltrain.goal import get_current_name
from dltrain.runs.adaptation import CacheAdaptation, DynamicAdaptation
from dltrain.runs.clip_scoring import Decoding, check_decoding
from dltrain.runs.evaluation import EvaluationMethod

if TYPE_CHECKING:
    from pathlib import Path

    from dltrain.dataset import SplitName
    from dltrain.runs.averaging import Members

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}

EvaluatedSplit = Annotated[Literal["test", "validation"], typer.Option(help="Which split to evaluate on.")]
Require = Annotated[
    list[str] | None, typer.Option(metavar="METRIC>=NUMBER", help="Exit with 6 unless this holds; may be repeated.")
]
Worst = Annotated[
    int | None, typer.Option(min=1, metavar="K", help="Show the K examples that the model is most wrong about.")
]


class Requirement(NamedTuple):
    """`metric operator number`, as given to --require."""

    metric: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.bound:g}"

    def check_metric(self, metrics: Collection[str]) -> None:
        """Raises UsageError with the list of metrics where this one is unknown; without validations, none is known."""
        if metrics and get_current_name(self.metric, metrics) not in metrics:
            raise UsageError(f"--require {self}: unknown metric '{self.metric}'; available: {', '.join(metrics)}")

    def is_met(self, report: Mapping[str, float]) -> bool:
        """Whether the report fulfils it; raises UsageError as `check_metric`."""
        self.check_metric(report)
        return bool(OPERATORS[self.comparison](report[get_current_name(self.metric, report)], self.bound))


def parse_requirement(text: str) -> Requirement:
    """Raises UsageError for anything but `metric operator number`."""
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*([-+.\deE]+)\s*", text)
    if match:
        try:
            return Requirement(match[1], match[2], float(match[3]))
        except ValueError:
            pass
    raise UsageError(
        f"--require: found '{text}'; allowed is METRIC>=NUMBER (or <=, >, <, ==), such as 'accuracy>=0.99'"
    )


def evaluate(
    run: RunPath,
    split: EvaluatedSplit = "test",
    checkpoint: CheckpointName = None,
    require: Require = None,
    root: DataRoot = None,
    changed_data: ChangedData = False,
    device: DeviceName = None,
    threshold: Threshold = None,
    worst: Worst = None,
    views: Views = None,
    adapt: Adapt = None,
    decode: Decode = None,
    as_json: JsonTables = False,
) -> None:
    """Evaluate a trained model.

    Reads the checkpoint with the best validation score by default. Each evaluation is added to evaluations.jsonl in the
    run directory, report.html is written again, and a picture is drawn in plots/.

    The model is most wrong about the examples where it assigns the true class the lowest probability, of numbers about
    those with the largest errors, of speech about the clips with the most. They are named by file, line or row, and
    drawn if they are images.

    Of the directory of `fit --seeds` or `cv` it evaluates the mean of the members, and shows how good each is.

    Examples:

      dltrain eval runs/mnist_cnn --require 'accuracy>=0.99' --json

      dltrain eval runs/mnist_cnn --worst 20

      dltrain eval runs/ptb_lstm --adapt cache=500

      dltrain eval runs/common_voice --decode beam=16,lm=words.arpa --worst 5
    """
    asked = Question(
        run=run,
        split=split,
        checkpoint=checkpoint,
        device=device,
        threshold=threshold,
        requirements=list(map(parse_requirement, require or [])),
        as_json=as_json,
    )
    from dltrain.cli.shared.grouped import parse_group
    from dltrain.runs.averaging import find_members

    adaptation = parse_group("--adapt", adapt, CacheAdaptation, DynamicAdaptation)
    decoding = parse_group("--decode", decode, Decoding)
    check_decoding(decoding)
    members = find_members(run)
    if members is None:
        _evaluate_run(asked, root, EvaluationMethod(adaptation, decoding, changed_data), worst=worst, views=views)
        return
    alone = {"--root": root, "--changed-data": changed_data, "--worst": worst}
    refuse_for_members(members, {**alone, "--adapt": adapt, "--decode": decode})
    _evaluate_members(asked, members, views)


class Question(NamedTuple):
    """What to evaluate on what, and how to answer."""

    run: Path
    split: SplitName
    checkpoint: str | None
    device: str | None
    threshold: float | None
    requirements: Sequence[Requirement]
    as_json: bool

    def answer(self, result: Mapping[str, Any], method: object | None = None) -> None:
        """Print the results; `method` names an adaptation or a decoder."""
        from dltrain.cli.shared.evaluation import format_evaluation

        typer.echo(json.dumps(result) if self.as_json else "\n".join(format_evaluation(result, method)))

    def describe_changes(self, views: int | None) -> dict[str, float]:
        """What makes the result another one than the model's own: a threshold, a number of views."""
        values = {"threshold": self.threshold, "views": views}
        return {name: value for name, value in values.items() if value is not None}

    def require(self, report: Mapping[str, float], data: str) -> None:
        """Raises RequirementNotMet with every requirement that the report does not meet."""
        unmet = [f"{one} (found {report[one.metric]:.6g})" for one in self.requirements if not one.is_met(report)]
        if unmet:
            raise RequirementNotMet(f"{self.run}: on the {self.split} split of {data}: not met: {', '.join(unmet)}")


def _evaluate_run(
    asked: Question, root: str | None, method: EvaluationMethod, *, worst: int | None, views: int | None
) -> None:
    from dltrain.report.building import update_report
    from dltrain.runs.evaluation import collect_results, record_evaluation, run_evaluation
    from dltrain.runs.examples import check_worst
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained, override_threshold
    from dltrain.runs.views import average_views

    run, chosen, messenger = asked.run, find_checkpoint(asked.run, asked.checkpoint), method.messenger
    for one in asked.requirements:
        one.check_metric(chosen.record.history.metrics())
    settings = {"data": {"root": root} if root else {}, "trainer": {"device": asked.device} if asked.device else {}}
    trained = load_trained(chosen, {**settings, **override_threshold(run, chosen.record, asked.threshold)})
    check_worst(run, trained, worst)
    evaluation = run_evaluation(run, average_views(run, trained, views), asked.split, method)
    result = collect_results(evaluation, worst) | asked.describe_changes(views)
    record_evaluation(run, result, messenger)
    asked.answer(result, method.adaptation or (evaluation.judging and evaluation.judging.decoding))
    update_report(evaluation, result, messenger.warn)
    asked.require(evaluation.report, evaluation.dataset.name)


def _evaluate_members(asked: Question, members: Members, views: int | None) -> None:
    from dltrain.observers.console import Messenger
    from dltrain.runs.evaluation import record_evaluation
    from dltrain.runs.member_evaluation import evaluate_members
    from dltrain.runs.views import average_views

    messenger = Messenger()
    trained = load_members(members, asked.checkpoint, asked.device, threshold=asked.threshold)
    trained = [average_views(members.parent, one, views) for one in trained]
    result = evaluate_members(members, trained, asked.split, messenger) | asked.describe_changes(views)
    record_evaluation(members.parent, result, messenger)
    asked.answer(result)
    asked.require(result["metrics"], result["dataset"])


def refuse_for_members(members: Members, options: Mapping[str, object]) -> None:
    """Raises UsageError where an option was given that is for single runs."""
    for option, value in options.items():
        if value:
            raise UsageError(
                f"{members.parent}: {option} is for a single run, and this is a parent of {len(members.paths)}",
                advice=f"leave it out, or name a member, such as {members.paths[0]}",
            )
