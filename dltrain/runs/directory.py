"""A run directory: who trains there, and whether training starts, continues or is over.

docs/run-directory.md describes each file. Nothing here imports torch: a finished run, a changed config and a busy
directory are reported at once.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dltrain.config.document import format_yaml
from dltrain.config.experiment import Experiment, load_experiment
from dltrain.config.paths import RUN_CONFIG, RUN_REMARK
from dltrain.config.plugins import name_original
from dltrain.config.trust import record_trained
from dltrain.core.checkpoint import NONE_LEFT, Checkpoint, Checkpoints, select_best
from dltrain.errors import DataError, DltrainError, NoCheckpoint, RunBusy, UsageError
from dltrain.files import EarlierContent, make_directory, sync_directory, write_atomically
from dltrain.options import AUTO
from dltrain.runs.lock import LOCK, Lock
from dltrain.temporary import name_temporary, remove_abandoned

CONFIG, ENVIRONMENT = RUN_CONFIG, "environment.json"
STARTED_FILES = {
    LOCK, "plugins", ENVIRONMENT, "data-files.json", "metrics.jsonl", "times.jsonl", "checkpoints",
    "data.json", "splits.safetensors", "baselines.json", "baselines.safetensors",
}  # fmt: skip
"""What a process may have left that ended before it wrote the config."""


@dataclass
class Run:
    """A locked run directory and how it was found."""

    directory: Path
    lock: Lock | None
    """None for a finished run that cannot be written to."""
    begins: Literal["new", "resumed", "finished"] = "new"
    checkpoint: Checkpoint | None = None
    warnings: list[str] = field(default_factory=list)
    before: EarlierContent | None = None
    trained: bool = False
    """Whether this process has made a step."""

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.directory / "checkpoints")

    def remove_if_untrained(self) -> None:
        """Remove what this process made for a new run that it did not train: the directory, or what is new in it."""
        held = self.lock is not None and self.lock.is_held()
        if self.before is not None and self.begins == "new" and not self.trained and held:
            self.before.restore()

    def check_lock(self, *, now: bool = True) -> None:
        """Raises RunBusy where the lock was lost; see `Lock.check`."""
        if self.lock is not None:
            self.lock.check(now=now)

    def release(self) -> None:
        if self.lock is not None:
            self.lock.release()

    @property
    def headline(self) -> str:
        """The first line of every `fit`."""
        if self.begins == "new" or self.checkpoint is None:
            again = " (started before, no checkpoint yet)" if self.begins == "resumed" else ""
            return f"new run: {self.directory}{again}"
        record = self.checkpoint.record
        if self.begins == "finished":
            return f"finished: {self.directory} ({record.finished}); nothing to do"
        return f"resuming {self.directory} at step {self.checkpoint.step}, epoch {len(record.history) + 1}"


def iterate_leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested mapping with their dotted paths."""
    if isinstance(tree, Mapping) and tree:
        for name, value in tree.items():
            yield from iterate_leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, tree


def find_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted paths whose values differ, with both; an absent one is None."""
    old, new = dict(iterate_leaves(before)), dict(iterate_leaves(after))
    paths = sorted(old.keys() | new.keys())
    return {path: (old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)}


def drop_moved(
    changed: Mapping[str, tuple[Any, Any]], before: Experiment, now: Experiment
) -> dict[str, tuple[Any, Any]]:
    """The differences without those of paths: of a folder, whose content counts, or of one place named differently."""
    return {
        name: values
        for name, values in changed.items()
        if name not in now.folders and (name not in now.places or before.places.get(name) != now.places[name])
    }


def refuse_changes(directory: Path, what: str, changed: Mapping[str, tuple[Any, Any]], allowed: str) -> None:
    """Raises UsageError, naming each setting that has changed since the run or sweep in `directory` was started."""
    if changed:
        lines = "".join(f"\n  {path}: {old!r} -> {new!r}" for path, (old, new) in changed.items())
        raise UsageError(
            f"{directory}: this {what} was started with other settings{lines}\nallowed to change: {allowed}",
            advice=f"undo the change, or start another {what} with --fresh or -o DIRECTORY",
        )


def read_plugin_sources(plugins: tuple[Path, ...]) -> dict[str, str]:
    """The text of each plug-in by the name that its copy in a run directory gets."""
    return {f"plugins/{path.name}": path.read_text(encoding="utf-8") for path in plugins}


def resolve_for_run(experiment: Experiment) -> dict[str, Any]:
    """The complete config as a run directory keeps it, with the plug-ins' copies in place of their originals."""
    tree = experiment.resolved()
    if experiment.plugins:
        tree["plugins"] = list(read_plugin_sources(experiment.plugins))
    return tree


