"""Training in a run directory: from its checkpoint if it has one, and with a checkpoint at every border."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dltrain.batch import Batch
from dltrain.capabilities import Clarifies
from dltrain.config.experiment import Experiment
from dltrain.config.sections import DECIDING
from dltrain.core.averages import find_unsettled_statistics
from dltrain.core.checkpoint import Checkpoint
from dltrain.core.evaluate import list_reported_metrics
from dltrain.core.record import Record
from dltrain.core.state import TrainState
from dltrain.core.trainer import explain_single_examples, train_model
from dltrain.data.reading import ReadFiles, collect_read_files
from dltrain.data.wording import suggest_name
from dltrain.errors import DataError, Diverged, Stopped, UsageError
from dltrain.events import Event, Observer, Saved
from dltrain.goal import get_current_name
from dltrain.observers.console import Messenger
from dltrain.observers.metrics import MetricsLog, list_evaluations
from dltrain.runs import directory
from dltrain.runs.baselines import FittedBaselines, fit_baselines
from dltrain.runs.building import Training, build_training
from dltrain.runs.changed_data import DataReading
from dltrain.runs.contracts import check_plugins
from dltrain.runs.data_report import report_data
from dltrain.runs.directory import Run
from dltrain.runs.solving import AtRest, solve_weights
from dltrain.runs.sources import keep_known_examples
from dltrain.runtime.environment import describe_process
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.memory import explain_memory_errors
from dltrain.stream import Loader, Pads, Stream


@dataclass
class RunSession:
    """The trainer's view of a run directory: events go to observers, checkpoints to the disk."""

    run: Run
    training: Training
    record: Record
    metrics: MetricsLog
    interrupts: Interrupts
    messenger: Messenger
    observers: list[Observer] = field(default_factory=list)
    asked: bool = False
    """Whether the next checkpoint is one that SIGUSR1 asked for."""

    def emit(self, event: Event) -> None:
        self.metrics(event)
        for observer in self.observers:
            observer(event)

    def pending(self) -> Stopped | None:
        self.run.check_lock(now=False)
        return self.interrupts.pending()

    def take_save_request(self) -> bool:
        self.asked = self.interrupts.take_save_request()
        return self.asked

    def save(self, state: TrainState, evaluated: bool) -> None:
        self.run.check_lock()
        goal, plan = self.training.task.goal, self.record.limit(self.training.experiment.trainer)
        why = state.history.finished(goal, plan) if evaluated else None
        self.metrics.sync()
        self.training.runtime.world.seed(state.step)  # the file must not show which shard was computed last
        record = replace(self.record, history=state.history, finished=why, metrics=self.metrics.mark())
        try:
            checkpoint = self.run.checkpoints.write(state, record, goal, evaluated)
        except OSError as error:
            raise DataError(
                f"{self.run.directory}: the checkpoint at step {state.step} cannot be written: {error.strerror}",
                advice="free some disk space, then run the same command",
            ) from error
        self.run.checkpoints.prune(plan.keep_last, plan.keep_best)
        directory.link_best_and_last(self.run.directory, self.run.checkpoints)
        self.emit(Saved(state.step, state.epoch, checkpoint.name))
        if self.asked:
            self.asked = False
            self.messenger.inform(f"SIGUSR1: saved {checkpoint.path}")


def check_exact(saved: Record, training: Training) -> list[str]:
    """Reasons why continuing from a checkpoint would not give the bits of an uninterrupted run; empty if it does."""
    changed = directory.find_differences(saved.signature, training.runtime.signature())
    reasons = [f"{name} was {before!r} and is {now!r}" for name, (before, now) in changed.items()]
    other_data = directory.find_differences(saved.fingerprint, dict(training.dataset.fingerprint))
    reasons += [f"the data has changed: {name}" for name in other_data]
    assets = training.dataset.assets
    read_otherwise = [name for name in saved.assets if name in assets and _differ(saved.assets[name], assets[name])]
    if read_otherwise and not other_data:
        reasons.append(f"this version reads the same data in another way: other {', '.join(read_otherwise)}")
    before, experiment = saved.config["trainer"], training.experiment
    plan = experiment.trainer
    for option, unit, now in (("epochs", "epochs", plan.epochs), ("max_steps", "steps", plan.max_steps)):
        if (planned := before.get(option)) != now and training.schedule.spans_run:
            reasons.append(f"the schedule '{experiment.schedule.name}' was planned for {planned or 'more'} {unit}")
    return reasons


def _differ(saved: object, now: object) -> bool:
    """Whether two values differ as JSON, in which a record keeps them."""
    return json.dumps(saved, sort_keys=True) != json.dumps(now, sort_keys=True)


