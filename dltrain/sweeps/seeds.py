"""The runs of one config with several seeds; what `dltrain fit --seeds` calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltrain.config.experiment import load_experiment
from dltrain.errors import UsageError
from dltrain.runs.finding import find_config
from dltrain.sweeps.members import Member, RunOptions, read_outcome, refuse_override, run_members

MOST_SEEDS = 1000
LARGEST_SEED_DIGITS = 19


def parse_seeds(text: str) -> list[int]:
    """`0,1,2`, `0-4` or `0-2,7` as numbers. Raises UsageError for anything else, and for a seed given twice."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or max(len(match[1]), len(match[2] or "")) > LARGEST_SEED_DIGITS:
            raise UsageError(f"--seeds: found '{text}'; allowed are numbers and ranges of them, such as 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MOST_SEEDS:
            raise UsageError(f"--seeds: found '{part}'; allowed are ranges upwards, of at most {MOST_SEEDS} seeds")
        numbers += range(first, last + 1)
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UsageError(f"--seeds: seed {twice} is given twice in '{text}'")
    return numbers


def train_seeds(config: Path, overrides: Sequence[str], seeds: str, options: RunOptions) -> tuple[Path, dict[str, Any]]:
    """Train once with each of the seeds, `0-4` say; the parent directory and its summary."""
    numbers = parse_seeds(seeds)
    refuse_override(overrides, "seed", "--seeds")
    file, name = find_config(config)
    members = [
        Member(f"seed-{number}", {"seed": number}, load_experiment(file, [*overrides, f"seed={number}"]).experiment)
        for number in numbers
    ]
    directory = Path("runs") / f"{name}-seeds"
    return run_members(directory, "dltrain fit --seeds", members, options, measure=lambda run, _: read_outcome(run))
