"""Batches that are divided into shards, against whole batches, and against what each shard gives by itself."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import NO_TARGET, Examples, shard_batch
from dltrain.core.state import TrainState
from dltrain.core.trainer import compute_gradients, update
from dltrain.data.text.passages import Passages
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.runtime.precision import Runtime
from dltrain.runtime.shard_statistics import ShardStatistics
from dltrain.runtime.world import Shards
from dltrain.task import Counts, Score, Step


class Squares:
    """Least squares; the state that it carries counts the batches of its shard."""

    goal = Goal("error", "min")
    sizes: dict[str, int] = {}  # noqa: RUF012

    def step(self, model: nn.Module, batch: Examples, carry: int | None) -> Step:
        return Step(functional.mse_loss(model(batch.inputs)[:, 0], batch.targets), (carry or 0) + 1)

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        raise NotImplementedError

    def report(self, counts: Counts) -> dict[str, float]:
        raise NotImplementedError


def draw_batch(count: int, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    return Examples(torch.randn(count, 3, generator=generator), torch.randn(count, generator=generator))


def make_state(model: nn.Module) -> TrainState:
    return TrainState(model, torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", enabled=False))


def make_runtime(shards: int) -> Runtime:
    return Runtime(torch.device("cpu"), "a test", world=Shards(shards, seed=5))


def linear() -> nn.Module:
    torch.manual_seed(2)
    return nn.Linear(3, 1)


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("shards", [2, 3, 4, 7])
@pytest.mark.parametrize("counts", [(24,), (21,), (5, 2, 11), (1,)])
def test_gradients_and_loss_are_those_of_whole_batches(shards: int, counts: tuple[int, ...]) -> None:
    batches = [draw_batch(count, count) for count in counts]
    state = make_state(linear())
    loss = compute_gradients(state, Squares(), batches, make_runtime(shards))
    whole = linear()
    inputs, targets = torch.cat([one.inputs for one in batches]), torch.cat([one.targets for one in batches])
    expected = functional.mse_loss(whole(inputs)[:, 0], targets)
    expected.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradients(state.model), gradients(whole))


def test_shards_are_added_as_a_binary_tree() -> None:
    """In float32 (a + b) + (c + d) differs from ((a + b) + c) + d for most numbers, so that the order shows."""
    batch, state = draw_batch(16), make_state(linear())
    parts = []
    for part in shard_batch(batch, 4):
        alone = linear()
        (functional.mse_loss(alone(part.inputs)[:, 0], part.targets) * (4 / 16)).backward()  # type: ignore[no-untyped-call]
        parts.append(torch.cat([gradient.flatten() for gradient in gradients(alone)]))
    compute_gradients(state, Squares(), [batch], make_runtime(4))
    found = torch.cat([gradient.flatten() for gradient in gradients(state.model)])
    assert torch.equal(found, (parts[0] + parts[1]) + (parts[2] + parts[3]))


def test_an_unused_parameter_has_no_gradient() -> None:
    model = linear()
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    state = make_state(model)
    compute_gradients(state, Squares(), [draw_batch(8)], make_runtime(4))
    assert model.get_parameter("unused").grad is None


def test_dropout_depends_on_seed_step_batch_and_shard_alone() -> None:
    class Noted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.drawn = linear(), list[Tensor]()

        def forward(self, inputs: Tensor) -> Tensor:
            self.drawn.append(torch.rand(2))
            output: Tensor = self.linear(inputs)
            return output

    def draw(seeds: int, steps: int) -> list[Tensor]:
        torch.manual_seed(seeds)
        model = Noted()
        state, runtime = make_state(model), make_runtime(2)
        state.step = steps
        compute_gradients(state, Squares(), [draw_batch(4), draw_batch(4)], runtime)
        return model.drawn

    first, again, later = draw(0, 3), draw(1, 3), draw(0, 4)
    assert all(map(torch.equal, first, again))
    rows = [tuple(one.tolist()) for one in (*first, *later)]
    assert len(set(rows)) == 8


def test_each_shard_carries_its_own_state() -> None:
    state = make_state(linear())
    update(state, Squares(), [draw_batch(8), draw_batch(8)], clip_norm=None, runtime=make_runtime(2))
    update(state, Squares(), [draw_batch(1)], clip_norm=None, runtime=make_runtime(2))
    assert state.carries == {0: 3, 1: 2}


@pytest.mark.parametrize("momentum", [0.1, 0.4, None])
def test_running_statistics_take_one_shard_after_the_other(momentum: float | None) -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.BatchNorm1d(3, momentum=momentum), linear()

        def forward(self, inputs: Tensor) -> Tensor:
            output: Tensor = self.linear(self.norm(inputs))
            return output

    model, runtime, batches = Normalised(), make_runtime(3), [draw_batch(9), draw_batch(12, 1)]
    chain = copy.deepcopy(model.norm)
    state = make_state(model)
    with runtime.world.prepare(model):
        for batch in batches:
            update(state, Squares(), [batch], clip_norm=None, runtime=runtime)
            for part in shard_batch(batch, 3):
                chain(part.inputs)
    torch.testing.assert_close(dict(model.norm.named_buffers()), dict(chain.named_buffers()))
    assert model.norm.momentum == momentum
    model.eval()
    before = copy.deepcopy(dict(model.norm.named_buffers()))
    with ShardStatistics(model) as statistics:
        model(batches[0].inputs)
        assert statistics.take() == []
    assert all(torch.equal(one, before[name]) for name, one in model.norm.named_buffers())


def test_passages_are_divided_by_columns() -> None:
    targets = torch.arange(15).view(3, 5)
    targets[2, 4] = NO_TARGET
    whole = Passages(torch.arange(15).view(3, 5) - 1, targets, 14, continues=True, rate=0.5)
    parts = shard_batch(whole, 2)
    assert torch.equal(torch.cat([part.inputs for part in parts], 1), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts], 1), targets)
    assert [part.count for part in parts] == [9, 5]
    assert all(part.continues and part.rate == 0.5 for part in parts)
    assert len(shard_batch(whole, 8)) == 5


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    class Whole:
        count, rate, arguments = 1, 1.0, ()

    with pytest.raises(UsageError, match=r"trainer\.shards: 2, but batches of the type Whole cannot be divided"):
        shard_batch(Whole(), 2)  # type: ignore[arg-type]
