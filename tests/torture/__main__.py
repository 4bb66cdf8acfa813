"""Disturb training in every way that is known here, and print what held.

    python -m torture                          # everything
    python -m torture faults power --count 100 # of each of these 100 trials, drawn by the seed
    python -m torture faults --show            # with a line for each trial that did not hold

The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: a fork of a process with threads may hang

from torture.damage import list_damage_trials
from torture.faults import list_fault_trials
from torture.kills import list_kill_trials
from torture.parents import list_parent_trials
from torture.power import list_power_trials
from torture.trials import Verdict, Workshop, make_folder

Trials = Callable[[Workshop, argparse.Namespace], Iterator[Any]]
KINDS: dict[str, Trials] = {
    "faults": lambda workshop, given: list_fault_trials(workshop),
    "kills": lambda workshop, given: list_kill_trials(workshop, given.seed, given.count or 600),
    "parents": lambda workshop, given: list_parent_trials(workshop, given.seed, min(given.count or 24, 24)),
    "damage": lambda workshop, given: list_damage_trials(workshop, given.seed),
    "power": lambda workshop, given: list_power_trials(workshop),
}


def choose(trials: Sequence[Any], count: int | None, seed: int) -> list[Any]:
    if count is None or count >= len(trials):
        return list(trials)
    places = sorted(random.Random(seed).sample(range(len(trials)), count))
    return [trials[place] for place in places]


def carry_out(workshop: Workshop, trials: Sequence[Any], jobs: int) -> list[Verdict]:
    """Carry out the trials, `jobs` at a time, each in processes of its own."""
    verdicts: dict[int, Verdict] = {}
    parts = [range(part, len(trials), jobs) for part in range(jobs)]
    readers = []
    for part in parts:
        reader, writer = os.pipe()
        sys.stdout.flush()
        if os.fork() == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as report:
                for place in part:
                    try:
                        verdict = trials[place].carry_out(workshop)
                    except BaseException as error:  # a fault of a trial itself must be seen too
                        verdict = Verdict("failed", f"the trial itself: {type(error).__name__}: {error}")
                    report.write(json.dumps([place, verdict.outcome, verdict.why]) + "\n")
                    report.flush()
            os._exit(0)
        os.close(writer)
        readers.append(os.fdopen(reader))
    for reader_file in readers:
        with reader_file as lines:
            for line in lines:
                place, outcome, why = json.loads(line)
                verdicts[place] = Verdict(outcome, why)
        os.wait()
    return [verdicts.get(place, Verdict("failed", "no verdict")) for place in range(len(trials))]


def read_count(text: str) -> int | None:
    return None if text == "all" else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"some of: {', '.join(KINDS)}")
    parser.add_argument("--count", type=read_count, help="trials of each kind; default all, 600 kills, 24 of parents")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--show", action="store_true", help="print refusals too")
    given = parser.parse_args()
    print(f"{'trials':<10}{'tried':>8}{'held':>8}{'refused':>9}{'failed':>8}{'seconds':>9}", flush=True)
    failed = 0
    with make_folder() as name:
        workshop = Workshop(Path(name))
        for kind in given.kinds or KINDS:
            start = time.monotonic()
            trials = choose(list(KINDS[kind](workshop, given)), given.count, given.seed)
            verdicts = carry_out(workshop, trials, given.jobs)
            counts = Counter(verdict.outcome for verdict in verdicts)
            seconds = time.monotonic() - start
            print(
                f"{kind:<10}{len(trials):>8}{counts['held']:>8}{counts['refused']:>9}{counts['failed']:>8}"
                f"{seconds:>9.0f}",
                flush=True,
            )
            for trial, verdict in zip(trials, verdicts, strict=True):
                if verdict.outcome == "failed" or (given.show and verdict.outcome == "refused"):
                    print(f"  {verdict.outcome}: {trial}: {' | '.join(verdict.why.splitlines())}", flush=True)
            failed += counts["failed"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
