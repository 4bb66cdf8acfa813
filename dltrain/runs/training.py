"""Training in a run directory: from its checkpoint if it has one, and with a checkpoint at every border."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from dltrain.config.experiment import Experiment
from dltrain.core.record import Record
from dltrain.core.schedules import Schedule
from dltrain.core.state import TrainState
from dltrain.core.trainer import train_model
from dltrain.errors import DataError, Stopped, UsageError
from dltrain.events import Event, Observer, Saved
from dltrain.observers.metrics import MetricsLog
from dltrain.options import Plan
from dltrain.runs.building import Training, build_training
from dltrain.runs.directory import (
    Run,
    append_environment,
    copy_plugins,
    find_differences,
    link_best_and_last,
    read_plugin_sources,
    resolve_for_run,
    write_config,
)
from dltrain.runtime.environment import describe_process
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.memory import explain_memory_errors
from dltrain.stream import Loader, Pads
from dltrain.task import Task


@dataclass
class RunSession:
    """The trainer's view of a run directory: events go to observers, checkpoints to the disk."""

    run: Run
    task: Task[Any]
    plan: Plan
    record: Record
    metrics: MetricsLog
    interrupts: Interrupts
    observers: list[Observer] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.metrics(event)
        for observer in self.observers:
            observer(event)

    def pending(self) -> Stopped | None:
        return self.interrupts.pending()

    def save(self, state: TrainState, epoch_ended: bool) -> None:
        goal = self.task.goal
        why = state.history.finished(goal, self.plan.epochs, self.plan.patience) if epoch_ended else None
        self.metrics.sync()
        record = replace(self.record, history=state.history, finished=why, metrics=self.metrics.mark())
        try:
            checkpoint = self.run.checkpoints.write(state, record, goal, epoch_ended)
        except OSError as error:
            raise DataError(
                f"{self.run.directory}: the checkpoint at step {state.step} cannot be written: {error.strerror}",
                advice="make room or mend the disk, then run the same command; it continues from the last checkpoint",
            ) from error
        self.run.checkpoints.prune(self.plan.keep_last)
        link_best_and_last(self.run.directory, self.run.checkpoints)
        self.emit(Saved(state.step, state.epoch, checkpoint.name))


def check_exact(saved: Record, now: Training, experiment: Experiment) -> list[str]:
    """Why going on from a checkpoint's `saved` record would not give an uninterrupted run's bits; empty if it does."""
    reasons = [
        f"{name} was {before!r} and is {now_is!r}"
        for name, (before, now_is) in find_differences(saved.signature, now.runtime.signature()).items()
    ]
    reasons += [
        f"the data has changed: {name}" for name in find_differences(saved.fingerprint, dict(now.dataset.fingerprint))
    ]
    epochs = saved.config["trainer"]["epochs"]
    if epochs != experiment.trainer.epochs and now.schedule.spans_run:
        reasons.append(f"the schedule '{experiment.schedule.name}' was laid out for {epochs} epochs")
    return reasons


def check_scored(experiment: Experiment, schedule: Schedule, batches: int) -> None:
    """Raises UsageError where something waits for validation scores, and there is nothing to validate on."""
    if batches:
        return
    for setting, waits in (
        (f"schedule: {experiment.schedule.name}", schedule.reads_scores),
        (f"trainer.patience: {experiment.trainer.patience}", experiment.trainer.patience is not None),
        (f"trainer.nt_asgd: {experiment.trainer.nt_asgd}", experiment.trainer.nt_asgd is not None),
    ):
        if waits:
            raise UsageError(
                f"{setting} goes by validation scores, and the validation split is empty",
                advice="give data.validation a share above 0, or leave this setting out",
            )


def train_run(
    experiment: Experiment,
    run: Run,
    interrupts: Interrupts,
    observe: Callable[[Training], list[Observer]],
    tell: Callable[[str], None],
    inexact: bool = False,
) -> Training:
    """Train in an opened run directory until the end, from its checkpoint if it has one.

    `observe` gives the observers once the task is known; `tell` passes a line on to the user. Raises UsageError where
    the run could not go on bit for bit, unless `inexact`.
    """
    saved = None if run.checkpoint is None else run.checkpoint.record
    copied = copy_plugins(run.directory, experiment)
    with explain_memory_errors():
        training = build_training(copied, None if saved is None else saved.signature)
    dataset, state, task = training.dataset, training.state, training.task
    if dataset.notice:
        tell(f"warning: {dataset.notice}")
    tell(f"device: {training.runtime.device} ({training.runtime.why})")
    for note in training.notes:
        tell(note)
    if training.runtime.device.type == "cuda" and not experiment.trainer.deterministic:
        tell("note: CUDA kernels may not repeat bit for bit unless trainer.deterministic is true")
    streams = dataset.training(), dataset.validation()
    if isinstance(streams[0], Loader) and isinstance(source := streams[0].source, Pads):
        tell(f"batches: {len(source)} an epoch, {source.padding_share(0):.1%} of the first epoch's is padding")
    check_scored(experiment, training.schedule, len(streams[1]))
    config = resolve_for_run(experiment)
    signature = training.runtime.signature()
    if saved is not None and run.checkpoint is not None:
        reasons = check_exact(saved, training, experiment)
        if reasons and not inexact:
            raise UsageError(
                f"{run.directory}: continuing would not give the same result as an uninterrupted run:\n  "
                + "\n  ".join(reasons),
                advice="restore what has changed, or accept another result with --inexact, or begin with --fresh",
            )
        for reason in reasons:
            tell(f"warning: not exact: {reason}")
        run.checkpoint.restore(state)
    write_config(run.directory, experiment)
    append_environment(
        run.directory,
        {
            **describe_process(),
            "signature": signature,
            "seed": experiment.seed,
            "dataset": {"name": dataset.name, "sha256": dict(dataset.fingerprint)},
            "begins_at_step": state.step,
            "notes": training.notes,
        },
    )
    record = Record(
        config=config,
        assets=dict(dataset.assets),
        dataset=dataset.name,
        fingerprint=dict(dataset.fingerprint),
        notice=dataset.notice,
        signature=signature,
        plugins=read_plugin_sources(experiment.plugins),
    )
    header = {"dataset": dataset.name, "seed": experiment.seed, "metric": task.goal.metric}
    metrics = MetricsLog(run.directory / "metrics.jsonl", None if saved is None else saved.metrics, header)
    session = RunSession(run, task, experiment.trainer, record, metrics, interrupts, observe(training))
    try:
        interrupts.training = True
        with explain_memory_errors():
            train_model(state, task, *streams, experiment.trainer, training.schedule, training.runtime, session)
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "model: batch normalisation cannot learn from a batch of one example", advice="raise data.batch_size"
        ) from error
    finally:
        interrupts.training = False
        metrics.close()
    return training
