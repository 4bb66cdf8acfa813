"""MLflow: a run in a local store or on a tracking server."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any

from dltrain.events import Observer, WatchedRun
from dltrain.files import write_atomically
from dltrain.observers.tracking import BackgroundTracking, Row, StartAgain, TrainingEnd, flatten_settings, list_pictures
from dltrain.options import PositiveFloat
from dltrain.registry import observers

if TYPE_CHECKING:
    from mlflow import MlflowClient

IDENTITY = "mlflow.json"
PARAMS_AT_ONCE, LONGEST_PARAM = 100, 500
NETWORK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""How long MLflow's client waits for an answer; its own defaults add up to many minutes."""
STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@observers.register("mlflow", needs="mlflow")
def follow_with_mlflow(
    run: WatchedRun,
    *,
    uri: str | None = None,
    experiment: str = "dltrain",
    run_name: str | None = None,
    patience: PositiveFloat = 30.0,
) -> Observer:
    """Scalars, settings, pictures and state as a run of MLflow, in a local store or on a server.

    A resumed run continues its run of MLflow, and sends what is missing there.

    Options:
        uri: where runs are kept, such as http://127.0.0.1:5000 or sqlite:///mlflow.db; null for MLFLOW_TRACKING_URI, or
            MLflow's own default. Give a password in MLFLOW_TRACKING_PASSWORD, not here: the run keeps its config.
        experiment: the experiment of MLflow that the run belongs to; made if it is missing.
        run_name: the run's name; null for the name of the run directory.
        patience: seconds that the end of training waits for what has not been sent.
    """
    name = run_name or run.directory.resolve().name
    return BackgroundTracking("mlflow", MlflowRun(run, uri, experiment, name), run, patience=patience)


class MlflowRun:
    """The tracker that follows one run of MLflow, whose id is in mlflow.json in the run directory.

    MLflow cannot take a number back. A run that continues computes the same numbers again, so those that were sent
    before are not sent again; where they differ, after `--inexact`, the old run of MLflow is deleted and made new.
    """

    interval = 1.0

    def __init__(self, run: WatchedRun, uri: str | None, experiment: str, name: str) -> None:
        self._run, self._uri, self._experiment, self._name = run, uri, experiment, name
        self._identity = run.directory / IDENTITY
        self._id = ""
        self._there: dict[str, dict[int, float]] = {}
        self._made: MlflowClient | None = None

    @property
    def _client(self) -> Any:
        """The client, whose methods have no types."""
        return self._made

    def open(self) -> None:
        for name, value in NETWORK.items():
            os.environ.setdefault(name, value)
        import mlflow

        for package in ("mlflow", "alembic"):
            logging.getLogger(package).setLevel(logging.WARNING)
        uri = self._uri or mlflow.get_tracking_uri()
        self._made = mlflow.MlflowClient(tracking_uri=uri)
        self._id = self._find_run(uri) or self._make_run(uri)
        self._client.update_run(self._id, status="RUNNING")
        names = self._client.get_run(self._id).data.metrics
        self._there = {
            name: {each.step: each.value for each in self._client.get_metric_history(self._id, name)} for name in names
        }

    def _find_run(self, uri: str) -> str | None:
        """The id of the run that an earlier process made there, unless it was deleted."""
        if not self._identity.exists():
            return None
        known = json.loads(self._identity.read_text(encoding="utf-8"))
        if known["uri"] != uri:
            return None
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(known["run_id"])
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return known["run_id"] if found.info.lifecycle_stage == "active" else None

    def _make_run(self, uri: str) -> str:
        from mlflow.entities import Param

        client = self._client
        experiment = client.get_experiment_by_name(self._experiment)
        number = client.create_experiment(self._experiment) if experiment is None else experiment.experiment_id
        tags = {"dltrain.directory": str(self._run.directory.resolve()), "dltrain.dataset": self._run.dataset}
        made: str = client.create_run(number, run_name=self._name, tags=tags).info.run_id
        settings = flatten_settings(self._run.config)
        params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in settings.items()]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            client.log_batch(made, params=params[start : start + PARAMS_AT_ONCE])
        write_atomically(self._identity, (json.dumps({"uri": uri, "run_id": made}) + "\n").encode())
        return made

    def write(self, rows: list[Row]) -> None:
        from mlflow.entities import Metric

        now, new = int(1000 * time.time()), []
        for row in rows:
            epoch = {"epoch": row.epoch} if row.kind == "epoch" else {}
            for name, value in {**row.values, **epoch}.items():
                there = self._there.setdefault(name, {}).get(row.step)
                if there is None:
                    new.append(Metric(name, value, now, row.step))
                elif not math.isclose(there, value, rel_tol=1e-9):
                    self._client.delete_run(self._id)
                    raise StartAgain
        for start in range(0, len(new), 1000):
            self._client.log_batch(self._id, metrics=new[start : start + 1000])
        for metric in new:
            self._there[metric.key][metric.step] = metric.value

    def close(self, end: TrainingEnd) -> None:
        config = self._run.directory / "config.yaml"
        for path in (config, *list_pictures(self._run.directory)):
            self._client.log_artifact(self._id, str(path), None if path == config else "plots")
        self._client.set_tag(self._id, "dltrain.end", end.why)
        self._client.set_terminated(self._id, STATES[end.state])
