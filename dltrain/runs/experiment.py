"""The one place that knows both sides: names from a config become datasets, tasks, models and a state to train."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from dltrain.batch import Batch
from dltrain.config.catalogue import ALL_SIZES, Entry, with_plugins
from dltrain.config.experiment import Choice, Experiment, check_model, load_tree
from dltrain.core.checkpoint import MANIFEST, WEIGHTS, Checkpoint, Checkpoints
from dltrain.core.evaluate import evaluate
from dltrain.core.schedules import Schedule
from dltrain.core.state import TrainState, averaged
from dltrain.core.trainer import fit
from dltrain.core.weights import freeze, initialize, parameter_groups, settle, take_over
from dltrain.data.published_weights import SCHEMES, fetch_weights
from dltrain.dataset import Dataset
from dltrain.errors import DataError, DltrainError, NoCheckpoint, Stopped, UsageError
from dltrain.events import Event, Observer, Saved
from dltrain.export.weights import SUFFIX, Exported
from dltrain.goal import finished
from dltrain.observers.metrics import MetricsLog
from dltrain.options import Plan
from dltrain.registry import datasets, models, optimizers, schedules, tasks
from dltrain.runs.directory import (
    Run,
    append_environment,
    differences,
    link_both,
    plugin_sources,
    resolved,
    with_copied_plugins,
    write_config,
)
from dltrain.runtime import precision
from dltrain.runtime.device import choose
from dltrain.runtime.environment import environment
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.memory import memory_explained
from dltrain.runtime.weights_files import tensors_in
from dltrain.stream import Loader, Pads, Stream
from dltrain.task import Counts, Task

READING_TRIES = 20

REGISTRIES = {one.kind: one for one in (models, datasets, tasks, optimizers, schedules)}


class Names:
    """Registered things by kind and name; a module is imported when something of it is first asked for."""

    def __init__(self, plugins: tuple[Path, ...]) -> None:
        self._catalogue = with_plugins(plugins)

    def entry(self, kind: str, name: str) -> Entry:
        entry = self._catalogue.find(kind, name)
        assert entry is not None, f"{kind} '{name}' passed the check of the config, but is not known"
        return entry

    def __call__(self, kind: str, name: str) -> Callable[..., Any]:
        module = self.entry(kind, name).module
        if module.endswith(".py"):
            import_plugin(Path(module))
        else:
            importlib.import_module(module)
        return REGISTRIES[kind][name]


def import_plugin(path: Path) -> None:
    """Run a plug-in file once. An error in it is a UsageError that names the file."""
    name = f"dltrain_plugins.{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except DltrainError:  # a signal arrived, or the plug-in itself speaks dltrain
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path}: the plug-in cannot be imported: {type(error).__name__}: {error}") from error


def chosen(names: Names, kind: str, choice: Choice, *provided: Any, **sizes: Any) -> Any:
    """What `choice` names, built; a ValueError of its constructor is the user's, and says which section it is."""
    try:
        return names(kind, choice.name)(*provided, **sizes, **choice.options)
    except ValueError as error:
        raise UsageError(f"{kind} '{choice.name}': {error}", advice="change its options in the config") from error


@dataclass
class Training:
    """Everything that `fit` needs, built from an experiment."""

    dataset: Dataset
    task: Task[Any]
    schedule: Schedule
    state: TrainState
    runtime: precision.Runtime
    notes: list[str] = field(default_factory=list)


@dataclass
class Tensors:
    """Weights from elsewhere: where they lie, what they are, and the hash of their file."""

    source: str
    tensors: Mapping[str, torch.Tensor]
    sha256: str


def tensors_of(source: str) -> Tensors:
    """The weights of a run (its best checkpoint), of a checkpoint, or of a file here or at an address.

    Raises UsageError, and DataError where nothing can be fetched.
    """
    path = fetch_weights(source) if source.startswith(SCHEMES) else Path(source).expanduser()
    if path.is_dir():
        try:
            checkpoint = checkpoint_of(path)
        except NoCheckpoint as error:
            raise UsageError(f"weights.init_from: {error}") from None
        return Tensors(str(checkpoint.path), checkpoint.weights(), checkpoint.manifest["files"][WEIGHTS]["sha256"])
    try:
        content = path.read_bytes()
        return Tensors(source, tensors_in(content), hashlib.sha256(content).hexdigest())
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = str(error)
    raise UsageError(
        f"weights.init_from: {source}: {reason}\n"
        "allowed: a run directory, a checkpoint's directory, a .safetensors or a .pth file, the address of one",
        advice="correct weights.init_from",
    )


