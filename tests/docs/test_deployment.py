"""The scripts of docs/deployment.md, run as far as one machine can, and the Dockerfile's structure."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dltrain.runs.directory import CONFIG
from support.pages import ROOT, write_files
from support.runs import outcome

PAGE = ROOT / "docs" / "deployment.md"


class Folder:
    """A folder with the page's scripts, and programs on PATH: dltrain, and stand-ins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        write_files(PAGE, path)
        (path / "bin").mkdir()
        self.add_program(
            "dltrain", f'export PYTHONPATH={shlex.quote(str(ROOT))}\nexec {sys.executable} -m dltrain "$@"'
        )

    def add_program(self, name: str, text: str) -> None:
        program = self.path / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.path / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", *words],
            cwd=self.path,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


OUT_OF_TIME = """
from dltrain.__main__ import main
from dltrain.errors import Stopped
from dltrain.runtime.interrupts import EXIT_OUT_OF_TIME, Interrupts

asked = 0

def pending(self):
    global asked
    asked += 1
    return Stopped("stopped: the time given by --max-time is spent", EXIT_OUT_OF_TIME) if asked == 3 else None

Interrupts.pending = pending
main()
"""
"""dltrain whose time is over after a number of steps and batches of evaluation, on a machine of any speed."""

CHEAP = """
extends: {configs}/iris_dense.yaml
data: {{name: bundled_table, table: iris, batch_size: 200}}
trainer: {{epochs: {epochs}, device: cpu, threads: 1, checkpoint_every_steps: 1}}
"""


def write_config(folder: Path, epochs: int) -> None:
    """A config of one step an epoch."""
    (folder / "iris.yaml").write_text(CHEAP.format(configs=ROOT / "configs", epochs=epochs))


@pytest.mark.slow
def test_the_cron_script_puts_only_a_good_model_into_service(folder: Folder) -> None:
    missed = folder.run("nightly.sh", "iris_dense", "accuracy>=1.01")
    assert missed.returncode in (2, 6), missed.stderr
    assert not (folder.path / "runs/current").exists()
    done = folder.run("nightly.sh", "iris_dense", "accuracy>=0.5")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (week,) = (folder.path / "runs/weekly").iterdir()
    assert (folder.path / "runs/current").resolve() == week.resolve()
    assert json.loads((folder.path / "scores.jsonl").read_text().splitlines()[-1])["metrics"]["accuracy"] > 0.5
    bad = folder.run("nightly.sh", "no_such_config", "accuracy>=0.5")
    assert (bad.returncode, "no_such_config" in bad.stderr) == (2, True)


@pytest.mark.slow
def test_the_cron_script_leaves_an_unfinished_run_for_the_next_night(folder: Folder) -> None:
    folder.add_program("dltrain", 'echo "$@" >> calls; exit 75')
    assert folder.run("nightly.sh", "iris_dense", "accuracy>=0.5").returncode == 0
    (call,) = (folder.path / "calls").read_text().splitlines()
    assert call.startswith("fit iris_dense -o runs/weekly/")


@pytest.mark.slow
def test_the_slurm_script_requeues_until_the_run_is_as_one_long_job_makes_it(folder: Folder) -> None:
    write_config(folder.path, 6)
    (folder.path / "bin" / "limited.py").write_text(OUT_OF_TIME)
    folder.add_program("dltrain", f'PYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} bin/limited.py "$@"')
    folder.add_program("scontrol", 'echo "$@" >> requeued')
    codes = []
    while not codes or codes[-1] == 75:
        assert len(codes) < 10
        done = folder.run("train.sbatch", "iris.yaml", "run", SLURM_JOB_ID="17", MAX_TIME="20s")
        codes.append(done.returncode)
    assert codes == [75] * (len(codes) - 1) + [0], done.stderr
    assert (folder.path / "requeued").read_text().splitlines() == ["requeue 17"] * (len(codes) - 1)
    assert len(codes) > 2
    folder.add_program("dltrain", f'PYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m dltrain "$@"')
    assert folder.run("train.sbatch", "iris.yaml", "whole", MAX_TIME="1h").returncode == 0
    ignored = {CONFIG, "record.json"}
    parts, whole = outcome(folder.path / "run"), outcome(folder.path / "whole")
    assert {name: parts[name] for name in parts.keys() - ignored} == {
        name: whole[name] for name in whole.keys() - ignored
    }


@pytest.mark.slow
def test_the_ci_script_fails_where_the_model_is_worse_than_required(folder: Folder) -> None:
    (folder.path / "build").mkdir()
    write_config(folder.path, 2)
    assert folder.run("ci.sh", "iris.yaml", "accuracy>=0", "loss<=100").returncode == 0
    assert json.loads((folder.path / "build/scores.json").read_text())["metrics"]["accuracy"] >= 0
    assert json.loads((folder.path / "build/fit.json").read_text())["state"] == "finished"
    assert folder.run("ci.sh", "iris.yaml", "accuracy>=0.999").returncode == 6
    (folder.path / "iris.yaml").write_text("task: nothing\n")
    assert folder.run("ci.sh", "iris.yaml", "accuracy>=0").returncode == 2


def list_instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_dockerfile_has_the_structure_that_its_page_describes() -> None:
    """Its syntax, its files and its last user; Docker itself is not needed, and nothing is built."""
    instructions = list_instructions()
    known = ("FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD")
    assert {name for name, _ in instructions} == set(known)
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [words.split()[:-1] for name, words in instructions if name == "COPY" and "--from" not in words]
    assert sorted(kept) == sorted(file for files in copied for file in files)
    assert all((ROOT / file).exists() for file in kept)
    last = dict(instructions)
    assert last["USER"] == "dltrain"
    torch = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if '"torch>' in line)
    assert any(torch.strip().rstrip(",") in words for name, words in instructions if name == "RUN")
    assert json.loads(last["ENTRYPOINT"]) == ["dltrain"]
    command = json.loads(last["CMD"])
    assert command[:2] == ["serve", "/model"]


def test_the_health_check_of_the_dockerfile_asks_a_path_that_the_server_has() -> None:
    words = json.loads(re.sub(r"^.*CMD ", "", dict(list_instructions())["HEALTHCHECK"]))
    compile(words[2], "HEALTHCHECK", "exec")
    assert f":{dict(list_instructions())['EXPOSE']}/health" in words[2]
