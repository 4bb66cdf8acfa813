"""`dltrain serve` as a process: it finishes what it has accepted, and exits with 0."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dltrain.errors import UsageError
from support.commands import call, good

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

BODY = {"inputs": [[5.1, 3.5, 1.4, 0.2]]}


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("iris") / "run"
    good("fit", "iris_dense", "--epochs", 1, "-o", run)
    return run


@contextmanager
def serving(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    words = [sys.executable, "-m", "dltrain", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"serving {run} at http://127.0.0.1:"), line
            yield process, line.split()[-1]
        finally:
            process.kill()


def test_no_accepted_request_is_lost_on_sigterm(iris: Path) -> None:
    """Clients send one request after the other until they are refused: each one is answered, with 200 or 503."""
    outcomes: Counter[int | str] = Counter()
    started = threading.Barrier(9)

    def ask_until_refused(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for number in range(5000):
                answer = client.post("/predict", json=BODY)
                outcomes[answer.status_code] += 1
                if number == 0:
                    started.wait(60)
                if answer.status_code != 200:
                    outcomes[answer.headers["connection"]] += 1
                    return

    with serving(iris, "--quiet") as (process, url):
        threads = [threading.Thread(target=ask_until_refused, args=[url]) for _ in range(8)]
        for thread in threads:
            thread.start()
        started.wait(60)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert process.wait(60) == 0
        assert outcomes[503] == outcomes["close"] == 8
        assert outcomes[200] >= 8
        assert set(outcomes) == {200, 503, "close"}
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_a_request_that_is_being_sent_is_finished(iris: Path) -> None:
    with serving(iris, "--json-logs") as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client:
            body = b'{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
            head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body[:10])
            assert httpx.get(f"{url}/health").status_code == 200  # the other connection was read before this one
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            client.sendall(body[10:])
            received = b""
            while part := client.recv(4096):
                received += part
        assert received.startswith(b"HTTP/1.1 200")
        assert b"setosa" in received or b"versicolor" in received or b"virginica" in received
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert '"path": "/predict", "status": 200' in process.stderr.read()


def test_ctrl_c_stops_it_too(iris: Path) -> None:
    with serving(iris) as (process, url):
        assert httpx.get(url).json()["task"] == "tabular_classification"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_port_in_use_is_reported_at_once(iris: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = call("serve", iris, "--port", other.getsockname()[1])
    assert isinstance(result.exception, UsageError)
    assert "another program listens there" in str(result.exception)
