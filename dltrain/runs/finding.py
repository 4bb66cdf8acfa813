"""The checkpoint or the config that a path given by the user refers to."""

from __future__ import annotations

from pathlib import Path

from dltrain.config.shipped import find_shipped
from dltrain.config.source_files import STANDARD_INPUT
from dltrain.core.checkpoint import MANIFEST, Checkpoint, Checkpoints
from dltrain.errors import NoCheckpoint, UsageError
from dltrain.export.weights import SUFFIX, ExportedWeights
from dltrain.runs.directory import CONFIG

RUNS = Path("runs")
"""Where `fit` puts runs that are not given a directory."""
YAML = (".yaml", ".yml")
READING_TRIES = 20


def find_config(config: Path) -> tuple[Path, str]:
    """The config, given itself, by its run directory or as the name of a shipped one, and the name for runs of it."""
    if str(config) == STANDARD_INPUT:
        return config, "stdin"
    if (config / CONFIG).is_file():
        return config / CONFIG, config.resolve().name
    return config, config.stem


def find_run(path: Path) -> Path:
    """The run that `path` means: itself, the run of a config, or the one called so in `runs`.

    Raises NoCheckpoint for a config that has not been trained.
    """
    shipped = find_shipped(str(path))
    is_config = path.suffix in YAML and (path.is_file() or shipped is not None)
    trained = RUNS / path.stem if is_config or shipped is not None else RUNS / path
    if path.is_dir() or not (is_config or shipped is not None or str(path) == path.name):
        return path
    if (trained / "checkpoints").is_dir():
        return trained
    if is_config or shipped is not None:
        raise NoCheckpoint(
            f"{path}: this is a config, and there is no run of it in {trained}",
            advice=f"train it with `dltrain fit {path}`, or name the run's directory",
        )
    return path


def find_checkpoint(path: Path, name: str | None = None) -> Checkpoint:
    """The checkpoint that `path` means, read and verified: `name` of a run directory (the best), or `path` itself.

    A file of weights that `dltrain export` wrote is one too. Raises NoCheckpoint, naming runs nearby, and UsageError
    for a name together with a checkpoint's own path.
    """
    if (path / MANIFEST).exists():
        if name is not None:
            raise UsageError(f"{path}: is one checkpoint itself; leave out --checkpoint {name}")
        alone = Checkpoints.alone(path.resolve())
        if alone.fault:
            raise NoCheckpoint(f"{path}: damaged: {alone.fault}", advice="use another checkpoint of its run")
        return alone
    if path.suffix == SUFFIX and path.is_file():
        if name is not None:
            raise UsageError(f"{path}: is one file of weights; leave out --checkpoint {name}")
        return ExportedWeights(path)
    if not (path / "checkpoints").is_dir():
        inside = path.is_dir() and not (path / CONFIG).exists() and any(path.glob("*/config.yaml"))
        folder = path if inside else path.parent
        near = sorted(str(one.parent) for one in folder.glob("*/config.yaml")) if folder.is_dir() else []
        there = "".join(f"\n  {one}" for one in near)
        raise NoCheckpoint(
            f"{path}: no run directory with checkpoints\nruns {'in' if inside else 'beside'} it:{there or ' none'}",
            advice="name a run directory, or train one with `dltrain fit CONFIG`",
        )
    for _ in range(READING_TRIES):
        try:
            checkpoint = Checkpoints(path / "checkpoints").named(name or "best")
            _ = checkpoint.contents
        except FileNotFoundError:  # training continues here and has just deleted the chosen one: look again
            continue
        return checkpoint
    raise NoCheckpoint(f"{path}: its checkpoints change faster than they can be read", advice="try again later")
