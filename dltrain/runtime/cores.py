"""How many threads a process may compute with: the environment, the scheduler's affinity and the container's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def count_threads() -> int:
    """The number of threads in OMP_NUM_THREADS, which other programs honour too, or else the cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # one number for each level of nesting
    return int(asked) if asked.isdecimal() and int(asked) > 0 else count_cores()


def count_cores() -> int:
    """The cores that this process may use: those of its affinity, but no more than its quota of their time."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    quota = read_quota()
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))


def read_quota() -> float | None:
    """The cores' worth of time that the control group of this process gets, as containers set it; None for no limit."""
    for quota, period in (_read_pair("cpu.max"), _read_files("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        if quota > 0 and period > 0:
            return quota / period
    return None


def _read_pair(name: str) -> tuple[float, float]:
    """Quota and period in version 2 of control groups; `max` is no limit."""
    try:
        quota, period = (CGROUPS / name).read_text().split()
        return float(quota.replace("max", "-1")), float(period)
    except (OSError, ValueError):
        return -1.0, -1.0


def _read_files(quota: str, period: str) -> tuple[float, float]:
    """Quota and period in version 1; a negative quota is no limit."""
    try:
        return float((CGROUPS / quota).read_text()), float((CGROUPS / period).read_text())
    except (OSError, ValueError):
        return -1.0, -1.0