def model_sizes(names: Names, choice: Choice, task: Task[Any]) -> dict[str, Any]:
    """The task's sizes that this model asks for, by name; all of them as `sizes`, if that is what it asks for."""
    provided = names.entry("model", choice.name).provided
    return {"sizes": dict(task.sizes)} if provided == ALL_SIZES else {name: task.sizes[name] for name in provided}


def build(experiment: Experiment, recorded: Mapping[str, Any] | None = None) -> Training:
    """Dataset, task, model, optimizer and schedule, ready for the first step.

    `recorded` is the signature of the process that began the run, if it goes on: then its checkpoint has the weights.
    """
    names = Names(experiment.plugins)
    plan, weights = experiment.trainer, experiment.weights
    begun = None if weights.init_from is None or recorded is not None else tensors_of(weights.init_from)
    runtime = precision.start(plan, recorded)
    dataset = chosen(names, "dataset", experiment.data, experiment.data.name, experiment.seed, None)
    task = chosen(names, "task", experiment.task, dataset.assets)
    torch.manual_seed(experiment.seed)
    check_model(experiment, names.entry("model", experiment.model.name), task.sizes)
    model = chosen(names, "model", experiment.model, **model_sizes(names, experiment.model, task)).to(runtime.device)
    runtime.check(model)
    notes = []
    try:
        initialize(model, weights)
        if begun is not None:
            notes.append(
                f"weights from {begun.source} (sha256 {begun.sha256}): {take_over(model, begun.tensors, begun.source)}"
            )
        freeze(model, weights.freeze)
        decays = bool(experiment.optimizer.options.get("weight_decay"))
        groups = parameter_groups(model, weights, decays)
    except ValueError as error:
        raise UsageError(f"weights.{error}", advice="change the weights section of the config") from error
    if plan.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = settle(chosen(names, "optimizer", experiment.optimizer, groups))
    schedule = chosen(names, "schedule", experiment.schedule)
    average = averaged(model, plan)
    if plan.compile:
        model.compile()
    wide = torch.float32 if runtime.device.type == "mps" else torch.float64
    loss_sum = torch.zeros((), dtype=wide, device=runtime.device)
    state = TrainState(model, optimizer, runtime.scaler(), average, loss_sum=loss_sum)
    return Training(dataset, task, schedule, state, runtime, notes)


@dataclass
class RunSession:
    """The trainer's view of a run directory: events go to observers, checkpoints to the disk."""

    run: Run
    task: Task[Any]
    plan: Plan
    record: dict[str, Any]
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
        scores = [entry.get(goal.metric) for entry in state.history]
        self.metrics.sync()
        record = {
            **self.record,
            "history": state.history,
            "finished": finished(goal, scores, self.plan.epochs, self.plan.patience) if epoch_ended else None,
            "metrics": self.metrics.mark(),
        }
        try:
            checkpoint = self.run.checkpoints.write(state, record, goal, epoch_ended)
        except OSError as error:
            raise DataError(
                f"{self.run.directory}: the checkpoint at step {state.step} cannot be written: {error.strerror}",
                advice="make room or mend the disk, then run the same command; it continues from the last checkpoint",
            ) from error
        self.run.checkpoints.prune(self.plan.keep_last)
        link_both(self.run.directory, self.run.checkpoints)
        self.emit(Saved(state.step, state.epoch, checkpoint.name))


def check_exact(saved: Mapping[str, Any], now: Training, experiment: Experiment) -> list[str]:
    """Why going on from a checkpoint's `saved` record would not give an uninterrupted run's bits; empty if it does."""
    reasons = [
        f"{name} was {before!r} and is {now_is!r}"
        for name, (before, now_is) in differences(saved["signature"], now.runtime.signature()).items()
    ]
    reasons += [
        f"the data has changed: {name}" for name in differences(saved["fingerprint"], dict(now.dataset.fingerprint))
    ]
    epochs = saved["config"]["trainer"]["epochs"]
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


