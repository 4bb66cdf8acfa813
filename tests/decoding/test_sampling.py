"""Tokens are drawn as the distribution says, and what each setting leaves of it is what its definition says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from dltrain.decoding.sampling import NUCLEUS_TRIED, Sampling, adjust_scores, choose_tokens, sample_tokens
from dltrain.errors import UsageError
from dltrain.runtime.seeds import draw_uniform

MODEL = [0.28, 0.05, 0.2, 0.17, 0.1, 0.12, 0.08]


def logs(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(np.array(rows)).log().float()


def left(*probabilities: float, seen: Sequence[int] = (), **settings: Any) -> list[float]:
    """The distribution that is drawn from, of one row."""
    held = torch.zeros(1, len(probabilities), dtype=torch.bool)
    held[0, list(seen)] = True
    chosen: list[float] = adjust_scores(logs(probabilities), Sampling(**settings), held).softmax(1)[0].tolist()
    return chosen


def defined(probabilities: Sequence[float], temperature: float = 1, top_k: int | None = None, top_p: float = 1) -> Any:
    """The distribution by its definition, in float64."""
    p = np.array(probabilities) ** (1 / temperature)
    p /= p.sum()
    order = sorted(range(len(p)), key=lambda token: (-p[token], token))[:top_k]
    p = np.array([value if token in order else 0 for token, value in enumerate(p)])
    p /= p.sum()
    size = next((n for n in range(1, len(order)) if p[order[:n]].sum() >= top_p), len(order))
    p = np.array([value if token in order[:size] else 0 for token, value in enumerate(p)])
    return p / p.sum()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.6},
        {"temperature": 0.7, "top_k": 5, "top_p": 0.75},
    ],
    ids=str,
)
def test_frequencies_are_those_of_the_distribution(settings: dict[str, Any]) -> None:
    draws = 50_000
    uniforms = draw_uniform(7, 3, torch.arange(draws), 1)[:, 0]
    tokens = choose_tokens(logs(MODEL).expand(draws, -1), Sampling(**settings), None, uniforms)
    counts = np.bincount(tokens.numpy(), minlength=len(MODEL))
    expected = defined(MODEL, **settings)
    assert not counts[expected == 0].any()
    assert stats.chisquare(counts[expected > 0], draws * expected[expected > 0]).pvalue > 1e-3


def test_a_draw_is_the_inverse_of_the_distribution_function() -> None:
    uniforms = torch.tensor([0.0, 0.24, 0.25, 0.49, 0.5, 0.99])
    assert sample_tokens(torch.tensor([[0.25, 0.25, 0.5]]).expand(6, -1), uniforms).tolist() == [0, 0, 1, 1, 2, 2]


def test_what_has_no_probability_is_never_drawn() -> None:
    ends = torch.tensor([0.0, 1 - 2**-24])
    assert sample_tokens(torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).expand(2, -1), ends).tolist() == [1, 3]


def test_greedy_takes_the_likeliest_and_of_equals_the_first() -> None:
    rows = logs([0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.1, 0.45, 0.45])
    assert choose_tokens(rows, Sampling(temperature=0)).tolist() == [1, 0, 1]
    assert choose_tokens(rows, Sampling(temperature=0, banned=(1, 0))).tolist() == [2, 2, 2]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300])
def test_a_small_temperature_becomes_the_greedy_choice(temperature: float) -> None:
    assert left(0.3, 0.3001, 0.3999, temperature=temperature) == [0, 0, 1]


def test_a_large_temperature_becomes_the_uniform_choice_but_bans_hold() -> None:
    assert left(0.98, 0.01, 0.01, temperature=1e30, banned=(1,)) == [0.5, 0, 0.5]


def test_the_repetition_penalty_by_hand() -> None:
    # 0.5 ** 2 = 0.25, beside an unseen 0.25 and an unseen 0.25: a third each
    assert left(0.5, 0.25, 0.25, seen=[0], repetition_penalty=2) == pytest.approx([1 / 3] * 3)
    # 0.64 ** 0.5 = 0.8, beside 0.36: a penalty below 1 rewards
    assert left(0.64, 0.36, seen=[0], repetition_penalty=0.5) == pytest.approx([0.8 / 1.16, 0.36 / 1.16])
    # 0.6 ** 1.2 = 0.5417285, 0.1 ** 1.2 = 0.0630957, 0.3 stays; the sum is 0.9048242
    expected = [0.5417285 / 0.9048242, 0.3 / 0.9048242, 0.0630957 / 0.9048242]
    assert left(0.6, 0.3, 0.1, seen=[0, 2], repetition_penalty=1.2) == pytest.approx(expected, abs=1e-6)


def test_each_step_works_on_the_result_of_the_one_before() -> None:
    # penalty before ban and cuts: 0.4 becomes 0.16, so the two likeliest are 0.35 and 0.25
    assert left(0.4, 0.35, 0.25, seen=[0], repetition_penalty=2, top_k=2) == pytest.approx([0, 0.35 / 0.6, 0.25 / 0.6])
    # ban before top-k: the likeliest of those that may be chosen
    assert left(0.5, 0.3, 0.2, banned=(0,), top_k=1) == [0, 1, 0]
    # temperature before top-p: 0.5 squared is 0.66 of the sum of squares
    assert left(0.5, 0.3, 0.2, temperature=0.5, top_p=0.6) == [1, 0, 0]
    # top-k before top-p, scaled to sum to one: 0.4 is 0.57 of 0.4 and 0.3
    assert left(0.4, 0.3, 0.2, 0.1, top_k=2, top_p=0.5) == [1, 0, 0, 0]
    assert left(0.4, 0.3, 0.2, 0.1, top_p=0.5) == pytest.approx([4 / 7, 3 / 7, 0, 0])


@pytest.mark.parametrize(("p", "size"), [(0, 1), (0.3, 1), (0.4, 1), (0.41, 2), (0.7, 2), (0.71, 3), (0.999, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it_and_always_one(p: float, size: int) -> None:
    assert [value > 0 for value in left(0.1, 0.4, 0.2, 0.3, top_p=p)] == [size > 3, True, size > 2, size > 1]


def test_of_equals_at_the_border_the_first_stay() -> None:
    assert left(*[1 / 6] * 6, top_k=2) == [0.5, 0.5, 0, 0, 0, 0]
    assert left(*[0.25] * 4, top_p=0.5) == [0.5, 0.5, 0, 0]
    assert left(0.2, 0.4, 0.2, 0.2, top_k=3) == pytest.approx([0.25, 0.5, 0.25, 0])
    assert left(0.2, 0.4, 0.2, 0.2, top_p=0.8) == pytest.approx([0.25, 0.5, 0.25, 0])


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.9999])
def test_top_p_of_many_words_against_its_definition(p: float) -> None:
    draw = np.random.default_rng(0)
    rows = [draw.dirichlet(np.full(2 * NUCLEUS_TRIED, concentration)) + 1e-12 for concentration in (0.01, 1, 100)]
    rows = [row / row.sum() for row in rows]
    kept = adjust_scores(logs(*rows), Sampling(top_p=p)) > -torch.inf
    for row, some in zip(rows, kept.numpy(), strict=True):
        order = np.argsort(-row)
        size = int(some.sum())
        assert some[order[:size]].all()
        assert row[order[:size]].sum() >= p - 3e-6
        assert size == 1 or row[order[: size - 1]].sum() < p + 3e-6


def test_top_k_of_more_than_there_are_is_all() -> None:
    assert left(0.5, 0.3, 0.2, top_k=10) == pytest.approx([0.5, 0.3, 0.2])
    assert left(0.5, 0.3, 0.2, banned=(0,), top_k=2, top_p=0.99) == pytest.approx([0, 0.6, 0.4])


def test_rows_do_not_touch_each_other() -> None:
    rows = logs(MODEL, MODEL[::-1], [1 / 7] * 7)
    sampling = Sampling(temperature=0.8, top_k=4, top_p=0.7, repetition_penalty=1.5, banned=(2,))
    seen = torch.eye(7, dtype=torch.bool)[[0, 3, 6]]
    together = adjust_scores(rows, sampling, seen)
    for row in range(3):
        assert torch.equal(adjust_scores(rows[row : row + 1], sampling, seen[row : row + 1])[0], together[row])


def test_the_given_log_probabilities_stay_as_they_are() -> None:
    rows = logs(MODEL)
    before = rows.clone()
    adjust_scores(rows, Sampling(0.8, 4, 0.7, 1.5, (2,)), torch.ones(1, 7, dtype=torch.bool))
    assert torch.equal(rows, before)


def test_a_row_with_nothing_to_choose_from_gives_no_token() -> None:
    rows = torch.cat([logs(MODEL), torch.full((1, 7), math.nan), torch.full((1, 7), -math.inf)])
    assert choose_tokens(rows, Sampling(), None, torch.full((3,), 0.5)).tolist()[1:] == [7, 7]
    assert choose_tokens(rows, Sampling(temperature=0)).tolist() == [0, 7, 7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "--temperature: found -0.1; allowed is a number >= 0, where 0 takes the likeliest"),
        ({"temperature": math.nan}, "--temperature: found nan; allowed is"),
        ({"temperature": math.inf}, "--temperature: found inf; allowed is"),
        ({"top_k": 0}, "--top-k: found 0; allowed is an integer >= 1"),
        ({"top_p": 1.5}, "--top-p: found 1.5; allowed is a number from 0 to 1"),
        ({"top_p": math.nan}, "--top-p: found nan; allowed is"),
        ({"repetition_penalty": 0.0}, "--repetition-penalty: found 0.0; allowed is a number > 0, where 1 is no"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sampling(**settings)
    assert str(caught.value).startswith(message)
