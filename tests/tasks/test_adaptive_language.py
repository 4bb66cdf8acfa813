"""Adaptive evaluation against loops that take one token, or one window, at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from dltrain.batch import NO_TARGET
from dltrain.core.evaluate import accumulate_counts
from dltrain.data.text.passages import Passages
from dltrain.runtime.precision import Runtime
from dltrain.tasks.adaptive_language import (
    EPSILON,
    Adapts,
    DynamicEvaluation,
    GradientSquares,
    NeuralCache,
    compute_root_mean_squares,
)
from support.language import (
    VOCABULARY,
    Fixed,
    ToyLSTM,
    ToyTask,
    measured,
    passages,
    perplexity,
    random_text,
)


@pytest.fixture
def model() -> ToyLSTM:
    torch.manual_seed(3)
    return ToyLSTM()


def one_by_one(
    model: ToyLSTM, text: Sequence[int], size: int, weight: float, flatness: float
) -> tuple[Tensor, list[Tensor]]:
    """-log p of each token in float64, and p of the whole vocabulary: the definition, token by token."""
    features = model.eval()(torch.tensor(text[:-1])[:, None], None).features[:, 0].double()
    nats, distributions = [], []
    for now, target in enumerate(text[1:]):
        p = model.double().log_probabilities(features[now : now + 1])[0].exp()
        model.float()
        cache = torch.zeros(VOCABULARY, dtype=torch.float64)
        for before in range(max(0, now - size), now):
            cache[text[before + 1]] += math.exp(flatness * float(features[now] @ features[before]))
        if now:
            p = (1 - weight) * p + weight * cache / cache.sum()
        distributions.append(p)
        nats.append(-p[target].log())
    return torch.stack(nats), distributions


@pytest.mark.parametrize("size", [1, 4, 50])
@torch.no_grad()
def test_the_cache_is_that_of_a_loop_over_tokens(model: ToyLSTM, size: int) -> None:
    text = random_text(23)
    nats, distributions = one_by_one(model, text[:, 0].tolist(), size, 0.3, 4.0)
    counts = measured(model, NeuralCache(ToyTask(), size, 0.3, 4.0), passages(text, 23))
    assert float(counts["nats"]) == pytest.approx(float(nats.sum()), rel=1e-6)
    predicted = torch.stack([p.argmax() for p in distributions])
    assert int(counts["correct"]) == int((predicted == text[1:, 0]).sum())
    assert float(counts["mass"]) == pytest.approx(23, rel=1e-6)


@pytest.mark.parametrize("length", [1, 3, 7, 30])
def test_windows_and_columns_do_not_change_the_cache(model: ToyLSTM, length: int) -> None:
    text, cache = random_text(23, 3), NeuralCache(ToyTask(), 5, 0.3, 4.0)
    apart = sum(
        measured(model, cache, passages(text[:, column : column + 1], 23))["nats"] for column in range(text.shape[1])
    )
    together = measured(model, cache, passages(text, length))
    assert float(together["nats"]) == pytest.approx(float(apart), rel=1e-6)
    assert int(together["tokens"]) == 69


def test_without_weight_the_cache_is_the_plain_model(model: ToyLSTM) -> None:
    batches = passages(random_text(40, 2), 7)
    plain, cached = measured(model, ToyTask(), batches), measured(model, NeuralCache(ToyTask(), 9, 0.0, 1.0), batches)
    assert cached == plain


@torch.no_grad()
def test_tokens_without_a_target_enter_the_cache_and_count_for_nothing(model: ToyLSTM) -> None:
    text = random_text(23)
    nats, _ = one_by_one(model, text[:, 0].tolist(), 6, 0.3, 4.0)
    for length in (4, 9, 23):
        counts = measured(model, NeuralCache(ToyTask(), 6, 0.3, 4.0), passages(text, length, warm_up=9))
        assert float(counts["nats"]) == pytest.approx(float(nats[9:].sum()), rel=1e-6)
        assert int(counts["tokens"]) == 14


def test_passages_that_continue_nothing_begin_with_an_empty_cache(model: ToyLSTM) -> None:
    first, second = random_text(12, seed=1), random_text(12, seed=2)
    cache = NeuralCache(ToyTask(), 20, 0.3, 4.0)
    apart = [measured(model, cache, passages(text, 12)) for text in (first, second)]
    batches = Fixed(Passages(text[:-1], text[1:], 12, continues=False) for text in (first, second))
    assert float(measured(model, cache, batches)["nats"]) == float(sum(counts["nats"] for counts in apart))


def test_an_unlikely_text_has_a_finite_perplexity(model: ToyLSTM) -> None:
    """Probabilities that a float32 cannot hold are still added up rightly."""
    with torch.no_grad():
        model.output.bias[0] = 500.0
    text = torch.ones(9, 1, dtype=torch.int64)
    plain, cached = (
        measured(model, task, passages(text, 8)) for task in (ToyTask(), NeuralCache(ToyTask(), 3, 0.5, 1.0))
    )
    assert float(plain["nats"]) > 8 * 400
    first = float(plain["nats"]) / 8
    assert float(cached["nats"]) == pytest.approx(first + 7 * math.log(2), rel=0.01)


def hand_written(
    model: ToyLSTM, batches: Fixed, rate: float, decay: float = 0.0, roots: Mapping[str, Tensor] | None = None
) -> float:
    """Perplexity by torch.optim.SGD on a copy, gradients scaled before its step."""
    copied = copy.deepcopy(model).eval()
    trained = {name: weight.detach().clone() for name, weight in copied.named_parameters()}
    optimizer = torch.optim.SGD(copied.parameters(), lr=rate)
    total, tokens, state = 0.0, 0, None
    for batch in batches:
        reading = copied(batch.inputs, state)
        state = tuple(part.detach() for part in reading.state)
        counted = batch.targets != NO_TARGET
        nats = copied.nats(reading.features[counted], batch.targets[counted])
        total, tokens = total + float(nats.detach().double().sum()), tokens + len(nats)
        optimizer.zero_grad()
        nats.mean().backward()
        pulls = {name: decay * (trained[name] - weight.detach()) for name, weight in copied.named_parameters()}
        for name, weight in copied.named_parameters():
            if roots is not None and weight.grad is not None:
                mean = sum(float(root.mean()) for root in roots.values()) / len(roots)
                pulls[name] *= (roots[name] / mean).clamp(max=1 / decay)
                weight.grad /= roots[name] + EPSILON
        optimizer.step()
        with torch.no_grad():
            for name, weight in copied.named_parameters():
                weight += pulls[name]
    return math.exp(total / tokens)


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_dynamic_evaluation_is_gradient_descent_by_hand(model: ToyLSTM, decay: float, warm_up: int) -> None:
    batches = passages(random_text(42), 5, warm_up)
    counts = measured(model, DynamicEvaluation(ToyTask(), 0.5, decay), batches)
    assert perplexity(counts) == pytest.approx(hand_written(model, batches, 0.5, decay), rel=1e-6)
    assert abs(perplexity(counts) - perplexity(measured(model, ToyTask(), batches))) > 0.01


def test_the_statistics_are_sums_of_squares_by_hand(model: ToyLSTM) -> None:
    batches = passages(random_text(30, 4), 7)
    counts = measured(model, GradientSquares(ToyTask()), batches)
    expected: dict[str, Tensor] = {}
    state = None
    model.eval()
    for batch in batches:
        reading = model(batch.inputs, state)
        state = tuple(part.detach() for part in reading.state)
        model.zero_grad()
        model.nats(reading.features.flatten(0, 1), batch.targets.flatten()).mean().backward()
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                expected[name] = expected.get(name, 0) + weight.grad**2
    assert int(counts["windows"]) == len(batches) == 5
    assert set(counts) - {"windows"} == {*expected, "unused.weight", "unused.bias"}
    for name, squares in expected.items():
        torch.testing.assert_close(counts[name], squares)
        torch.testing.assert_close(compute_root_mean_squares(counts)[name], (squares / 5).sqrt())
    assert not counts["unused.weight"].any()


def test_steps_and_decay_go_by_the_statistics(model: ToyLSTM) -> None:
    roots = compute_root_mean_squares(
        measured(model, GradientSquares(ToyTask()), passages(random_text(60, 2, seed=5), 5))
    )
    batches = passages(random_text(42), 5)
    for decay in (0.02, 0.8):  # with the larger one some weights would be pulled beyond the trained ones
        counts = measured(model, DynamicEvaluation(ToyTask(), 1e-3, decay, roots), batches)
        assert perplexity(counts) == pytest.approx(hand_written(model, batches, 1e-3, decay, roots), rel=1e-6)


def test_the_model_is_left_as_it_was(model: ToyLSTM) -> None:
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    batches = passages(random_text(20), 5)
    plain = measured(model, ToyTask(), batches)
    model.train()
    measured(model, DynamicEvaluation(ToyTask(), 1.0, 0.1), batches)
    measured(model, GradientSquares(ToyTask()), batches)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert measured(model, ToyTask(), batches) == plain


def test_a_score_depends_on_its_arguments_alone(model: ToyLSTM) -> None:
    """Nothing that a window is given is changed by it."""
    first, second = passages(random_text(10), 5)
    for adapted in (NeuralCache(ToyTask(), 4, 0.3, 1.0), DynamicEvaluation(ToyTask(), 0.5, 0.1)):
        with torch.inference_mode():
            carry = adapted.score(model.eval(), first, None).carry
            assert adapted.score(model, second, carry).counts == adapted.score(model, second, carry).counts


def test_a_rate_of_nothing_is_the_plain_model(model: ToyLSTM) -> None:
    batches = passages(random_text(33), 5)
    plain, still = measured(model, ToyTask(), batches), measured(model, DynamicEvaluation(ToyTask(), 0.0, 0.0), batches)
    assert perplexity(still) == pytest.approx(perplexity(plain), rel=1e-6)
    assert still["correct"] == plain["correct"]


def test_a_window_without_targets_teaches_nothing(model: ToyLSTM) -> None:
    text = random_text(20)
    batches = passages(text, 5, warm_up=10)
    counts = measured(model, DynamicEvaluation(ToyTask(), 0.5, 0.0), batches)
    copied = copy.deepcopy(model).eval()
    state = copied(text[:10], None).state
    with torch.inference_mode():
        carry = DynamicEvaluation(ToyTask(), 0.5, 0.0).score(copied, batches[0], None).carry
        carry = DynamicEvaluation(ToyTask(), 0.5, 0.0).score(copied, batches[1], carry).carry
    torch.testing.assert_close(carry.carry, state)
    assert all(torch.equal(weight, dict(model.named_parameters())[name]) for name, weight in carry.weights.items())
    assert math.isfinite(float(counts["nats"]))


def test_repeated_text_grows_more_likely(model: ToyLSTM) -> None:
    text = random_text(30).repeat(6, 1)
    plain = perplexity(measured(model, ToyTask(), passages(text, 5)))
    cached = perplexity(measured(model, NeuralCache(ToyTask(), 100, 0.5, 20.0), passages(text, 35)))
    learned = perplexity(measured(model, DynamicEvaluation(ToyTask(), 0.5, 0.0), passages(text, 5)))
    assert cached < 0.9 * plain
    assert learned < 0.9 * plain


def test_bf16_is_scored_and_learned_from(model: ToyLSTM) -> None:
    runtime = Runtime(torch.device("cpu"), "test", "bf16")
    text = random_text(30).repeat(6, 1)
    plain = perplexity(accumulate_counts(model, ToyTask(), passages(text, 5), runtime))  # type: ignore[arg-type]
    for task in (NeuralCache(ToyTask(), 100, 0.5, 20.0), DynamicEvaluation(ToyTask(), 0.5, 0.0)):
        full = perplexity(measured(model, task, passages(text, 5)))
        found = perplexity(accumulate_counts(model, task, passages(text, 5), runtime))  # type: ignore[arg-type]
        assert found == pytest.approx(full, rel=0.03)
        assert found < 0.9 * plain


def test_only_tasks_that_tally_adapt() -> None:
    from dltrain.tasks.classification import ImageClassification

    images = ImageClassification({"labels": ["a"], "channels": 1, "height": 2, "width": 2})
    assert isinstance(ToyTask(), Adapts)
    assert not isinstance(images, Adapts)
