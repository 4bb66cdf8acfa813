"""Objects built from the names in a config: dataset, task, model, optimizer, schedule and the state to train."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dltrain.capabilities import Wraps
from dltrain.config.annotations import allows_auto
from dltrain.config.catalogue import ALL_SIZES, Entry
from dltrain.config.experiment import Experiment, check_model
from dltrain.config.plugins import load_catalogue
from dltrain.config.sections import DECIDING, METRICS
from dltrain.config.values import Choice, FunctionChoice
from dltrain.core.schedules import Schedule
from dltrain.core.state import TrainState, make_average
from dltrain.core.weights import (
    apply_group_options,
    freeze,
    initialize,
    parameter_groups,
)
from dltrain.dataset import Dataset
from dltrain.errors import DltrainError, UsageError, find_plugin_line
from dltrain.events import Event, Observer, WatchedRun
from dltrain.goal import Goal, find_direction, get_current_name
from dltrain.options import AUTO
from dltrain.registry import BoundFunction
from dltrain.runs.initial_weights import InitialWeights, WeightsTaker, read_initial_weights
from dltrain.runtime.precision import Runtime, start_runtime
from dltrain.task import Task


class Names:
    """Looks up registered objects by kind and name, and imports their modules on first use."""

    def __init__(self, plugins: tuple[Path, ...]) -> None:
        self._catalogue = load_catalogue(plugins)

    def entry(self, kind: str, name: str) -> Entry:
        entry = self._catalogue.find(kind, name)
        assert entry is not None, f"{kind} '{name}' passed the check of the config, but is not known"
        return entry

    def find(self, kind: str, name: str) -> Callable[..., Any] | None:
        """The object, or None where nothing is registered under that name."""
        entry = self._catalogue.find(kind, name)
        return None if entry is None else entry.load()

    def __call__(self, kind: str, name: str) -> Callable[..., Any]:
        return self.entry(kind, name).load()

    def locate(self, kind: str, name: str) -> str:
        """Where something is registered: a plug-in's file and line, or a file of the package."""
        place = self.entry(kind, name).place
        return f"{place.source.path}:{place.line}" if place.source.path else place.source.name

    def bind(self, value: Any) -> Any:
        """The value of an option, with each registered function that it chooses bound to its options."""
        if isinstance(value, FunctionChoice):
            entry = self.entry(value.kind, value.name)
            return BoundFunction(
                value.kind,
                value.name,
                entry.load(),
                provided=entry.provided,
                options=value.options,
                facts=entry.facts,
                place=self.locate(value.kind, value.name),
            )
        if isinstance(value, list):
            return [self.bind(each) for each in value]
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{each.name: self.bind(getattr(value, each.name)) for each in fields(value)})
        return value


def construct(
    names: Names, kind: str, choice: Choice, *, provided: Sequence[Any] = (), sizes: Mapping[str, Any] | None = None
) -> Any:
    """Build what `choice` names, from what dltrain provides and the config's options.

    Raises UsageError, naming the section, for a ValueError of its constructor.
    """
    options = {name: names.bind(value) for name, value in choice.options.items()}
    try:
        return names(kind, choice.name)(*provided, **(sizes or {}), **options)
    except ValueError as error:
        source = find_plugin_line(error)
        where = f" ({source.file}:{source.number})" if source else ""
        message = f"{kind} '{choice.name}': {error}{where}"
        raise UsageError(message, advice="change its options in the config") from error


def construct_observer(names: Names, choice: Choice, run: WatchedRun) -> Observer:
    """The observer of a run: what is registered makes one, or is one itself, if it has a parameter `event`.

    Raises DltrainError for what makes none.
    """
    if "event" in names.entry("observer", choice.name).provided:
        function = names.bind(FunctionChoice(choice.name, choice.options, "observer"))
        return partial(_call_observer, function, run)
    built = construct(names, "observer", choice, provided=[run])
    if not callable(built):
        where = f"{names.locate('observer', choice.name)}: observer '{choice.name}'"
        advice = "return a function of an event, or call the parameter event: a function of it is an observer itself"
        raise DltrainError(f"{where} returns {type(built).__name__}, which cannot be called", advice=advice)
    observer: Observer = built
    return observer


def _call_observer(function: BoundFunction, run: WatchedRun, event: Event) -> None:
    function({"event": event, "run": run})


def construct_dataset(names: Names, experiment: Experiment, assets: Mapping[str, Any] | None = None) -> Dataset:
    """The dataset of an experiment; of a checkpoint, with that one's `assets`.

    A dataset whose targets can be read in two ways has a parameter `target_kind`: the task's fact `target`, or None.
    """
    provided: tuple[Any, ...] = (experiment.data.name, experiment.seed, assets)
    choice, entry = experiment.locate().data, names.entry("dataset", experiment.data.name)
    automatic = {option.name: option.default for option in entry.options if allows_auto(option.annotation)}
    # Training has put a number there (see runs/batch_size); elsewhere the default serves.
    numbers = {name: number for name, number in automatic.items() if choice.options.get(name) == AUTO}
    choice = replace(choice, options={**choice.options, **numbers})
    if "target_kind" in entry.provided:
        provided = (*provided, names.entry("task", experiment.task.name).facts.get("target"))
    dataset: Dataset = construct(names, "dataset", choice, provided=provided)
    return dataset