def check_scored(training: Training, validation: Stream[Batch]) -> None:
    """Raises UsageError where something depends on validation scores, without a validation split."""
    if len(validation):
        return
    experiment, plan = training.experiment, training.experiment.trainer
    for setting, waits in (
        (f"schedule: {experiment.schedule.name}", training.schedule.reads_scores),
        (f"trainer.patience: {plan.patience}", plan.patience is not None),
        (f"trainer.nt_asgd: {plan.nt_asgd}", plan.nt_asgd is not None),
    ):
        if waits:
            raise UsageError(
                f"{setting} depends on validation scores, but the validation split is empty",
                advice="give data.validation a share above 0, or leave this setting out",
            )


def train_run(
    experiment: Experiment,
    run: Run,
    interrupts: Interrupts,
    observe: Callable[[Training], list[Observer]],
    messenger: Messenger,
    *,
    inexact: bool = False,
) -> Training:
    """Train in an opened run directory until the end, from its checkpoint if it has one.

    `observe` returns the observers once the task is known. Raises UsageError where the run could not continue bit for
    bit, unless `inexact`; Stopped and Diverged report which checkpoint is left.
    """
    saved = None if run.checkpoint is None else run.checkpoint.record
    with add_checkpoint_to_errors(run):
        experiment = directory.copy_plugins(run.directory, experiment)
        training, batches, validation, files = build_and_read(experiment, saved, messenger, interrupts)
        with explain_memory_errors():
            solved = solve_weights(training, batches) if saved is None else saved.solved
            baselines = fit_baselines(training, batches, validation) if saved is None else FittedBaselines()
        if solved is not None:
            training.schedule = AtRest()
            training.notes.append(f"solved at once, so that training changes nothing: {solved}")
        announce(training, batches, messenger)
        report_data(run, training.dataset, (batches, validation), messenger)
        check_scored(training, validation)
        check_goal(training, validation)
        if run.checkpoint is not None:
            continue_exactly(run.checkpoint, training, messenger, inexact=inexact)
        run.check_lock()
        keep_known_examples(run, training, messenger)
        directory.write_config(run.directory, experiment)
        baselines.write(run.directory)
        directory.append_environment(run.directory, describe_training(training))
        DataReading(training.dataset.name, training.dataset.fingerprint, files).write(run.directory)
        record, mark = make_record(training, saved, solved), None if saved is None else saved.metrics
        metrics = open_metrics(run, training, mark, messenger)
        session = RunSession(run, training, record, metrics=metrics, interrupts=interrupts, messenger=messenger)
        try:
            session.observers, interrupts.training = observe(training), True
            hints = explain_single_examples("raise data.batch_size")
            sharding = training.runtime.world.prepare(training.state.model)
            with directory.record_end(run.directory), explain_memory_errors(), hints, sharding:
                train_model(
                    training.state,
                    training.task,
                    training=batches,
                    validation=validation,
                    plan=record.limit(experiment.trainer),
                    schedule=training.schedule,
                    runtime=training.runtime,
                    session=session,
                )
        finally:
            interrupts.training = False
            run.trained = training.state.step > 0
            session.metrics.close()
    return training


def open_metrics(run: Run, training: Training, mark: Mapping[str, Any] | None, messenger: Messenger) -> MetricsLog:
    """The log of metrics; `mark` is that of the checkpoint that training continues from."""
    dataset, goal, plan = training.dataset, training.task.goal, training.experiment.trainer
    return MetricsLog(
        run.directory / "metrics.jsonl",
        mark,
        {"dataset": dataset.name, "seed": training.experiment.seed, "metric": goal.metric},
        evaluations=partial(list_evaluations, training.state.history, goal, plan.epochs),
        warn=messenger.warn,
    )


def build_and_read(
    experiment: Experiment, saved: Record | None, messenger: Messenger, interrupts: Interrupts
) -> tuple[Training, Stream[Batch], Stream[Batch], ReadFiles]:
    """Build a training, its streams of training and validation, and the states of the files that were read for it."""
    with collect_read_files() as files, interrupts.preparing():
        with explain_memory_errors():
            training = build_training(experiment, None if saved is None else saved.signature)
        dataset, training.notice = training.dataset, training.dataset.notice
        streams = dataset.training(), dataset.validation()
        with explain_memory_errors():
            check_plugins(training, *streams, messenger)
        return training, *streams, files


