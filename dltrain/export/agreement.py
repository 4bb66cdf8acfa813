"""Compare an exported program with its model: outputs, speed and metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.core.evaluate import accumulate_counts
from dltrain.data.text.language_model import Reading
from dltrain.export.interface import Interface, count_steps, take_examples
from dltrain.export.programs import Program
from dltrain.kinds import BATCH
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Task

SIZES = (1, 2, 7)
"""Numbers of examples that are tried, besides a whole batch."""
TOLERANCE = 1e-4
SHORTEST = range(1, 33)
_SECONDS, _FEWEST, _MOST = 1.0, 5, 200


@dataclass(frozen=True)
class Agreement:
    """The difference of a program's outputs from the model's own, over all inputs tried.

    `difference` is the largest of any number, as a share of the largest number in that output, or of 1 if that is more.
    `lengths` are the steps of the sequences that were tried, the shortest that the program takes among them.
    """

    difference: float
    inputs: int
    sizes: Sequence[int]
    lengths: Sequence[int]


def measure_agreement(program: Program, interface: Interface, batches: Sequence[Sequence[Tensor]]) -> Agreement:
    """Compare on the arguments of some batches: each one whole, and the first in several sizes and lengths.

    A language model continues once from the state that it reaches. Raises ValueError, with the reason,
    where the program takes none of the lengths.
    """
    first = batches[0]
    steps = count_steps(interface.leading, first)
    lengths: Sequence[int | None] = [None]
    if steps is not None:
        lengths = sorted({find_shortest_length(program, interface, first, steps), (steps + 1) // 2, steps})
    tried = [take_examples(interface.leading, first, size, length) for size in SIZES for length in lengths]
    tried += [tuple(batch) for batch in batches]
    examples = interface.inputs[0].axes.index(BATCH)
    worst = 0.0
    with torch.inference_mode():
        for inputs in tried:
            state = interface.state(inputs[0].shape[examples])
            for _ in range(2 if state else 1):
                own = interface.module(*inputs, *state)
                worst = max(worst, measure_difference(own, program(*inputs, *state)))
                state = own[1:]
    sizes = sorted({inputs[0].shape[examples] for inputs in tried})
    return Agreement(worst, len(tried), sizes, [length for length in lengths if length is not None])


def find_shortest_length(program: Program, interface: Interface, tensors: Sequence[Tensor], steps: int) -> int:
    """The smallest number of steps that both model and program take."""
    reason: Exception | None = None
    with torch.inference_mode():
        for length in [*(length for length in SHORTEST if length < steps), steps]:
            inputs = (*take_examples(interface.leading, tensors, 2, length), *interface.state(2))
            try:
                interface.module(*inputs)
                program(*inputs)
            except Exception as error:  # each runtime raises its own for a size that it does not take
                reason = error
            else:
                return length
    raise ValueError(f"it runs for no length up to {steps}: {reason}")


def measure_difference(own: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference of two programs' outputs, as `Agreement.difference`; infinite where their forms differ."""
    if len(own) != len(others):
        return float("inf")
    return max(_compare_tensors(mine, theirs) for mine, theirs in zip(own, others, strict=True))


def _compare_tensors(mine: Tensor, theirs: Tensor) -> float:
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return float("inf")
    if not mine.numel():
        return 0.0
    if not mine.is_floating_point():
        return 0.0 if torch.equal(mine, theirs) else float("inf")
    mine, theirs = mine.double(), theirs.double()
    apart = torch.where(mine == theirs, 0.0, (mine - theirs).abs()).nan_to_num(nan=float("inf"))  # equal infinities too
    largest = mine[mine.isfinite()].abs().max() if mine.isfinite().any() else torch.tensor(0.0)
    return float(apart.max() / largest.clamp(min=1))


def time_programs(programs: Sequence[Program], inputs: Sequence[Tensor]) -> list[float]:
    """The median time of one call of each program, after one that is not counted.

    They take turns, so that other work on the machine slows all of them alike.
    """
    times: list[list[float]] = [[] for _ in programs]
    with torch.inference_mode():
        for program in programs:
            program(*inputs)
        until = time.perf_counter() + _SECONDS
        while len(times[0]) < _FEWEST or (time.perf_counter() < until and len(times[0]) < _MOST):
            for program, known in zip(programs, times, strict=True):
                start = time.perf_counter()
                program(*inputs)
                known.append(time.perf_counter() - start)
    return [1000 * median(known) for known in times]


class DeployedModel(nn.Module):
    """A program in the place of the model, so that a task can score it."""

    def __init__(self, program: Program, interface: Interface) -> None:
        super().__init__()
        self.program, self.interface = program, interface

    def forward(self, *arguments: Any) -> Any:
        outputs = self.program(*arguments)[: self.interface.raw]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class DeployedLanguageModel(DeployedModel):
    """A program in the place of a language model; its features are the log-probabilities themselves."""

    def forward(self, *arguments: Any) -> Reading:
        tokens, state = arguments
        before = self.interface.state(tokens.shape[1]) if state is None else state
        log_probabilities, *following = self.program(tokens, *before)
        return Reading(log_probabilities, tuple(following))

    def log_probabilities(self, features: Tensor) -> Tensor:
        return features


def score_program(
    program: Program, interface: Interface, task: Task[Any], *, stream: Stream[Any], runtime: Runtime
) -> Mapping[str, float]:
    """Evaluate a program on a split: the task's report."""
    kind = DeployedLanguageModel if interface.initial else DeployedModel
    return task.report(accumulate_counts(kind(program, interface), task, stream, runtime))