def open_run(directory: Path, experiment: Experiment, *, locking: bool = True) -> Run:
    """Lock `directory` and find out whether `experiment` starts, continues or is finished there.

    Raises RunBusy; UsageError where the directory holds something else, or a run with other settings: more epochs
    extend a run, anything else is refused with the differences. Without `locking` nothing keeps other processes out.
    """
    before = EarlierContent.look(directory)
    if not before.missing and not directory.is_dir():
        raise UsageError(f"{directory}: is a file, and a run needs a directory", advice="name another one with -o")
    try:
        make_directory(directory)
    except OSError as error:
        raise UsageError(f"{directory}: cannot be made: {error.strerror}", advice="name another one with -o") from None
    if not (directory / CONFIG).exists():
        there = [path.name for path in directory.iterdir() if path.suffix != ".tmp"]
        strangers = sorted(name for name in there if name not in STARTED_FILES)
        if strangers:
            more = " and more" if len(strangers) > 1 else ""
            raise UsageError(
                f"{directory}: contains {strangers[0]}{more}, but no run of dltrain (no {CONFIG})",
                advice="name an empty or a new directory with -o",
            )
    run = Run(directory, _take_lock(directory, before, locking=locking), before=before)
    try:
        if run.lock is not None:
            remove_abandoned(directory)
        if (directory / CONFIG).exists():
            _compare_settings(directory, experiment)
            _find_checkpoint_to_resume(run, experiment)
    except BaseException:
        run.release()
        raise
    if run.lock is None and run.begins != "finished":
        raise DataError(
            f"{directory}: cannot be written to, and this run is not finished",
            advice="change its permissions, or train in a copy of it with -o DIRECTORY",
        )
    return run


def _take_lock(directory: Path, before: EarlierContent, *, locking: bool) -> Lock | None:
    """The lock; None for a run that cannot be written to. A directory that was made for nothing is removed again."""
    try:
        return Lock(directory, locking=locking)
    except (OSError, UsageError) as error:
        read_only = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        if read_only and (directory / CONFIG).exists():
            return None
        for folder in before.missing:
            with suppress(OSError):  # another process has put something into it
                folder.rmdir()
        raise


def _compare_settings(directory: Path, experiment: Experiment) -> None:
    """Raises UsageError where the run in `directory` was started with settings that may not change."""
    config, plugins = resolve_for_run(experiment), read_plugin_sources(experiment.plugins)
    before = load_experiment(directory / CONFIG).experiment
    changed = drop_moved(find_differences(resolve_for_run(before), config), before, experiment)
    changed.pop("observers", None)
    if changed.get("data.batch_size", (None, None))[1] == AUTO:  # the run has recorded a number
        del changed["data.batch_size"]
    for name, source in plugins.items():
        copy = directory / name
        if not copy.exists() or copy.read_text(encoding="utf-8") != source:
            changed[name] = ("its copy in the run directory", "a changed file")
    for name in ("trainer.epochs", "trainer.max_steps"):
        if name in changed and _limits_more(*changed[name]):
            continue
        changed.pop(name, None)
    refuse_changes(directory, "run", changed, "observers, and trainer.epochs and max_steps to larger numbers")


def _limits_more(before: int | None, after: int | None) -> bool:
    return after is not None and (before is None or after < before)


def _find_checkpoint_to_resume(run: Run, experiment: Experiment) -> None:
    """Note in `run` the last checkpoint that can be used, if any, and whether it is the end of `experiment`."""
    run.begins = "resumed"
    if run.lock is not None:
        run.warnings = run.checkpoints.set_aside_damaged()
        run.checkpoints.remove_unfinished()
    run.checkpoint = run.checkpoints.last()
    if run.checkpoint is None and (aside := run.checkpoints.aside()):
        unusable = "\n  ".join(run.warnings or [str(path) for path in aside])
        raise NoCheckpoint(
            f"{run.directory}: none of its checkpoints can be used, all are damaged:\n  {unusable}", advice=NONE_LEFT
        )
    if (last := run.checkpoint) is not None:
        _check_same_run(run.directory, last)
        if run.lock is not None:
            link_best_and_last(run.directory, run.checkpoints)
        if last.evaluated and last.record.history.finished(last.goal, last.record.limit(experiment.trainer)):
            run.begins = "finished"


