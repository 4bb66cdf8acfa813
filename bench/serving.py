"""Requests per second of `dltrain serve`, compared with a process of `dltrain predict` for each request.

    python -m bench.serving

Two models: rows of a table, sent as JSON, and digits, sent as PNG files. Clients are threads of this process with one
connection each, on loopback, so that they share the machine with the server. Every answer is compared with that of
`predict`.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENTS, REQUESTS, PROCESSES, GOAL = 32, 4000, 5, 10
BOUNDARY = "boundary-of-the-parts"


def dltrain(*words: object) -> str:
    command = [sys.executable, "-m", "dltrain", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def ask(port: int, body: bytes, kind: str, *, count: int, times: list[float], answers: list[str]) -> None:
    """Send a request `count` times, one after the other, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(count):
        start = time.perf_counter()
        connection.request("POST", "/predict", body, {"Content-Type": kind})
        response = connection.getresponse()
        content = response.read()
        times.append(time.perf_counter() - start)
        assert response.status == 200, content
        answers.append(json.loads(content)["predictions"][0]["labels"][0]["label"])
    connection.close()


def measure_server(run: Path, body: bytes, kind: str) -> tuple[float, list[float], set[str]]:
    """Requests per second, the seconds of each, and the labels answered."""
    words = [sys.executable, "-m", "dltrain", "serve", str(run), "--port", "0", "--quiet"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        times: list[float] = []
        answers: list[str] = []
        ask(port, body, kind, count=20, times=[], answers=[])
        share = {"count": REQUESTS // CLIENTS, "times": times, "answers": answers}
        threads = [threading.Thread(target=ask, args=(port, body, kind), kwargs=share) for _ in range(CLIENTS)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        process.terminate()
        assert process.wait(60) == 0
    assert len(answers) == REQUESTS
    return REQUESTS / seconds, sorted(times), set(answers)


def measure_processes(run: Path, given: str) -> tuple[float, set[str]]:
    """The median seconds of a process for one input, and the labels printed."""
    times, labels = [], set()
    for _ in range(PROCESSES):
        start = time.perf_counter()
        labels.add(json.loads(dltrain("predict", run, given, "--json"))["labels"][0]["label"])
        times.append(time.perf_counter() - start)
    return statistics.median(times), labels


def main() -> int:
    met = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dltrain("fit", "iris_dense", "--epochs", 5, "--device", "cpu", "-q", "-o", folder / "rows")
        dltrain("fit", "mnist_cnn", "--sample", "--epochs", 1, "--device", "cpu", "-q", "-o", folder / "digits")
        row = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}
        digit = ROOT / "tests" / "compatibility" / "format_1" / "digit.png"
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="digit.png"\r\n\r\n'
        form = head.encode() + digit.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
        for run, body, kind, given in (
            (
                "rows",
                json.dumps({"inputs": [row]}).encode(),
                "application/json",
                ",".join(f"{k}={v}" for k, v in row.items()),
            ),
            ("digits", form, f"multipart/form-data; boundary={BOUNDARY}", str(digit)),
        ):
            alone, expected = measure_processes(folder / run, given)
            speed, times, answered = measure_server(folder / run, body, kind)
            assert answered == expected, (answered, expected)
            middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
            print(
                f"{run:<7} serve {speed:7.1f} requests a second, {CLIENTS} clients: median {middle * 1000:.0f} ms, "
                f"99th percentile {late * 1000:.0f} ms; predict {alone:.2f} s a process"
            )
            ratio = speed * alone
            met &= ratio >= GOAL
            print(f"goal: >= {GOAL} x a process per request: {'met' if ratio >= GOAL else 'MISSED'} ({ratio:.0f})")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
