"""Keyed randomness: the same numbers for the same key, even ones, and no two alike."""

from __future__ import annotations

import subprocess
import sys
import time
from hashlib import blake2b

import numpy
import pytest
import torch
from scipy import stats

from dltrain.runtime.seeds import draw_permutation, draw_uniform, make_generator


def splitmix64(state: int) -> int:
    """Steele, Lea and Flood 2014, in exact integers: the next output of the generator at `state`."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_known_splitmix64_sequence() -> None:
    # The first outputs from state 0, as every published implementation gives them.
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    assert splitmix64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


def test_an_example_draws_consecutive_splitmix64_numbers() -> None:
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    start = int.from_bytes(blake2b(b'["uniform", 3, 5]', digest_size=8).digest(), "little")
    state = splitmix64((start + 6 * golden) & mask)  # of example 7: splitmix64 adds the seventh step itself
    expected = [(splitmix64((state + draw * golden) & mask) >> 40) * 2.0**-24 for draw in range(4)]
    assert draw_uniform(3, 5, torch.tensor([7]), 4)[0].tolist() == expected


@pytest.mark.slow
def test_generators_of_one_key_agree_in_every_process() -> None:
    code = "from dltrain.runtime.seeds import make_generator; print(make_generator('a', 1).initial_seed())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == make_generator("a", 1).initial_seed()


def test_generators_of_different_keys_differ() -> None:
    keys = [("a", 1), ("a", "1"), ("a1",), ("a", 1, 0), (1, "a"), ("a", -1), ("a", 2**70)]
    assert len({make_generator(*key).initial_seed() for key in keys}) == len(keys)


def test_permutation_holds_each_example_once_and_changes_with_seed_and_epoch() -> None:
    orders = [draw_permutation(seed, epoch, 100) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(100))
    assert torch.equal(orders[0], draw_permutation(0, 0, 100))
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_all_permutations_of_four_are_equally_likely() -> None:
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(2400):
        order = tuple(draw_permutation(0, epoch, 4).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    assert stats.chisquare(list(seen.values())).pvalue > 1e-4


def test_uniform_numbers_do_not_depend_on_the_batch() -> None:
    whole = draw_uniform(1, 2, torch.arange(1000), 8)
    chosen = torch.tensor([999, 3, 3, 500])
    assert torch.equal(draw_uniform(1, 2, chosen, 8), whole[chosen])
    assert torch.equal(draw_uniform(1, 2, torch.arange(1000), 5), whole[:, :5])
    assert draw_uniform(1, 2, torch.empty(0, dtype=torch.int64), 8).shape == (0, 8)


def test_the_examples_given_are_left_alone() -> None:
    examples = torch.arange(5)
    draw_uniform(0, 0, examples, 3)
    assert torch.equal(examples, torch.arange(5))


def test_uniform_numbers_lie_in_range_and_are_even() -> None:
    numbers = draw_uniform(0, 0, torch.arange(50_000), 8)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 1e-4
    for column in numbers.T:
        assert stats.chisquare(numpy.histogram(column.numpy(), 100, (0, 1))[0]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, 0, 0, 0), (0, 0, 1, 0)),
        ((0, 0, 0, 0), (0, 0, 0, 1)),
        ((0, 0, 0, 0), (0, 1, 0, 0)),
        ((0, 0, 0, 0), (1, 0, 0, 0)),
        ((0, 0, 0, 1), (0, 0, 1, 0)),
        ((0, 1, 0, 0), (1, 0, 0, 0)),
    ],
    ids=["example", "draw", "epoch", "seed", "draw-example", "epoch-seed"],
)
def test_neighbours_are_independent(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    n = 40_000
    pair = [
        draw_uniform(seed, epoch, torch.arange(example, n + example), draw + 1)[:, draw].numpy()
        for seed, epoch, example, draw in (first, second)
    ]
    # Independent uniforms: the correlation is normal with standard deviation 1 / sqrt(n), and all cells are even.
    assert abs(numpy.corrcoef(*pair)[0, 1]) < 4.5 / n**0.5
    cells = numpy.histogram2d(*pair, bins=8, range=((0, 1), (0, 1)))[0]
    assert stats.chisquare(cells.flatten()).pvalue > 1e-4


def test_a_batch_of_64_draws_in_well_under_a_millisecond() -> None:
    examples = torch.arange(64)
    spans = []
    for _ in range(200):
        start = time.perf_counter()
        draw_uniform(0, 0, examples, 8)
        spans.append(time.perf_counter() - start)
    assert min(spans) < 200e-6