def _check_same_run(directory: Path, checkpoint: Checkpoint) -> None:
    """Raises NoCheckpoint where a checkpoint was written by a run with another config than this one's."""
    before = load_experiment(directory / CONFIG).experiment
    here, there = (dict(iterate_leaves(tree)) for tree in (resolve_for_run(before), checkpoint.record.config))
    if lacking := [name for name in ("task", "data", "model", "trainer") if not checkpoint.record.config.get(name)]:
        raise NoCheckpoint(f"{checkpoint.path}: damaged: its config lacks {', '.join(lacking)}", advice=NONE_LEFT)
    free = {"data.batch_size", "trainer.epochs", "trainer.max_steps", *before.places, *before.folders}
    differ = [
        f"{name}: {here[name]} here, {there[name]} there"
        for name in sorted(here.keys() & there.keys())
        if here[name] != there[name] and name not in free and name.split(".")[0] not in ("observers", "plugins")
    ]
    if differ:
        raise NoCheckpoint(
            f"{checkpoint.path}: is a checkpoint of another run, with other settings:\n  " + "\n  ".join(differ),
            advice="put the run's own checkpoints back, or start another run with --fresh or -o DIRECTORY",
        )


def copy_plugins(directory: Path, experiment: Experiment) -> Experiment:
    """The experiment with its plug-ins' copies in the run directory in place of their originals.

    Training imports the copies, as every later command does: a plug-in that needs a file beside it fails here and now.
    """
    sources = read_plugin_sources(experiment.plugins)
    record_trained(sources)
    for name, source in sources.items():
        (directory / name).parent.mkdir(exist_ok=True)
        write_atomically(directory / name, source.encode())
    for name, original in zip(sources, experiment.plugins, strict=True):
        name_original((directory / name).resolve(), original)
    return dataclasses.replace(experiment, plugins=tuple((directory / name).resolve() for name in sources))


def write_config(directory: Path, experiment: Experiment) -> None:
    """Put the resolved config into the run directory, with paths that are relative to it."""
    text = format_yaml(resolve_for_run(experiment.place_in(directory)))
    write_atomically(directory / CONFIG, (RUN_REMARK + text).encode())
    sync_directory(directory.parent)


def append_environment(directory: Path, record: Mapping[str, Any]) -> None:
    """Add one process's record to environment.json, with the run directory's own place."""
    path = directory / ENVIRONMENT
    try:
        records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except ValueError:
        path.rename(path.with_suffix(".unreadable"))
        records = []
    records.append({**record, "directory": str(directory.resolve())})
    write_atomically(path, (json.dumps(records, indent=1) + "\n").encode())


@contextmanager
def record_end(directory: Path) -> Iterator[None]:
    """Add to this process's record in environment.json when and how its training ended; a killed one adds nothing."""
    start = time.perf_counter()
    try:
        yield
    except RunBusy:  # the newest record may be another process's
        raise
    except Exception as error:
        fault = error if isinstance(error, DltrainError) else DltrainError(f"{type(error).__name__}: {error}")
        _add_end(directory, start, {"exit_code": fault.exit_code, "message": fault.message})
        raise
    _add_end(directory, start, {"exit_code": 0, "message": None})


def _add_end(directory: Path, start: float, how: Mapping[str, Any]) -> None:
    path, seconds = directory / ENVIRONMENT, round(time.perf_counter() - start, 4)
    with suppress(OSError, ValueError, LookupError):  # a full disk, say: the outcome itself is what counts
        records = json.loads(path.read_text(encoding="utf-8"))
        records[-1]["ended"] = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "seconds": seconds, **how}
        write_atomically(path, (json.dumps(records, indent=1) + "\n").encode())


def link_best_and_last(directory: Path, checkpoints: Checkpoints) -> None:
    """Point `best` and `last` at what the manifests say."""
    everything = list(checkpoints)
    if everything:
        link_checkpoint(directory, "last", everything[-1])
        link_checkpoint(directory, "best", select_best(everything) or everything[-1])


def link_checkpoint(directory: Path, name: str, checkpoint: Checkpoint) -> None:
    """Point `directory/name` at a checkpoint, in one step. Where the file system has no links, there is none.

    Raises OSError where a link is there and cannot be replaced: people would take it for the newest or the best.
    """
    link, target = directory / name, Path("checkpoints") / checkpoint.name
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = name_temporary(link)
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
        if link.is_symlink():
            raise
