"""SIGKILL at random moments: of `fit` in a fork of this process, several times in a row."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from torture.trials import Verdict, Workshop, fit, run_forked


@dataclass(frozen=True)
class KillTrial:
    """A fit that is killed up to three times, at moments drawn from the seed."""

    config: str
    seed: int

    def __str__(self) -> str:
        return f"kills of {self.config} (seed {self.seed})"

    def carry_out(self, workshop: Workshop) -> Verdict:
        draw, world, endings = random.Random(self.seed), workshop.new_world(), []
        for _ in range(draw.randint(1, 3)):
            moment = draw.uniform(0.0, 1.1 * workshop.seconds[self.config])
            endings.append(run_forked(world, fit(self.config), kill_after=moment))
        verdict = workshop.judge(self.config, world, endings)
        workshop.remove(world)
        return verdict


def list_kill_trials(workshop: Workshop, seed: int, count: int) -> Iterator[KillTrial]:
    for number in range(count):
        yield KillTrial(list(workshop.expected)[number % len(workshop.expected)], seed * 100_000 + number)
