from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dltrain.options import Plan
from dltrain.runtime import cores
from dltrain.runtime.precision import start_runtime


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with eight cores for this process, and no quota; the folder of its control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


@pytest.mark.parametrize(("given", "count"), [("3", 3), ("2,4", 2), (" 1 ", 1), ("", 8), ("0", 8), ("many", 8)])
def test_the_environment_decides(given: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert cores.count_threads() == count
    assert cores.count_cores() == 8


@pytest.mark.parametrize(
    ("text", "count"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("x", 8)]
)
def test_a_quota_limits_the_cores(text: str, count: int, machine: Path) -> None:
    (machine / "cpu.max").write_text(text + "\n")
    assert cores.count_threads() == count


@pytest.mark.parametrize(("quota", "count"), [("-1", 8), ("400000", 4), ("99900000", 8)])
def test_a_quota_of_the_first_version(quota: str, count: int, machine: Path) -> None:
    (machine / "cpu").mkdir()
    (machine / "cpu/cpu.cfs_quota_us").write_text(quota)
    (machine / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cores.count_threads() == count


def test_a_run_uses_them_unless_it_says_otherwise_or_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    try:
        start_runtime(Plan(device="cpu"))
        assert torch.get_num_threads() == 3
        start_runtime(Plan(device="cpu"), {"threads": 1})
        assert torch.get_num_threads() == 1
        start_runtime(Plan(device="cpu", threads=2), {"threads": 1})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
