"""Weights & Biases: a run in offline files, or on its servers."""

from __future__ import annotations

import json
import shutil
from netrc import NetrcParseError, netrc
from os import environ
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

from dltrain.errors import UsageError
from dltrain.events import Observer, WatchedRun
from dltrain.files import write_atomically
from dltrain.observers.tracking import BackgroundTracking, Row, TrainingEnd, list_pictures
from dltrain.options import PositiveFloat
from dltrain.registry import observers

IDENTITY = "wandb.json"


@observers.register("wandb", needs="wandb")
def follow_with_wandb(
    run: WatchedRun,
    *,
    mode: Literal["offline", "online"] = "offline",
    project: str = "dltrain",
    entity: str | None = None,
    run_name: str | None = None,
    patience: PositiveFloat = 30.0,
) -> Observer:
    """Scalars, settings, pictures and state as a run of Weights & Biases.

    A resumed run writes its offline files again, if they have not been synced.

    Options:
        mode: offline (files in the run directory, which `wandb sync` sends later) or online; online needs an account.
        project: the project that the run belongs to.
        entity: the user or team that the project belongs to; null for the default one.
        run_name: the run's name; null for the name of the run directory.
        patience: seconds that the end of training waits for what has not been sent.
    """
    if mode == "online" and not has_key():
        raise UsageError(
            "observers: 'wandb' in mode online needs an API key, and there is none",
            advice="run 'wandb login', or set WANDB_API_KEY, or choose mode: offline",
        )
    name = run_name or run.directory.resolve().name
    about = {"mode": mode, "project": project, "entity": entity, "name": name}
    return BackgroundTracking("wandb", WandbRun(run, about), run, patience=patience)


def has_key() -> bool:
    """Whether there is an API key; without one wandb would ask for it in the middle of training."""
    if environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


class WandbRun:
    """The tracker that follows one run of Weights & Biases, whose id is in wandb.json in the run directory."""

    interval = 1.0

    def __init__(self, run: WatchedRun, about: dict[str, Any]) -> None:
        self._run, self._about = run, about
        self._identity = run.directory / IDENTITY
        self._active: Any = None
        self._first = self._step = 0

    def open(self) -> None:
        import wandb

        if self._active is not None:
            self._active.finish(exit_code=1)
            self._active = None
        offline, identity = self._about["mode"] == "offline", self._choose_identity()
        self._active = wandb.init(
            **self._about,
            id=identity,
            dir=self._run.directory,
            config=dict(self._run.config),
            resume=None if offline else "allow",
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )
        self._first = 0 if offline else self._active.step

    def _choose_identity(self) -> str:
        """The id of the earlier process's run, whose offline files are removed; a new one if they were synced."""
        if self._identity.exists():
            known: str = json.loads(self._identity.read_text(encoding="utf-8"))["id"]
            if self._about["mode"] == "online":
                return known
            earlier = list((self._run.directory / "wandb").glob(f"offline-run-*-{known}"))
            if not any(list(folder.glob("*.synced")) for folder in earlier):
                for folder in earlier:
                    shutil.rmtree(folder)
                return known
        made = uuid4().hex[:8]
        write_atomically(self._identity, (json.dumps({"id": made}) + "\n").encode())
        return made

    def write(self, rows: list[Row]) -> None:
        """Add rows; on its servers a step that has been sent cannot be changed, and is left out."""
        for row in rows:
            if row.step >= self._first:
                self._active.log({**row.values, "epoch": row.epoch}, step=row.step)
            self._step = row.step

    def close(self, end: TrainingEnd) -> None:
        import wandb

        pictures = {f"plots/{path.stem}": wandb.Image(str(path)) for path in list_pictures(self._run.directory)}
        if pictures:
            self._active.log(pictures, step=max(self._step, self._first))
        self._active.summary["end"] = f"{end.state}: {end.why}"
        self._active.finish(exit_code=0 if end.state == "finished" else 1)
