"""`dltrain eval`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

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
)
from dltrain.cli.shared.speech import Decode
from dltrain.errors import RequirementNotMet, UsageError
from dltrain.goal import get_current_name
from dltrain.runs.adaptation import CacheAdaptation, DynamicAdaptation
from dltrain.runs.clip_scoring import Decoding, check_decoding

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

    Examples:

      dltrain eval runs/mnist_cnn --require 'accuracy>=0.99' --json

      dltrain eval runs/mnist_cnn --worst 20

      dltrain eval runs/ptb_lstm --adapt cache=500

      dltrain eval runs/common_voice --decode beam=16,lm=words.arpa --worst 5
    """
    requirements = [parse_requirement(text) for text in require or []]
    from dltrain.cli.shared.grouped import parse_group

    adaptation = parse_group("--adapt", adapt, CacheAdaptation, DynamicAdaptation)
    decoding = parse_group("--decode", decode, Decoding)
    check_decoding(decoding)
    from dltrain.cli.shared.evaluation import format_evaluation
    from dltrain.observers.console import Messenger
    from dltrain.report.building import update_report
    from dltrain.runs.evaluation import EvaluationMethod, collect_results, record_evaluation, run_evaluation
    from dltrain.runs.examples import check_worst
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained, override_threshold

    chosen, messenger = find_checkpoint(run, checkpoint), Messenger()
    for one in requirements:
        one.check_metric(chosen.record.history.metrics())
    overrides = {"data": {"root": root} if root else {}, "trainer": {"device": device} if device else {}}
    trained = load_trained(chosen, {**overrides, **override_threshold(run, chosen.record, threshold)})
    check_worst(run, trained, worst)
    evaluation = run_evaluation(run, trained, split, EvaluationMethod(adaptation, decoding, changed_data, messenger))
    result = collect_results(evaluation, worst) | ({} if threshold is None else {"threshold": threshold})
    record_evaluation(run, result, messenger)
    method = adaptation or (evaluation.judging and evaluation.judging.decoding)
    typer.echo(json.dumps(result) if as_json else "\n".join(format_evaluation(result, method)))
    update_report(evaluation, result, messenger.warn)
    raise_unmet(requirements, evaluation.report, f"{run}: on the {split} split of {evaluation.dataset.name}")


def raise_unmet(requirements: Sequence[Requirement], report: Mapping[str, float], subject: str) -> None:
    """Raises RequirementNotMet with every requirement that the report does not meet."""
    unmet = [f"{one} (found {report[one.metric]:.6g})" for one in requirements if not one.is_met(report)]
    if unmet:
        raise RequirementNotMet(f"{subject}: not met: {', '.join(unmet)}")
