"""Every file of a run, in its middle or finished, and of the cache is cut short, flipped, zeroed or deleted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torture.faults import run_until_the_middle
from torture.trials import Verdict, Workshop, fit, run_forked
from torture.worlds import RUN

KINDS = ("delete", "empty", "cut in half", "cut by one byte", "flip a bit", "zero a block")

RECORDS = ("metrics.jsonl", "*/state.json", "*/manifest.json")
UNLIKE = {"metrics.jsonl": RECORDS, "baselines.json": ("baselines.*",), "baselines.safetensors": ("baselines.*",)}
"""What may differ after damage to a file. A checkpoint's record has the hash of metrics.jsonl, some of whose lines
cannot be written again; a run without baselines, or with damaged ones, is not given new ones."""


def damage(path: Path, kind: str, draw: random.Random) -> None:
    content = bytearray(b"" if path.is_symlink() else path.read_bytes())
    if kind == "delete" or path.is_symlink():
        path.unlink()
        return
    place = draw.randrange(len(content)) if content else 0
    if kind == "empty":
        content = bytearray()
    elif kind == "cut in half":
        del content[len(content) // 2 :]
    elif kind == "cut by one byte":
        del content[-1:]
    elif kind == "flip a bit" and content:
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "zero a block":
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    path.write_bytes(content)


@dataclass(frozen=True)
class DamageTrial:
    """Damage to one file of a run and its cache."""

    config: str
    state: str
    file: str
    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.state} run of {self.config}, {self.file}: {self.kind} (seed {self.seed})"

    def carry_out(self, workshop: Workshop) -> Verdict:
        world = workshop.copy(workshop.folder / f"{self.state}-{self.config}")
        damage(world / self.file, self.kind, random.Random(f"{self.seed} {self.file}"))
        verdict = workshop.judge_damage(self.config, world, UNLIKE.get(Path(self.file).name, ()))
        workshop.remove(world)
        return verdict


def list_damage_trials(workshop: Workshop, seed: int) -> Iterator[DamageTrial]:
    for config in workshop.expected:
        for state in ("halfway", "finished"):
            world = workshop.folder / f"{state}-{config}"
            if not world.exists():
                fresh = workshop.new_world()
                if state == "halfway":
                    run_until_the_middle(fresh, config)
                else:
                    run_forked(fresh, fit(config))
                fresh.rename(world)
            files = [path for part in (RUN, "cache") for path in sorted((world / part).rglob("*"))]
            for path in files:
                if path.is_symlink() or path.is_file():
                    kinds = ("delete",) if path.is_symlink() else KINDS
                    for kind in kinds:
                        yield DamageTrial(config, state, str(path.relative_to(world)), kind, seed)