def check_goal(training: Training, validation: Stream[Batch]) -> None:
    """Raises UsageError where the config's deciding metric is none that the task reports for this data."""
    metric, task = training.experiment.task.options.get(DECIDING), training.task
    if metric is None or not len(validation):
        return
    reported = list_reported_metrics(training.state.model, task, validation, training.runtime)
    if get_current_name(metric, reported) not in reported:
        raise UsageError(
            f"task.goal: the task '{training.experiment.task.name}' does not report '{metric}' for this data; "
            f"it reports {', '.join(reported)}{suggest_name(metric, reported)}",
            advice="choose one of these",
        )


@contextmanager
def add_checkpoint_to_errors(run: Run) -> Iterator[None]:
    """Add to the errors that end training early which checkpoint is left, and how to continue from it."""
    try:
        yield
    except Stopped as stopped:
        if run.checkpoints.last() is not None:
            stopped.advice = f"rerun the same command to resume from the checkpoint in {run.directory}"
        raise
    except Diverged as diverged:
        last = run.checkpoints.last()
        kept = "no checkpoint was written before" if last is None else f"the last checkpoint is kept ({last.name})"
        diverged.message += f"; {kept}"
        raise


def announce(training: Training, batches: Stream[Batch], messenger: Messenger) -> None:
    """Report the data, the device, the initial weights, the task's facts and the padding, before training starts."""
    runtime = training.runtime
    if training.dataset.notice:
        messenger.warn(training.dataset.notice)
    messenger.inform(f"device: {runtime.device} ({runtime.why})")
    for note in training.notes:
        messenger.inform(note)
    if isinstance(task := training.task, Clarifies):
        for name, value in task.facts.items():
            messenger.inform(f"{name.replace('_', ' ')}: {value}")
        for warning in task.warnings(task.goal):
            messenger.warn(warning)
    plan = training.experiment.trainer
    updates = plan.epochs * len(batches)
    if plan.max_steps is not None:
        possible = plan.epochs * math.ceil(len(batches) / plan.accumulate)
        if possible < plan.max_steps:
            messenger.warn(
                f"trainer.max_steps {plan.max_steps} is not reached: {plan.epochs} epochs have {possible} updates; "
                "raise trainer.epochs"
            )
        updates = min(updates, plan.max_steps * plan.accumulate)
    left = find_unsettled_statistics(training.state.model, updates)
    if left is not None:
        messenger.warn(
            f"after the {updates} batches of this run, {left:.0%} of the start values are left in the running "
            "statistics of batch normalisation, which evaluation uses; raise trainer.epochs, or lower data.batch_size"
        )
    if runtime.device.type == "cuda" and not training.experiment.trainer.deterministic:
        messenger.inform("note: CUDA kernels may not repeat bit for bit unless trainer.deterministic is true")
    if isinstance(batches, Loader) and isinstance(source := batches.source, Pads):
        share = f"{source.padding_share(0):.1%}"
        messenger.inform(f"batches: {len(source)} per epoch; {share} of the first epoch's is padding")


def continue_exactly(checkpoint: Checkpoint, training: Training, messenger: Messenger, *, inexact: bool) -> None:
    """Restore a checkpoint's state. Raises UsageError where the bits would change, unless `inexact`."""
    reasons = check_exact(checkpoint.record, training)
    if reasons and not inexact:
        raise UsageError(
            f"{checkpoint.path.parents[1]}: continuing would not give the same result as an uninterrupted run:\n  "
            + "\n  ".join(reasons),
            advice="undo the change, or accept a different result with --inexact, or start again with --fresh",
        )
    for reason in reasons:
        messenger.warn(f"not exact: {reason}")
    checkpoint.restore(training.state)


def describe_training(training: Training) -> dict[str, Any]:
    """One entry of environment.json: this process, and the data and the step that it starts with."""
    dataset = training.dataset
    return {
        **describe_process(),
        "signature": training.runtime.signature(),
        "seed": training.experiment.seed,
        "dataset": {"name": dataset.name, "sha256": dict(dataset.fingerprint)},
        "begins_at_step": training.state.step,
        "parameters": sum(parameter.numel() for parameter in training.state.model.parameters()),
        "notes": training.notes,
    }


def make_record(training: Training, saved: Record | None, solved: str | None) -> Record:
    """The record of this training's checkpoints, before its first epoch; `saved` is that of a continued run."""
    dataset, source = training.dataset, training.source
    return Record(
        config=directory.resolve_for_run(training.experiment),
        assets=dict(dataset.assets),
        dataset=dataset.name,
        fingerprint=dict(dataset.fingerprint),
        notice=training.notice,
        signature=training.runtime.signature(),
        plugins=directory.read_plugin_sources(training.experiment.plugins),
        solved=solved,
        sources=saved.sources if saved is not None else [] if source is None else source.describe(),
        facts=dict(training.task.facts) if isinstance(training.task, Clarifies) else {},
    )
