"""A run whose metrics.jsonl is damaged continues: lines of evaluations are written again, others are reported lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dltrain.runtime.interrupts import Interrupts
from support.examples import write_config
from support.runs import Recorded, StopAt, outcome, run_once

Harm = Callable[[Path], None]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 4
    path.write_bytes(content)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARMS: dict[str, Harm] = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "emptied": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "other bytes": lambda path: path.write_bytes(random.Random(1).randbytes(5000)),
    "deleted": Path.unlink,
    "a folder": make_directory,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    settings = {
        "task": "tabular_classification",
        "data": {"name": "bundled_table", "table": "iris", "batch_size": 16},
        "model": {"name": "dense", "hidden": [4], "dropout": 0.2},
        "trainer": {"epochs": 5, "device": "cpu", "threads": 1, "log_every_steps": 2, "validate_every_steps": 4},
        "observers": [],
    }
    return write_config(tmp_path / "c.yaml", settings)


@pytest.mark.parametrize("name", HARMS)
def test_a_damaged_log_is_written_again(name: str, config: Path, tmp_path: Path) -> None:
    run_once(config, tmp_path / "whole", Interrupts())
    with pytest.raises(Exception, match="stopped by the test"):
        run_once(config, tmp_path / "run", StopAt(30))
    HARMS[name](tmp_path / "run" / "metrics.jsonl")
    told = Recorded()
    run_once(config, tmp_path / "run", Interrupts(), messenger=told)
    whole, found = outcome(tmp_path / "whole"), outcome(tmp_path / "run")
    for file in ("weights.safetensors", "optimizer.safetensors"):
        assert found[file] == whole[file]
    lines, expected = (one["metrics.jsonl"].splitlines() for one in (found, whole))
    assert [line for line in lines if b'"step", ' not in line] == [line for line in expected if b'"step", ' not in line]
    assert set(lines) < set(expected)
    (warning,) = [line for line in told.lines if "metrics.jsonl" in line]
    assert "those of steps until then are lost" in warning
    assert ("kept as damaged-metrics.jsonl" in warning) == (name != "deleted")
    again = Recorded()
    run_once(config, tmp_path / "run", Interrupts(), messenger=again)
    assert not [line for line in again.lines if "metrics.jsonl" in line], "it is reported once"


def test_an_undamaged_log_is_not_touched(config: Path, tmp_path: Path) -> None:
    run_once(config, tmp_path / "whole", Interrupts())
    with pytest.raises(Exception, match="stopped by the test"):
        run_once(config, tmp_path / "run", StopAt(30))
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b"half a line, which a killed process left")
    run_once(config, tmp_path / "run", Interrupts())
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