def construct_task(names: Names, experiment: Experiment, assets: Mapping[str, Any]) -> Any:
    """The task of an experiment, with the deciding metric that its config chooses.

    Raises UsageError for a metric whose direction nothing declares: that of a plug-in.
    """
    choice, entry = experiment.locate().task, names.entry("task", experiment.task.name)
    metric = choice.options.get(DECIDING)
    if DECIDING in inspect.signature(entry.load()).parameters:  # a plug-in's own option
        return construct(names, "task", choice, provided=[assets])
    options = {name: names.bind(value) for name, value in choice.options.items() if name != DECIDING}
    task = construct(names, "task", Choice(choice.name, options), provided=[assets])
    if metric is not None:
        declared = entry.facts.get("metrics")
        metric = get_current_name(metric, declared or ())
        chosen = {each.name: each.facts["direction"] for each in options.get(METRICS) or () if is_metric(each)}
        direction = find_direction(metric, declared) or chosen.get(metric)
        if direction is None:
            raise UsageError(
                f"task.goal: whether more or less of '{metric}' is better is not known",
                advice=f"declare it where the task is registered: metrics={{'{metric}': 'max'}}, or 'min'",
            )
        object.__setattr__(task, "goal", Goal(metric, direction, task.goal.counted))  # it may be a frozen dataclass
    return task


def is_metric(value: Any) -> bool:
    """Whether an option's value is a metric that a config has chosen."""
    return isinstance(value, BoundFunction) and value.kind == "metric"


def construct_model(
    names: Names, experiment: Experiment, task: Task[Any], replaced: Mapping[str, int] | None = None
) -> Any:
    """The model of an experiment, with those of the task's sizes that it names, or with all of them as `sizes`.

    `replaced` are other numbers for some of the sizes.
    """
    provided = names.entry("model", experiment.model.name).provided
    missing = [name for name in provided if name not in task.sizes] if provided != ALL_SIZES else []
    if missing:
        raise DltrainError(
            f"the task's attribute sizes lacks {', '.join(missing)}, which its decorator lists; found "
            f"{', '.join(task.sizes) or 'nothing'}",
            advice="make both name the same sizes",
        )
    known = {**task.sizes, **(replaced or {})}
    sizes = {"sizes": known} if provided == ALL_SIZES else {name: known[name] for name in provided}
    model = construct(names, "model", experiment.locate().model, sizes=sizes)
    return task.wrap(model) if isinstance(task, Wraps) else model


def check_contract(names: Names, kind: str, choice: Choice, thing: object, *, contract: type) -> None:
    """Raise DltrainError where `thing` lacks attributes or methods of a protocol: a plug-in's may be incomplete."""
    members = [member for member in {**contract.__annotations__, **vars(contract)} if not member.startswith("_")]
    missing = [member for member in members if not hasattr(thing, member)]
    if missing:
        where = f"{names.locate(kind, choice.name)}: {kind} '{choice.name}'"
        raise DltrainError(
            f"{where} lacks {', '.join(missing)}: {contract.__module__}.{contract.__name__} requires "
            f"{', '.join(members)}",
            advice="add what is missing; docs/extending.md has complete examples",
        )


@dataclass
class Training:
    """Everything that training needs, built from an experiment."""

    experiment: Experiment
    dataset: Dataset
    task: Task[Any]
    schedule: Schedule
    state: TrainState
    runtime: Runtime
    names: Names
    notes: list[str] = field(default_factory=list)
    notice: str | None = None
    """The notice of the dataset before its splits are made, which add what is about their rows, not later inputs."""
    source: InitialWeights | None = None
    """What its weights come from, without the tensors."""


def build_training(experiment: Experiment, recorded: Mapping[str, Any] | None = None) -> Training:
    """Dataset, task, model, optimizer and schedule, ready for the first step.

    `recorded` is the signature in the checkpoint of a run that continues; then its checkpoint has the weights.
    """
    names = Names(experiment.plugins)
    located = experiment.locate()
    plan, weights = located.trainer, located.weights
    notes: list[str] = []
    given = None if recorded is not None else weights.init_from
    initial = None if given is None else read_initial_weights(given, notes.append)
    runtime = start_runtime(plan, recorded, seed=experiment.seed)
    dataset = construct_dataset(names, experiment)
    check_contract(names, "dataset", experiment.data, dataset, contract=Dataset)
    task = construct_task(names, experiment, dataset.assets)
    check_contract(names, "task", experiment.task, task, contract=Task)
    if task.goal.direction not in ("max", "min"):
        message = f"the goal's direction is '{task.goal.direction}'; allowed are max and min"
        raise DltrainError(message, advice=f"correct the goal of the task '{experiment.task.name}'")
    torch.manual_seed(experiment.seed)
    check_model(experiment, names.entry("model", experiment.model.name), task.sizes)
    model = construct_model(names, experiment, task).to(runtime.device)
    runtime.check(model)
    try:
        initialize(model, weights)
        if initial is not None:
            taker = WeightsTaker(names.find, located, dataset.assets, partial(construct_model, names, experiment, task))
            notes.append(taker.take(initial, model))
        freeze(model, weights.freeze)
        groups = parameter_groups(model, weights, bool(experiment.optimizer.options.get("weight_decay")))
    except ValueError as error:
        raise UsageError(f"weights.{error}", advice="change the weights section of the config") from error
    if plan.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = apply_group_options(construct(names, "optimizer", experiment.optimizer, provided=[groups]))
    schedule = construct(names, "schedule", experiment.schedule)
    average = make_average(model, plan)
    if plan.compile:
        model.compile()
    sum_dtype = torch.float32 if runtime.device.type == "mps" else torch.float64
    loss_sum = torch.zeros((), dtype=sum_dtype, device=runtime.device)
    state = TrainState(model, optimizer, runtime.scaler(), average, loss_sum=loss_sum)
    source = None if initial is None else initial.release()
    return Training(
        experiment, dataset, task, schedule, state=state, runtime=runtime, names=names, notes=notes, source=source
    )
