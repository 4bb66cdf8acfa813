"""The options of `dltrain eval` that let a language model adapt to the text it is evaluated on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dltrain.errors import Diverged, UsageError

if TYPE_CHECKING:
    from dltrain.dataset import Dataset
    from dltrain.runs.loading import Trained

METHODS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "neural_cache": {
        "size": ("--neural-cache", None),
        "weight": ("--cache-weight", 0.1),
        "flatness": ("--cache-flatness", 1.0),
    },
    "dynamic_evaluation": {
        "learning_rate": ("--dynamic", None),
        "decay": ("--dynamic-decay", 0.0),
        "window": ("--dynamic-window", 5),
        "rms": ("--dynamic-rms", False),
    },
}
"""The option and the default of each method's numbers; the first option has none, and asks for the method."""


class Adaptation(NamedTuple):
    """A method of METHODS and its numbers."""

    method: str
    numbers: Mapping[str, Any]

    def __str__(self) -> str:
        told = [
            name if value is True else f"{name} {value:g}" for name, value in self.numbers.items() if value is not False
        ]
        return f"{self.method} ({', '.join(told)})".replace("_", " ")

    @property
    def option(self) -> str:
        """What asks for it on the command line."""
        return next(iter(METHODS[self.method].values()))[0]

    @property
    def data(self) -> dict[str, int]:
        """The data options that it needs: one column, since each token is predicted from all before it."""
        window = {"sequence_length": self.numbers["window"]} if "window" in self.numbers else {}
        return {"evaluation_batch_size": 1, **window}


def adaptation(given: Mapping[str, Any]) -> Adaptation | None:
    """What the options ask for; None stands for one that was not given.

    Raises UsageError for an option whose method was not asked for, and for two methods at once.
    """
    asked = []
    for method, numbers in METHODS.items():
        main, *others = (option for option, _ in numbers.values())
        if given[main] is not None:
            chosen = {
                name: default if given[option] is None else given[option] for name, (option, default) in numbers.items()
            }
            asked.append(Adaptation(method, chosen))
        elif stray := next((option for option in others if given[option] is not None), None):
            raise UsageError(
                f"{stray} goes with {main}, which was not given", advice=f"add {main}, or leave {stray} out"
            )
    if len(asked) > 1:
        raise UsageError(
            f"{' and '.join(one.option for one in asked)} do not go together", advice="leave one of them out"
        )
    return asked[0] if asked else None


def with_its_data(run: Path, trained: Trained, adapts: Adaptation) -> Trained:
    """The same model, and its data as the method reads it. Raises UsageError for a task or a dataset that cannot."""
    from dltrain.tasks.adaptive_language import Adapts

    data = trained.experiment.data
    if not isinstance(trained.task, Adapts):
        raise UsageError(
            f"{run}: {adapts.option} is for language models; the task '{trained.experiment.task.name}' has none that "
            "adapts to its data",
            advice="leave it out",
        )
    lacking = [name for name in adapts.data if name not in data.options]
    if lacking:
        raise UsageError(
            f"{run}: {adapts.option} sets data.{lacking[0]}, and the dataset '{data.name}' has no such option\n"
            f"allowed: {', '.join(data.options)}",
            advice="leave it out",
        )
    data = dataclasses.replace(data, options={**data.options, **adapts.data})
    return dataclasses.replace(trained, experiment=dataclasses.replace(trained.experiment, data=data))


def check_finite(run: Path, adapts: Adaptation, report: Mapping[str, float]) -> None:
    """Raises Diverged for a report that no evaluation should leave behind."""
    if not all(map(math.isfinite, report.values())):
        lower = "--dynamic" if adapts.method == "dynamic_evaluation" else "--cache-weight"
        raise Diverged(f"{run}: with {adapts} the loss is not finite", advice=f"lower {lower}")


def adapting(trained: Trained, adapts: Adaptation, dataset: Dataset) -> Trained:
    """The same model, scored by the method; what it knows of the training text is read here."""
    from dltrain.tasks.adaptive_language import DynamicEvaluation, GradientSquares, NeuralCache, root_mean_squares

    task: Any = trained.task
    if adapts.method == "neural_cache":
        scored: Any = NeuralCache(task, **adapts.numbers)
    else:
        roots = None
        if adapts.numbers["rms"]:
            squares: Any = GradientSquares(task)
            roots = root_mean_squares(dataclasses.replace(trained, task=squares).counts(dataset.training()))
        scored = DynamicEvaluation(task, adapts.numbers["learning_rate"], adapts.numbers["decay"], roots)
    return dataclasses.replace(trained, task=scored)
