"""Checkpoints: directories that are complete and undamaged, or are ignored. docs/run-directory.md shows their files.

A checkpoint is written under a temporary name on the same file system, every file is flushed to the disk, the
manifest last; then it is renamed and the parent directory flushed. There is no pickle: safetensors and JSON only.

Torch is imported only where tensors are read or written, so that a finished run is recognised at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dltrain.core.checkpoint_contents import check_manifest, check_state, parse_json
from dltrain.core.record import Record
from dltrain.errors import NoCheckpoint
from dltrain.files import find_free_directory, hash_file, sync_directory, write_synced
from dltrain.goal import FORMER_NAMES, LOSS, Goal, Ranked, get_current_name

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.core.state import TrainState

FORMAT = 1
WEIGHTS, OPTIMIZER, STATE, MANIFEST = "weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_NAME = re.compile(r"step-(\d{8,})(-mid)?")
_TEMPORARY = ".writing-"
_DAMAGED = "damaged-"
NONE_LEFT = "restore one from a backup, or start another run with `dltrain fit --fresh`"
"""What to do where all checkpoints of a run are damaged."""


Content = TypeVar("Content")


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a checkpoint's final name; `fault` says whether it is undamaged.

    `step` is that of its name; None for a name that has none, as of a copy elsewhere.
    """

    path: Path
    step: int | None
    evaluated: bool

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def fault(self) -> str | None:
        """What is wrong with it, naming the file; None if every byte is unchanged.

        Raises NoCheckpoint for an unreadable file or another version's format, which are no damage.
        """
        return self._find_fault()

    @cached_property
    def visible_fault(self) -> str | None:
        """As `fault`, but of the tensors' files only the sizes are compared: for lists of many runs."""
        return self._find_fault(hashed=(STATE,))

    def _find_fault(self, hashed: Collection[str] | None = None) -> str | None:
        if not (self.path / MANIFEST).is_file():
            return f"{MANIFEST}: missing"
        content = self._read(MANIFEST, Path.read_bytes)
        try:
            manifest = parse_json(content)
            unsealed = {key: value for key, value in manifest.items() if key != "sha256"}
            whole = content == _seal(unsealed)
        except (ValueError, AttributeError):
            whole = False
        if not whole:
            return f"{MANIFEST}: not as it was written (its own SHA-256 does not fit)"
        if manifest.get("format") != FORMAT:
            raise NoCheckpoint(
                f"{self.path}: written in format {manifest.get('format')}, and this dltrain reads format {FORMAT}",
                advice="use the version that wrote it",
            )
        if (wrong := check_manifest(manifest, (WEIGHTS, OPTIMIZER, STATE))) is not None:
            return f"{MANIFEST}: {wrong}"
        if self.step not in (None, manifest["step"]):
            return f"{MANIFEST}: its step is {manifest['step']}, the directory's {self.step}"
        for name, facts in manifest["files"].items():
            path = self.path / name
            if not path.is_file():
                return f"{name}: missing"
            if path.stat().st_size != facts["size"]:
                return f"{name}: {path.stat().st_size} bytes, written with {facts['size']}"
            if (hashed is None or name in hashed) and self._read(name, hash_file) != facts["sha256"]:
                return f"{name}: not as it was written (its SHA-256 does not fit)"
        return self._find_wrong_state(manifest)

    def _find_wrong_state(self, manifest: Mapping[str, Any]) -> str | None:
        try:
            wrong = check_state(parse_json(self._read(STATE, Path.read_bytes)), manifest["step"])
        except ValueError as error:
            wrong = f"is no JSON ({error})"
        return None if wrong is None else f"{STATE}: {wrong}"

    def read_record(self) -> Record:
        """The record without reading the tensors: for lists of many runs. Raises ValueError where it is damaged."""
        return Record.from_plain(parse_json(self._read(STATE, Path.read_bytes))["record"])

    def _read(self, name: str, read: Callable[[Path], Content]) -> Content:
        try:
            return read(self.path / name)
        except PermissionError:
            raise NoCheckpoint(f"{self.path / name}: may not be read", advice="change its permissions") from None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads(self._read(MANIFEST, Path.read_bytes)))

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """All files, read once and compared with the manifest's hashes: what is used is what was checked.

        Raises FileNotFoundError where another process has just deleted it, and NoCheckpoint where it is damaged.
        """
        contents = {name: self._read(name, Path.read_bytes) for name in self.manifest["files"]}
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
                raise NoCheckpoint(f"{self.path}: damaged: {name}: not as it was written (its SHA-256 does not fit)")
        return contents

    @cached_property
    def _plain(self) -> dict[str, Any]:
        return dict(json.loads(self.contents[STATE]))

    @cached_property
    def record(self) -> Record:
        """What the run wrote beside the state."""
        return Record.from_plain(self._plain["record"])

    @property
    def described(self) -> dict[str, Any] | None:
        """What is beside an exported file; None for a checkpoint."""
        return None

    @property
    def goal(self) -> Goal:
        metric = self.manifest["metric"]
        if metric in FORMER_NAMES:
            metric = get_current_name(metric, self.record.history.metrics())
        return Goal(metric, self.manifest["direction"])

    @property
    def score(self) -> float | None:
        """The validation score at the end of its epoch; None within one, without validation, or if unreadable."""
        try:
            score: float | None = self.manifest["score"]
        except (OSError, ValueError, KeyError, NoCheckpoint):
            return None
        return score

    @property
    def ranked(self) -> Ranked:
        """Its score and its loss. Manifests of earlier versions have no loss; the record's history does."""
        score = self.score
        if score is None:
            return Ranked(None)
        if LOSS in self.manifest:
            return Ranked(score, self.manifest[LOSS])
        try:
            return Ranked(score, self.record.history[-1].get(LOSS))
        except (OSError, ValueError, KeyError, LookupError, NoCheckpoint):
            return Ranked(score)

    def weights(self) -> dict[str, Tensor]:
        """The tensors that are evaluated, by name. Raises NoCheckpoint where the file holds none."""
        from safetensors.torch import load

        with explain_contents(self.path, WEIGHTS):
            return load(self.contents[WEIGHTS])

    def restore(self, state: TrainState) -> None:
        """Put the saved state into `state`, bit for bit. Raises NoCheckpoint where it does not belong there."""
        from safetensors.torch import load

        from dltrain.tree import join

        weights = self.weights()
        with explain_contents(self.path, f"{STATE} or {OPTIMIZER}"):
            state.restore(weights, join(self._plain["state"], load(self.contents[OPTIMIZER])))
        del self.__dict__["contents"]  # as large as the state itself: not to be kept while training


