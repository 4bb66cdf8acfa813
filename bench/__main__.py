"""`make bench`: compares dltrain with bare loops and other tools, in one run on one machine.

    python -m bench                    # everything
    python -m bench epoch startup      # some of it
    THREADS=1 python -m bench language # on one core (text only)

Goals are ratios within the run, or start-up times; the exit code is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.kills import CONFIGS
from bench.language_loop import COLUMNS, LAYERS, STEPS, write_text
from bench.speech_loop import config as speech_config

HERE = Path(__file__).parent
DATA = Path(os.environ.get("DLTRAIN_DATA", "data")).resolve()
ROUNDS, EPOCHS = 4, 3
THREADS = os.environ.get("THREADS", "2")
CLOSE = ("fastest bare loop", "dltrain fit")
"""Contestants that take part in every round, since their ratio is a goal; others run in the first only."""


def python(*words: str, folder: Path = HERE.parent) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


def dltrain_epochs() -> list[float]:
    """Seconds per epoch of `dltrain fit`: training, validation, log and checkpoint, from its own times.jsonl."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        config = HERE.parent / "configs" / "mnist_cnn.yaml"
        values = [f"data.root={DATA}", f"trainer.epochs={EPOCHS}", "trainer.device=cpu", "data.when_missing=error"]
        overrides = [word for value in values for word in ("--set", value)]
        python("-m", "dltrain", "fit", str(config), "-o", str(run), *overrides)
        return [json.loads(line)["seconds"] for line in (run / "times.jsonl").read_text().splitlines()]


def bare_epochs(loop: str) -> list[float]:
    words = ("-m", "bench.mnist_loop", loop, "--epochs", str(EPOCHS), "--data", str(DATA))
    return [json.loads(line)["seconds"] for line in python(*words).splitlines()]


def tool_epochs(tool: str) -> list[float]:
    words = ("-m", "bench.competitors", tool, "--epochs", str(EPOCHS), "--data", str(DATA))
    try:
        seconds: list[float] = json.loads(python(*words).splitlines()[-1])["seconds"]
    except SystemExit as failed:
        print(f"epoch: {tool} failed and is left out: {str(failed).splitlines()[-1]}")
        return []
    return seconds


