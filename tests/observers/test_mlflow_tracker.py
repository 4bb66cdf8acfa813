"""MLflow: each step once in a local store and on a server, and servers that refuse or never answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from dltrain.errors import Stopped
from support.runs import StopAt
from support.trackers import CONFIG, KILLS, list_points, read_weights, train, train_once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local store keeps artifacts in the working directory."""
    monkeypatch.chdir(tmp_path)


def read_points(uri: str, identity: str) -> list[tuple[str, int, float]]:
    """All numbers of a run, duplicates included."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    names = client.get_run(identity).data.metrics
    return sorted((name, each.step, each.value) for name in names for each in client.get_metric_history(identity, name))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """MLflow's own server on loopback; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/s.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def check_killed(uri: str, run: Path) -> None:
    from mlflow import MlflowClient

    observers = ["report", {"name": "mlflow", "uri": uri, "patience": 60}]
    assert train(run, observers, *(StopAt(each, kill=True) for each in KILLS)) == []
    identity = json.loads((run / "mlflow.json").read_text())["run_id"]
    assert read_points(uri, identity) == list_points(run)
    client = MlflowClient(tracking_uri=uri)
    found = client.get_run(identity)
    assert found.info.status == "FINISHED"
    assert found.data.params["data.table"] == "iris"
    assert found.data.tags["dltrain.end"] == "all 3 epochs done"
    assert [each.path for each in client.list_artifacts(identity)] == ["config.yaml", "plots"]


def test_a_local_store_has_each_step_once_after_kills(tmp_path: Path, store: str) -> None:
    check_killed(store, tmp_path / "run")
    train(tmp_path / "alone", [])
    assert read_weights(tmp_path / "run") == read_weights(tmp_path / "alone")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "alone" / "metrics.jsonl").read_bytes()


def test_a_server_has_each_step_once_after_kills(tmp_path: Path) -> None:
    with serve(tmp_path) as uri:
        check_killed(uri, tmp_path / "run")


def test_other_numbers_than_those_sent_make_a_new_run(tmp_path: Path, store: str) -> None:
    observers = [{"name": "mlflow", "uri": store, "patience": 60}]
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        train_once(run, observers, StopAt(9))
    first = json.loads((run / "mlflow.json").read_text())["run_id"]
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    assert client.get_run(first).info.status == "KILLED"
    client.log_metric(first, "training/loss", 99.0, step=12)
    assert train(run, observers) == []
    second = json.loads((run / "mlflow.json").read_text())["run_id"]
    assert second != first
    assert client.get_run(first).info.lifecycle_stage == "deleted"
    assert read_points(store, second) == list_points(run)


@pytest.mark.parametrize("answers", ["refuses", "never"])
def test_a_server_that_is_not_there_neither_stops_nor_delays_training(tmp_path: Path, answers: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers == "never":
            server.listen(50)  # connections are taken by the kernel, and nobody reads
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        config = tmp_path / "a.yaml"
        tracker = {"name": "mlflow", "uri": uri, "patience": 3}
        config.write_text(yaml.safe_dump({**CONFIG, "observers": ["times", tracker]}))
        words = [sys.executable, "-m", "dltrain", "fit", str(config), "-o", str(tmp_path / "run")]
        start = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ}, check=False)
        seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: observer 'mlflow'")]
    assert "rows were not sent" in warnings[-1]
    assert len(warnings) <= 2
    epochs: list[Any] = [json.loads(line) for line in (tmp_path / "run" / "times.jsonl").read_text().splitlines()]
    assert len(epochs) == 3
    assert seconds < 60