@contextmanager
def explain_contents(path: Path, file: str) -> Iterator[None]:
    """Turn the errors of reading what no training has written into NoCheckpoint."""
    try:
        yield
    except (NoCheckpoint, FileNotFoundError):
        raise
    except Exception as error:  # whatever a forged file leads to: it is never a fault of the program that reads it
        line = str(error).partition("\n")[0][:200]
        raise NoCheckpoint(
            f"{path}: damaged: {file}: not what a training has written ({type(error).__name__}: {line})",
            advice="use another checkpoint of its run",
        ) from error


def _seal(manifest: dict[str, Any]) -> bytes:
    """The manifest's exact bytes, its own SHA-256 within: any changed bit shows."""
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return (json.dumps({**manifest, "sha256": digest}, indent=1) + "\n").encode()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, oldest first. Order and rank come from their manifests, never from file times."""

    directory: Path

    def __iter__(self) -> Iterator[Checkpoint]:
        found = []
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                match = _NAME.fullmatch(path.name)
                if match and path.is_dir():
                    found.append(Checkpoint(path, int(match[1]), evaluated=match[2] is None))
        return iter(sorted(found, key=lambda checkpoint: (checkpoint.step or 0, checkpoint.evaluated)))

    @staticmethod
    def alone(path: Path) -> Checkpoint:
        """A checkpoint by its own path, which may be a copy with another name."""
        match = _NAME.fullmatch(path.name)
        return Checkpoint(path, int(match[1]) if match else None, evaluated=match is None or match[2] is None)

    def sound(self) -> list[Checkpoint]:
        return [checkpoint for checkpoint in self if checkpoint.fault is None]

    def damaged(self) -> list[Checkpoint]:
        return [checkpoint for checkpoint in self if checkpoint.fault is not None]

    def last(self) -> Checkpoint | None:
        return next(iter(reversed(self.sound())), None)

    def best(self) -> Checkpoint | None:
        """The one with the best validation score; the last where none has a score."""
        return select_best(self.sound()) or self.last()

    def aside(self) -> list[Path]:
        """The damaged ones that were renamed."""
        return sorted(self.directory.glob(f"{_DAMAGED}*"))

    def named(self, name: str) -> Checkpoint:
        """`best`, `last` or a checkpoint's directory name. Raises NoCheckpoint, listing those available."""
        chosen = {"best": self.best, "last": self.last}.get(name)
        checkpoint = chosen() if chosen else next((one for one in self if one.name == name), None)
        if checkpoint is None:
            there = [f"\n  {one.name}{': damaged, ' + one.fault if one.fault else ''}" for one in self]
            there += [f"\n  {path.name}: damaged, set aside" for path in self.aside()]
            raise NoCheckpoint(
                f"{self.directory}: no checkpoint '{name}' that can be used\navailable:{''.join(there) or ' none'}",
                advice=self._advice("name one of these with --checkpoint"),
            )
        if checkpoint.fault:
            advice = self._advice("use --checkpoint best or last, which pass over it")
            raise NoCheckpoint(f"{checkpoint.path}: damaged: {checkpoint.fault}", advice=advice)
        return checkpoint

    def _advice(self, otherwise: str) -> str:
        """What to do where a checkpoint cannot be used: `otherwise`, if there is one that can."""
        if self.sound():
            return otherwise
        if self.damaged() or self.aside():
            return NONE_LEFT
        return "run `dltrain fit` again: it has saved none yet"

    def set_aside_damaged(self) -> list[str]:
        """Rename damaged checkpoints, so that their names are free and they are kept; what was wrong with each."""
        reports = []
        for checkpoint in self.damaged():
            aside = find_free_directory(self.directory / f"{_DAMAGED}{checkpoint.name}")
            reports.append(f"{checkpoint.path}: damaged, set aside as {aside.name}: {checkpoint.fault}")
            checkpoint.path.rename(aside)
        return reports

    def remove_unfinished(self) -> None:
        """Delete what a killed process left under a temporary name."""
        for path in self.directory.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True)

    def write(self, state: TrainState, record: Record, goal: Goal, evaluated: bool) -> Checkpoint:
        """Save `state` and `record` under the step's name. An OSError, such as a full disk, leaves nothing behind."""
        from safetensors.torch import save

        from dltrain.tree import make_storable, split

        name = f"step-{state.step:08d}" + ("" if evaluated else "-mid")
        temporary = self.directory / f"{_TEMPORARY}{name}-{os.getpid()}"
        written = Checkpoint(self.directory / name, state.step, evaluated)
        if written.path.exists():  # stopped twice at one border: the state of a step is always the same
            return written
        tensors: dict[str, Tensor] = {}
        plain = {"state": split(state.tree(), tensors), "record": record.to_plain()}  # fills `tensors`
        contents = {
            WEIGHTS: save(make_storable(dict(state.evaluated_model.state_dict()))),
            OPTIMIZER: save(make_storable(tensors)),
            STATE: json.dumps(plain).encode(),
        }
        manifest = {
            "format": FORMAT,
            "step": state.step,
            "epoch": state.epoch,
            "score": state.history[-1].get(goal.metric) if evaluated else None,
            LOSS: state.history[-1].get(LOSS) if evaluated else None,
            "metric": goal.metric,
            "direction": goal.direction,
            "dataset": record.dataset,
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
                for name, content in contents.items()
            },
        }
        if not self.directory.exists():
            self.directory.mkdir()
            sync_directory(self.directory.parent)
        try:
            temporary.mkdir()
            for file, content in contents.items():
                write_synced(temporary / file, content)
            write_synced(temporary / MANIFEST, _seal(manifest))
            sync_directory(temporary)
            temporary.rename(written.path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(self.directory)
        return written

    def prune(self, keep_last: int, keep_best: int = 1) -> None:
        """Delete all but the newest `keep_last` and the best `keep_best`."""
        everything = list(self)  # written by this process, so not hashed again
        kept = {one.path for one in (*everything[-keep_last:], *rank_checkpoints(everything)[:keep_best])}
        for checkpoint in everything:
            if checkpoint.path not in kept:
                # Renamed first: half a checkpoint must not bear a checkpoint's name.
                doomed = checkpoint.path.with_name(f"{_TEMPORARY}{checkpoint.name}-doomed")
                checkpoint.path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def select_best(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The best one; None where none has a score."""
    return next(iter(rank_checkpoints(checkpoints)), None)


def rank_checkpoints(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those that have a score, the best first: equal scores by their loss, then by time."""
    scored = [checkpoint for checkpoint in checkpoints if checkpoint.score is not None]
    ranking = scored[0].goal.rank([checkpoint.ranked for checkpoint in scored]) if scored else []
    return [scored[index] for index in ranking]