def epoch() -> bool:
    """Time an epoch of MNIST's CNN; contestants take turns, so that a slow minute of the machine affects them all."""
    if not (DATA / "MNIST").is_dir():
        print(f"epoch: skipped, no MNIST in {DATA} (set DLTRAIN_DATA)")
        return True
    contestants: dict[str, Callable[[], list[float]]] = {
        "fastest bare loop": lambda: bare_epochs("fastest"),
        "dltrain fit": dltrain_epochs,
        "plain bare loop": lambda: bare_epochs("plain"),
    }
    for tool in ("lightning", "skorch", "keras"):
        if importlib.util.find_spec(tool):
            contestants[tool] = lambda tool=tool: tool_epochs(tool)
        else:
            print(f"epoch: {tool} is not installed and left out")
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, run in contestants.items():
            if number == 0 or name in CLOSE:
                times[name] += run()[1:]  # the first epoch pays for warming up, in all of them
    apart = python("-m", "bench.mnist_loop", "agreement", "--data", str(DATA)).strip()
    print(f"gradients of the fastest loop against the plain one's: {apart} apart, relative to their length")
    times = {name: seconds for name, seconds in times.items() if seconds}
    reference = statistics.median(times["fastest bare loop"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"{name:<20} median {middle:6.2f} s an epoch  fastest {min(seconds):6.2f} s  x {middle / reference:.2f}")
    ratio = statistics.median(times["dltrain fit"]) / reference
    others = [statistics.median(times[name]) for name in times if name not in CLOSE]
    met = ratio <= 1.05 and statistics.median(times["dltrain fit"]) < min(others)
    verdict = "met" if met else "MISSED"
    print(f"goal: dltrain <= 1.05 x the fastest bare loop, and ahead of the others: {verdict} ({ratio:.3f})")
    return met


def wall(*words: str, **environment: str) -> float:
    start = time.perf_counter()
    subprocess.run(words, cwd=HERE.parent, capture_output=True, check=True, env={**os.environ, **environment})
    return time.perf_counter() - start


def startup() -> bool:
    """Time commands that need no torch, and the way to the first training step."""
    config = str(HERE.parent / "configs" / "mnist_cnn.yaml")
    met = True
    script = str(Path(sys.executable).parent / "dltrain")
    for name, words, environment in (
        ("dltrain --help", [script, "--help"], {}),
        ("dltrain config check", [script, "config", "check", config], {}),
    ):
        wall(*words, **environment)
        middle = statistics.median(wall(*words, **environment) for _ in range(9))
        met &= middle <= 0.30
        print(f"{name:<22} {middle:.3f} s (goal <= 0.30)")
    first = statistics.median(first_step() for _ in range(5))
    imported = statistics.median(wall(sys.executable, "-c", "import torch") for _ in range(5))
    met &= first <= imported + 1
    print(f"first training step    {first:.2f} s; import torch alone {imported:.2f} s (goal <= that + 1)")
    return met


COMPLETED = {
    "commands": "dltrain ",
    "options": "dltrain fit mnist_cnn --",
    "configs": "dltrain fit mn",
    "option paths": "dltrain fit mnist_mlp --set model.",
    "values": "dltrain fit mnist_cnn --set optimizer=",
    "names": "dltrain describe model ",
    "runs": "dltrain eval ",
}


def complete() -> bool:
    """Time what a shell waits for at Tab, in a folder with a hundred runs; Python's own start is a part of it."""
    met = True
    command = [sys.executable, "-m", "dltrain"]
    with tempfile.TemporaryDirectory() as name:
        for number in range(100):
            (Path(name) / "runs" / f"run-{number}" / "checkpoints").mkdir(parents=True)

        def once(*words: str) -> float:
            environment = {**os.environ, "_DLTRAIN_COMPLETE": "bash", "PYTHONPATH": str(HERE.parent)}
            start = time.perf_counter()
            subprocess.run(words, cwd=name, env=environment, capture_output=True, check=True)
            return time.perf_counter() - start

        print(
            f"{'python -c pass':<22} {statistics.median(once(sys.executable, '-c', 'pass') for _ in range(21)):.3f} s"
        )
        for what, line in COMPLETED.items():
            once(*command, line)
            times = sorted(once(*command, line) for _ in range(21))
            met &= times[10] <= 0.15
            print(f"{what:<22} {times[10]:.3f} s, slowest of 21 {times[-1]:.3f} s (goal: median <= 0.15)")
    return met


def first_step() -> float:
    """Seconds from process start to the end of the first update, by the log's own clock."""
    config = str(HERE.parent / "configs" / "mnist_cnn.yaml")
    source = f"data.root={DATA}" if (DATA / "MNIST").is_dir() else "data.sample=true"
    with tempfile.TemporaryDirectory() as name:
        words = ["fit", config, "--json-logs", "-o", f"{name}/run"]
        words += ["--set", source, "--set", "trainer.log_every_steps=1"]
        start = time.time()
        with subprocess.Popen([sys.executable, "-m", "dltrain", *words], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                event = json.loads(line)
                if event["event"] == "Logged":
                    process.kill()
                    return float(event["time"]) - start
    raise SystemExit("no first step was logged")


def generation() -> bool:
    """Measure tokens per second of generation; see bench/generation.py."""
    return subprocess.run([sys.executable, "-m", "bench.generation"], cwd=HERE.parent, check=False).returncode == 0


def kills() -> bool:
    """Kill each kind of run 50 times at random moments; see bench/kills.py."""
    codes = [
        subprocess.run([sys.executable, "-m", "bench.kills", config], cwd=HERE.parent, check=False).returncode
        for config in CONFIGS
    ]
    return not any(codes)


def serving() -> bool:
    """Measure requests per second of a server; see bench/serving.py."""
    return subprocess.run([sys.executable, "-m", "bench.serving"], cwd=HERE.parent, check=False).returncode == 0


def tracking() -> bool:
    """Measure what experiment trackers cost; see bench/tracking.py."""
    return subprocess.run([sys.executable, "-m", "bench.tracking"], cwd=HERE.parent, check=False).returncode == 0


def language() -> bool:
    """Time training on text and a bare loop, at two sizes; contestants take turns, and first epochs do not count."""
    met = True
    with tempfile.TemporaryDirectory() as name:
        text = Path(name) / "text.txt"
        write_text(text, 2_000)
        for units, rounds in ((200, 4), (650, 2)):
            times: dict[str, list[float]] = {"bare loop": [], "dltrain fit": []}
            for _ in range(rounds):
                words = (
                    "-m",
                    "bench.language_loop",
                    str(text),
                    "--units",
                    str(units),
                    "--epochs",
                    "3",
                    "--threads",
                    THREADS,
                )
                times["bare loop"] += [json.loads(line)["seconds"] for line in python(*words).splitlines()][1:]
                times["dltrain fit"] += language_epochs(text, units)[1:]
            for contestant, seconds in times.items():
                middle, least = statistics.median(seconds), min(seconds)
                print(f"{units} units, {contestant:<12} median {middle:6.2f} s an epoch  fastest {least:6.2f} s")
            ratio = statistics.median(times["dltrain fit"]) / statistics.median(times["bare loop"])
            print(f"goal: dltrain <= 1.05 x the bare loop: {'met' if ratio <= 1.05 else 'MISSED'} ({ratio:.3f})")
            met &= ratio <= 1.05
    return met


def language_epochs(text: Path, units: int) -> list[float]:
    """Seconds per epoch of `dltrain fit` on the words of a text file, from its own times.jsonl."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        config = {
            "task": {"name": "language_modelling", "samples": 0},
            "data": {"name": "text", "root": str(text.parent), "training": [text.name], "min_count": 1}
            | {"batch_size": COLUMNS, "sequence_length": STEPS},
            "model": {"name": "rnn", "hidden": units, "layers": LAYERS},
            "optimizer": {"name": "sgd", "learning_rate": 20.0},
            "trainer": {"epochs": 3, "device": "cpu", "clip_norm": 0.25, "threads": int(THREADS)},
        }
        (Path(name) / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        python("-m", "dltrain", "fit", f"{name}/config.yaml", "-o", str(run))
        return [json.loads(line)["seconds"] for line in (run / "times.jsonl").read_text().splitlines()]


def speech() -> bool:
    """Time training on speech, a bare loop and random batches; preparation of batches; speed of features."""
    times: dict[str, list[tuple[float, float]]] = {"bare loop": [], "dltrain fit": [], "random batches": []}
    for _ in range(2):
        for name, mode in (("bare loop", "bare"), ("random batches", "random")):
            words = ("-m", "bench.speech_loop", mode, "--epochs", "3", "--threads", THREADS)
            results = [json.loads(line) for line in python(*words).splitlines()][1:]
            times[name] += [(epoch["sound"], epoch["seconds"]) for epoch in results]
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "config.yaml").write_text(json.dumps(speech_config(3, int(THREADS))))  # JSON is YAML
            python("-m", "dltrain", "fit", f"{name}/config.yaml", "-o", f"{name}/run")
            seconds = [
                json.loads(line)["seconds"] for line in (Path(name) / "run/times.jsonl").read_text().splitlines()
            ]
            times["dltrain fit"] += [(times["bare loop"][0][0], epoch) for epoch in seconds[1:]]
    speeds = {name: statistics.median(sound / seconds for sound, seconds in some) for name, some in times.items()}
    for name, speed in speeds.items():
        print(f"{name:<16} {speed:7.1f} s of sound a second, evaluation included")
    close, ahead = speeds["bare loop"] / speeds["dltrain fit"], speeds["dltrain fit"] / speeds["random batches"]
    print(f"goal: dltrain <= 1.05 x the bare loop's time: {'met' if close <= 1.05 else 'MISSED'} ({close:.3f})")
    print(f"goal: >= 1.5 x the speed of random batches: {'met' if ahead >= 1.5 else 'MISSED'} ({ahead:.2f})")
    results = json.loads(python("-m", "bench.speech_loop", "data", "--threads", THREADS))
    share = results["plain"] / results["step"]
    print("ms a step: " + ", ".join(f"{name} {value:.1f}" for name, value in results.items()))
    print(f"goal: a batch costs <= 5 % of its step: {'met' if share <= 0.05 else 'MISSED'} ({share:.3f})")
    features = json.loads(python("-m", "bench.speech_loop", "features"))
    sound, cpu = features["sound"], features["cpu"]
    speed = sound / cpu
    met = speed >= 150
    print(f"features: {sound:.0f} s of sound in {cpu:.1f} s of one core ({features['seconds']:.1f} s in all)")
    print(f"goal: >= 150 x real time a core: {'met' if met else 'MISSED'} ({speed:.0f})")
    return close <= 1.05 and ahead >= 1.5 and share <= 0.05 and met


PARTS: dict[str, Callable[[], bool]] = {
    "epoch": epoch,
    "startup": startup,
    "completion": complete,
    "language": language,
    "generation": generation,
    "speech": speech,
    "serve": serving,
    "tracking": tracking,
    "kills": kills,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure dltrain.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them when none is named")
    names = parser.parse_args().parts or list(PARTS)
    unknown = set(names) - PARTS.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    import torch

    cores, version = torch.get_num_threads(), platform.python_version()
    print(f"torch {torch.__version__}, {cores} cores, Python {version}, {platform.machine()}")
    missed = [name for name in names if not PARTS[name]()]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