def train(
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
    copied = with_copied_plugins(run.directory, experiment)
    with memory_explained():
        training = build(copied, None if saved is None else saved["signature"])
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
    config = resolved(experiment)
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
            **environment(),
            "signature": signature,
            "seed": experiment.seed,
            "dataset": {"name": dataset.name, "sha256": dict(dataset.fingerprint)},
            "begins_at_step": state.step,
            "notes": training.notes,
        },
    )
    record = {
        "config": config,
        "assets": dict(dataset.assets),
        "dataset": dataset.name,
        "fingerprint": dict(dataset.fingerprint),
        "notice": dataset.notice,
        "signature": signature,
        "plugins": plugin_sources(experiment.plugins),
    }
    header = {"dataset": dataset.name, "seed": experiment.seed, "metric": task.goal.metric}
    metrics = MetricsLog(run.directory / "metrics.jsonl", None if saved is None else saved["metrics"], header)
    session = RunSession(run, task, experiment.trainer, record, metrics, interrupts, observe(training))
    try:
        interrupts.training = True
        with memory_explained():
            fit(state, task, *streams, experiment.trainer, training.schedule, training.runtime, session)
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


@dataclass
class Trained:
    """A checkpoint made ready for use: nothing else is needed, but an evaluation's data."""

    checkpoint: Checkpoint
    experiment: Experiment
    task: Task[Any]
    model: nn.Module
    runtime: precision.Runtime
    names: Names

    @property
    def record(self) -> dict[str, Any]:
        return self.checkpoint.record

    def dataset(self) -> Dataset:
        """The dataset of the training, with the checkpoint's own assets; no file is read yet."""
        choice = self.experiment.data
        dataset: Dataset = chosen(
            self.names, "dataset", choice, choice.name, self.experiment.seed, self.record["assets"]
        )
        return dataset

    def counts(self, stream: Stream[Batch]) -> Counts:
        self.runtime.check(self.model)
        with memory_explained():
            return evaluate(self.model, self.task, stream, self.runtime)


def checkpoint_of(path: Path, name: str | None = None) -> Checkpoint:
    """The checkpoint that `path` means, read and verified: `name` of a run directory (the best), or `path` itself.

    A file of weights that `dltrain export` wrote is one too. Raises NoCheckpoint, saying what there is, and UsageError
    for a name together with a checkpoint's own path.
    """
    if (path / MANIFEST).exists():
        if name is not None:
            raise UsageError(f"{path}: is one checkpoint itself; leave out --checkpoint {name}")
        alone = Checkpoint(path.resolve(), 0, epoch_ended=True)
        if alone.fault:
            raise NoCheckpoint(f"{path}: damaged: {alone.fault}", advice="use another checkpoint of its run")
        return alone
    if path.suffix == SUFFIX and path.is_file():
        if name is not None:
            raise UsageError(f"{path}: is one file of weights; leave out --checkpoint {name}")
        return Exported(path)
    if not (path / "checkpoints").is_dir():
        near = sorted(str(one.parent) for one in path.parent.glob("*/config.yaml")) if path.parent.is_dir() else []
        there = "".join(f"\n  {one}" for one in near)
        raise NoCheckpoint(
            f"{path}: no run directory with checkpoints\nruns beside it:{there or ' none'}",
            advice="name a run directory, or train one with `dltrain fit CONFIG`",
        )
    for _ in range(READING_TRIES):
        try:
            checkpoint = Checkpoints(path / "checkpoints").named(name or "best")
            _ = checkpoint.contents
        except FileNotFoundError:  # training goes on here and has just deleted what was chosen: look again
            continue
        return checkpoint
    raise NoCheckpoint(f"{path}: its checkpoints change faster than they can be read", advice="try again later")


def load(checkpoint: Checkpoint, overrides: Mapping[str, Any] | None = None) -> Trained:
    """Task and model from a checkpoint alone. `overrides` are sections' values such as {"data": {"root": ...}}.

    Raises UsageError for a device that is not here, which --device chose, or else the training.
    """
    record = checkpoint.record
    tree = json.loads(json.dumps(record["config"]))
    for section, values in (overrides or {}).items():
        tree[section].update(values)
    asked = "device" in (overrides or {}).get("trainer", {})
    choose(tree["trainer"]["device"], "--device" if asked else f"{checkpoint.path}: trainer.device", "--device")
    with TemporaryDirectory(prefix="dltrain-plugins-") as folder:
        for place, source in record["plugins"].items():
            path = Path(folder) / place
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
        tree["plugins"] = [str(Path(folder) / place) for place in tree.get("plugins", ())]
        experiment = load_tree(tree, str(checkpoint.path))
        names = Names(experiment.plugins)
        runtime = precision.start(experiment.trainer)
        task = chosen(names, "task", experiment.task, record["assets"])
        model = chosen(names, "model", experiment.model, **model_sizes(names, experiment.model, task))
        names("dataset", experiment.data.name)
    model.load_state_dict(checkpoint.weights())
    model.to(runtime.device)
    if experiment.trainer.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return Trained(checkpoint, experiment, task, model.eval(), runtime, names)
