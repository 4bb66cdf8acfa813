"""`import dltrain`: cheap, complete, and typed for its users."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dltrain

USER = """
import dltrain
from dltrain.events import Event

def watch(event: Event) -> None: ...

run: dltrain.LoadedRun = dltrain.fit("iris_dense", epochs=2, watch=watch)
label: str | None = run.predict([5.1, 3.5, 1.4, 0.2])[0].label
score: float | None = run.evaluate().metrics["accuracy"]
listed: list[dltrain.ListedRun] = dltrain.runs("runs")
again: dltrain.LoadedRun = dltrain.load(listed[0], device="cpu")
texts: list[str] = [str(one) for one in run.generate("a", samples=2)]
try:
    again.transcribe("a.wav")
except dltrain.DltrainError as error:
    advice: str | None = error.advice
"""


def test_import_loads_nothing_and_every_public_name_is_there() -> None:
    code = """
import sys
before = set(sys.modules)
import dltrain
loaded = set(sys.modules) - before - {"dltrain", "__future__"}
assert not loaded, loaded
assert set(dltrain.__all__) <= set(dir(dltrain))
from dltrain import *
assert callable(runs) and "torch" not in sys.modules
try:
    dltrain.fitt
except AttributeError:
    pass
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(dltrain.__file__).parents[1])


def test_runs_is_a_function_and_stays_the_package() -> None:
    from dltrain.runs import listing

    assert listing.list_runs is sys.modules["dltrain.runs.listing"].list_runs
    assert dltrain.runs is sys.modules["dltrain.runs"]
    given = inspect.signature(dltrain.runs).parameters["folder"]
    assert given.default == "runs"


def test_a_user_s_code_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    good, bad, package = tmp_path / "good.py", tmp_path / "bad.py", Path(dltrain.__file__).parent
    assert (package / "py.typed").is_file()
    good.write_text(USER)
    bad.write_text("import dltrain\nrun = dltrain.fit('a', output=3)\nrun.nothing\ndltrain.runs(3)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "good.py", "bad.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(package.parent)},  # mypy does not read an editable installation's finder
        capture_output=True,
        text=True,
        check=False,
    )
    assert "good.py" not in done.stdout, done.stdout
    for line, code in ((2, "arg-type"), (3, "attr-defined"), (4, "arg-type")):
        assert any(f"bad.py:{line}:" in each and f"[{code}]" in each for each in done.stdout.splitlines()), done.stdout
