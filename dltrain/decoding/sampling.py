"""How a next token is chosen from the model's log-probabilities, for all samples at once.

In this order, each step on the result of the one before:

1. repetition penalty (Keskar et al. 2019, arXiv:1909.05858): tokens that the text already holds become less likely.
   The paper divides a logit by the penalty, which makes a negative one likelier; here the log-probability, which is
   never positive, is multiplied by it: p becomes p ** penalty, before all are scaled to sum to one again;
2. ban: tokens that are never chosen;
3. temperature: log-probabilities are divided by it; 0 takes the likeliest token, of equals the first of the vocabulary;
4. top-k: only the k likeliest tokens stay;
5. top-p (Holtzman et al. 2020, arXiv:1904.09751): of these, scaled to sum to one, only the smallest set of the
   likeliest that reaches p stays, and always one.

Of equally likely tokens at the border of top-k or top-p, the first in the vocabulary stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dltrain.errors import UsageError

NUCLEUS_TRIED = 1024
"""Number of likeliest tokens searched first for the set of top-p: a sort of all costs ten times as much."""
ROUNDING = 1e-6
"""Error of sums of probabilities in float32: a sum this close to p counts as reaching it."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; by default from the model's own distribution.

    `temperature` >= 0, `top_k` >= 1 or None for all, `top_p` in 0..1, `repetition_penalty` > 0 with 1 for none, and
    `banned`, the ids of tokens that are never chosen. Raises UsageError for other values.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("temperature", 0 <= self.temperature < math.inf, "a number >= 0, where 0 takes the likeliest token"),
            ("top-k", self.top_k is None or self.top_k >= 1, "an integer >= 1"),
            ("top-p", 0 <= self.top_p <= 1, "a number from 0 to 1"),
            ("repetition-penalty", 0 < self.repetition_penalty < math.inf, "a number > 0, where 1 is no penalty"),
        ):
            if not fits:
                raise UsageError(f"--{name}: found {getattr(self, name.replace('-', '_'))}; allowed is {allowed}")


def choose_tokens(
    log_probabilities: Tensor, sampling: Sampling, seen: Tensor | None = None, uniforms: Tensor | None = None
) -> Tensor:
    """One token for each row of log p (N, V) float32: (N,) int64, V if a row has no token to choose.

    `seen` (N, V) bool marks the tokens that the repetition penalty applies to; `uniforms` (N,) in [0, 1) decide the
    draw, and the greedy choice needs none. A token with probability zero is never drawn.
    """
    scores = adjust_scores(log_probabilities, sampling, seen)
    if sampling.temperature == 0:
        likeliest = scores.max(1)
        return likeliest.indices.where(likeliest.values > -torch.inf, scores.shape[1])
    assert uniforms is not None
    return sample_tokens(scores.softmax(1), uniforms)


def adjust_scores(log_probabilities: Tensor, sampling: Sampling, seen: Tensor | None = None) -> Tensor:
    """The log-probabilities (N, V) after all steps, up to a constant a row; -inf for tokens that cannot be chosen."""
    scores = log_probabilities
    if seen is not None:
        scores = torch.where(seen, scores * sampling.repetition_penalty, scores)
    if sampling.banned:
        scores = scores.index_fill(1, torch.tensor(sampling.banned, device=scores.device), -torch.inf)
    if sampling.temperature == 0:
        return scores
    if sampling.temperature != 1:
        # The largest becomes 0, so that a small temperature cannot take all of them below what float32 holds.
        scores = (scores - scores.amax(1, keepdim=True)) / max(sampling.temperature, torch.finfo(torch.float32).tiny)
    if sampling.top_k is not None and sampling.top_k < scores.shape[1]:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p < 1:
        scores = keep_top_p(scores, sampling.top_p, sampling.top_k or NUCLEUS_TRIED)
    return scores


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Scores (N, V) with -inf for all but the k largest of each row."""
    least = scores.topk(k).values[:, -1:]
    return scores.masked_fill(~mark_largest(scores, least, torch.full_like(least, k, dtype=torch.int64)), -torch.inf)


def keep_top_p(scores: Tensor, p: float, tried: int) -> Tensor:
    """Scores (N, V) with -inf for all but the likeliest of each row that together reach probability p.

    The `tried` likeliest are searched first.
    """
    probabilities = scores.softmax(1)
    target = torch.full_like(probabilities[:, :1], p - ROUNDING)
    likeliest = probabilities.topk(min(tried, scores.shape[1])).values
    reached = likeliest.cumsum(1)
    if bool((reached[:, -1:] < target).any()):
        likeliest = probabilities.sort(1, descending=True).values
        reached = likeliest.cumsum(1)
    last = torch.searchsorted(reached, target).clamp_(max=reached.shape[1] - 1)  # (N, 1), the position that reaches p
    return scores.masked_fill(~mark_largest(probabilities, likeliest.gather(1, last), last + 1), -torch.inf)


def mark_largest(values: Tensor, least: Tensor, counts: Tensor) -> Tensor:
    """Which are the `counts` (N, 1) largest of each row of (N, V), the smallest of them being `least` (N, 1).

    Of those equal to `least`, the first ones.
    """
    kept = values >= least
    if bool((kept.sum(1, keepdim=True) != counts).any()):
        above, equal = values > least, values == least
        kept = above | (equal & (equal.cumsum(1) <= counts - above.sum(1, keepdim=True)))
    return kept


def sample_tokens(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The token of each row (N, V) at which the running sum of the probabilities passes the row's uniform number.

    The sums are in float64. Uniform numbers come in steps of 2**-24, so a probability is met to within 6e-8.
    """
    if probabilities.device.type == "mps":  # has no float64
        return sample_tokens(probabilities.cpu(), uniforms).to(probabilities.device)
    sums = probabilities.cumsum(1, dtype=torch.float64)
    marks = uniforms.to(sums.device, torch.float64)[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, marks, right=True)[:, 0]
