"""The loop against loops written out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Examples
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.schedules import Constant, Cosine, Staircase
from dltrain.core.state import TrainState, is_averaging, make_average
from dltrain.core.trainer import detach_carry, train_model
from dltrain.errors import Diverged, Stopped
from dltrain.events import BatchesDivided, Evaluated, Event, Finished, Logged
from dltrain.goal import Goal
from dltrain.options import Plan
from dltrain.runtime.precision import Runtime
from dltrain.runtime.world import Alone
from dltrain.task import Counts, Score, Step

CPU = Runtime(torch.device("cpu"), "a test")
CONSTANT = Constant()


@dataclass
class Rows:
    """Batches of given sizes from a fixed table, the same in every epoch."""

    inputs: Tensor
    targets: Tensor
    size: int

    def __len__(self) -> int:
        return math.ceil(len(self.targets) / self.size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Examples]:
        for index in range(start, len(self)):
            rows = slice(index * self.size, (index + 1) * self.size)
            yield Examples(self.inputs[rows], self.targets[rows])


class Squares:
    """Least squares, for a linear model."""

    goal = Goal("error", "min")
    sizes: dict[str, int] = {}  # noqa: RUF012

    def step(self, model: nn.Module, batch: Examples, carry: Tensor | None) -> Step:
        seen = batch.targets.sum() if carry is None else carry + batch.targets.sum()
        return Step(functional.mse_loss(model(batch.inputs)[:, 0], batch.targets), seen)

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        errors = (model(batch.inputs)[:, 0] - batch.targets).square().sum()
        return Score({"squares": errors, "count": torch.tensor(batch.count)})

    def report(self, counts: Counts) -> dict[str, float]:
        return {"error": float(counts["squares"] / counts["count"])}


@dataclass
class Listening:
    events: list[Event] = field(default_factory=list)
    saved: list[tuple[int, bool]] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def save(self, state: TrainState, evaluated: bool) -> None:
        self.saved.append((state.step, evaluated))

    def pending(self) -> Stopped | None:
        return None

    def take_save_request(self) -> bool:
        return False


def table(rows: int = 25) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    inputs = torch.randn(rows, 3)
    return inputs, inputs @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(rows)


def linear(rate: float = 0.05) -> TrainState:
    torch.manual_seed(2)
    model = nn.Linear(3, 1)
    return TrainState(model, torch.optim.SGD(model.parameters(), rate, momentum=0.9), CPU.scaler())


def train(
    state: TrainState,
    task: Any,
    rows: tuple[Any, Any],
    plan: Plan,
    session: Any,
    schedule: Any = CONSTANT,
    runtime: Runtime = CPU,
) -> None:
    """Train on the first of `rows` and validate on the second."""
    train_model(
        state,
        task,
        training=rows[0],
        validation=rows[1],
        plan=plan,
        schedule=schedule,
        runtime=runtime,
        session=session,
    )


def trained(state: TrainState, plan: Plan, size: int = 4, schedule: object = None) -> Listening:
    session = Listening()
    rows = Rows(*table(), size)
    train(state, Squares(), (rows, rows), plan, session, schedule=schedule or Constant())
    return session


def by_hand(state: TrainState, epochs: int, size: int) -> list[Tensor]:
    rows = Rows(*table(), size)
    for epoch in range(epochs):
        for batch in rows.epoch(epoch):
            state.optimizer.zero_grad()
            functional.mse_loss(state.model(batch.inputs)[:, 0], batch.targets).backward()
            state.optimizer.step()
    return list(state.model.parameters())


def test_the_loop_equals_a_loop_by_hand() -> None:
    state = linear()
    trained(state, Plan(epochs=3))
    for mine, expected in zip(state.model.parameters(), by_hand(linear(), 3, 4), strict=True):
        assert torch.equal(mine, expected)
    assert (state.step, state.epoch, state.position) == (21, 3, 0)


@pytest.mark.parametrize("accumulate", [2, 3, 7, 100])
def test_accumulation_equals_larger_batches(accumulate: int) -> None:
    state = linear()
    trained(state, Plan(epochs=2, accumulate=accumulate))
    for mine, expected in zip(state.model.parameters(), by_hand(linear(), 2, 4 * accumulate), strict=True):
        torch.testing.assert_close(mine, expected)
    assert state.step == 2 * math.ceil(7 / accumulate)


def test_clipping_bounds_the_length_of_a_step() -> None:
    state = linear(rate=1.0)
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    trained(state, Plan(epochs=1, clip_norm=0.01), size=25)
    moved = torch.cat([(b - a.detach()).flatten() for b, a in zip(before, state.model.parameters(), strict=True)])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def test_moving_average_meets_its_definition() -> None:
    state, watched = linear(), linear()
    state.average = make_average(state.model, Plan(ema=0.9))
    trained(state, Plan(epochs=1, ema=0.9))
    expected: Tensor | None = None
    rows = Rows(*table(), 4)
    for updates, batch in enumerate(rows.epoch(0)):
        watched.optimizer.zero_grad()
        functional.mse_loss(watched.model(batch.inputs)[:, 0], batch.targets).backward()
        watched.optimizer.step()
        weight, decay = next(watched.model.parameters()).detach(), min(0.9, (1 + updates) / (10 + updates))
        expected = weight.clone() if expected is None else decay * expected + (1 - decay) * weight
    assert expected is not None
    torch.testing.assert_close(next(state.evaluated_model.parameters()).detach(), expected)
    assert not torch.equal(next(state.model.parameters()).detach(), expected)


def test_logged_loss_is_the_mean_over_examples() -> None:
    state = linear(rate=1e-30)  # weights stay, so each batch's loss can be told beforehand
    session = trained(state, Plan(epochs=1, log_every_steps=7))
    inputs, targets = table()
    expected = float(functional.mse_loss(linear().model(inputs)[:, 0], targets).detach())
    logs = [event for event in session.events if isinstance(event, Logged)]
    ends = [event for event in session.events if isinstance(event, Evaluated)]
    assert [event.examples for event in logs] == [25]
    assert logs[0].loss == pytest.approx(expected, rel=1e-5)
    assert ends[0].training_loss == pytest.approx(expected, rel=1e-5)
    assert ends[0].report["error"] == pytest.approx(expected, rel=1e-5)


def test_schedule_sets_the_rate_of_each_step() -> None:
    session = trained(linear(0.08), Plan(epochs=4, log_every_steps=1), 25, Staircase(every_epochs=2, gamma=0.5))
    rates = [event.learning_rate for event in session.events if isinstance(event, Logged)]
    assert rates == [0.08, 0.08, 0.04, 0.04]


def test_checkpoints_by_epochs_and_by_steps() -> None:
    session = trained(linear(), Plan(epochs=2, checkpoint_every_steps=3))
    assert session.saved == [(3, False), (6, False), (7, True), (9, False), (12, False), (14, True)]


def test_checkpoints_by_minutes() -> None:
    session = trained(linear(), Plan(epochs=1, checkpoint_every_minutes=1e-12))
    assert session.saved == [*((step, False) for step in range(1, 7)), (7, True)]


def test_best_epochs_are_saved_between_two_regular_ones() -> None:
    session = trained(linear(), Plan(epochs=3, checkpoint_every_epochs=100))
    improved = [event.step for event in session.events if isinstance(event, Evaluated) and event.improved]
    assert improved
    assert session.saved == [(step, True) for step in improved]


def test_the_last_epoch_is_always_saved() -> None:
    state = linear(rate=1e-30)  # the score never gets better after the first epoch
    session = trained(state, Plan(epochs=3, checkpoint_every_epochs=100))
    assert session.saved == [(7, True), (21, True)]


@dataclass
class Small(Squares):
    """A task for which memory ends beyond `room` examples."""

    room: int

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        loss = functional.mse_loss(model(batch.inputs)[:, 0], batch.targets)
        if batch.count > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Step(loss)


@pytest.mark.parametrize(("room", "parts"), [(10, 1), (8, 2), (3, 4), (1, 16)])
def test_batches_that_do_not_fit_into_memory_are_computed_in_parts(room: int, parts: int) -> None:
    state, session = linear(), Listening()
    rows = Rows(*table(), 10)
    train(state, Small(room), (rows, rows), Plan(epochs=2, log_every_steps=1), session)
    for mine, expected in zip(state.model.parameters(), by_hand(linear(), 2, 10), strict=True):
        torch.testing.assert_close(mine, expected)
    assert (state.parts, state.step, state.epoch) == (parts, 6, 2)
    assert [event for event in session.events if isinstance(event, BatchesDivided)] == (
        [] if parts == 1 else [BatchesDivided(1, parts)]
    )
    whole = trained(linear(), Plan(epochs=2, log_every_steps=1), 10)
    losses = [[event.loss for event in each.events if isinstance(event, Logged)] for each in (session, whole)]
    assert losses[0] == pytest.approx(losses[1])


def test_memory_that_no_example_fits_into_is_an_error_and_changes_nothing() -> None:
    state, rows = linear(), Rows(*table(), 10)
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    with pytest.raises(torch.OutOfMemoryError):
        train(state, Small(0), (rows, rows), Plan(), Listening())
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), before, strict=True))


def test_a_resumed_run_computes_in_as_many_parts() -> None:
    state, other = linear(), linear()
    rows = Rows(*table(), 10)
    train(state, Small(3), (rows, rows), Plan(epochs=1), Listening())
    other.restore(dict(state.evaluated_model.state_dict()), state.tree())
    assert other.parts == 4


def test_max_steps_ends_within_an_epoch_and_evaluates_there() -> None:
    state = linear()
    session = trained(state, Plan(epochs=3, max_steps=10))
    rows, model = [batch for epoch in range(2) for batch in Rows(*table(), 4).epoch(epoch)][:10], linear()
    for batch in rows:
        model.optimizer.zero_grad()
        functional.mse_loss(model.model(batch.inputs)[:, 0], batch.targets).backward()
        model.optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), model.model.parameters(), strict=True))
    ends = [(event.step, event.epoch) for event in session.events if isinstance(event, Evaluated)]
    assert ends == [(7, 1), (10, 1 + 3 / 7)]
    assert session.events[-1] == Finished(10, 1, "10 steps done")
    assert session.saved[-1] == (10, True)


def test_schedules_span_the_steps_that_are_made() -> None:
    session = trained(linear(0.08), Plan(epochs=9, max_steps=4, log_every_steps=1), schedule=Cosine())
    rates = [event.learning_rate for event in session.events if isinstance(event, Logged)]
    assert rates == pytest.approx([0.08 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)])


def test_evaluations_within_epochs_have_the_losses_between_them_and_change_no_weight() -> None:
    state, plain = linear(), linear()
    session = trained(state, Plan(epochs=2, validate_every_steps=3, log_every_steps=1))
    trained(plain, Plan(epochs=2))
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), plain.model.parameters(), strict=True))
    found = [event for event in session.events if isinstance(event, Evaluated)]
    assert [(event.step, event.epoch) for event in found] == [
        (3, 3 / 7), (6, 6 / 7), (7, 1), (9, 1 + 2 / 7), (12, 1 + 5 / 7), (14, 2)
    ]  # fmt: skip
    logged = {event.step: (event.loss, event.examples) for event in session.events if isinstance(event, Logged)}
    before = 0
    for event in found:
        parts = [logged[step] for step in range(before + 1, event.step + 1)]
        expected = sum(loss * count for loss, count in parts) / sum(count for _, count in parts)
        assert event.training_loss == pytest.approx(expected)
        before = event.step


def test_patience_counts_evaluations_within_epochs() -> None:
    state = linear(rate=1e-30)  # the score never gets better after the first evaluation
    session = trained(state, Plan(epochs=3, validate_every_steps=2, patience=2))
    assert session.events[-1] == Finished(6, 0, "stopped early: no better error in 2 evaluations")


def test_patience_ends_training() -> None:
    state = linear(rate=1e-30)
    trained(state, Plan(epochs=50, patience=3))
    assert state.epoch == 4


def test_no_validation_set_means_no_score() -> None:
    session, state = Listening(), linear()
    rows = Rows(*table(), 4)
    nothing = Rows(torch.zeros(0, 3), torch.zeros(0), 4)
    train(state, Squares(), (rows, nothing), Plan(epochs=2), session)
    assert [record.get("error") for record in state.history] == [None, None]
    assert session.saved == [(7, True), (14, True)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(bad: float) -> None:
    state, session = linear(), Listening()
    inputs, targets = table()
    targets[10] = bad
    rows = Rows(inputs, targets, 4)
    expected = by_hand_until(2)
    told = r"epoch 1, step 3: the loss is not finite\nnext: lower optimizer.learning_rate"
    with pytest.raises(Diverged, match=told):
        train(state, Squares(), (rows, rows), Plan(epochs=1), session)
    for mine, before in zip(state.model.parameters(), expected, strict=True):
        assert torch.equal(mine, before)
    assert session.saved == []


def by_hand_until(steps: int) -> list[Tensor]:
    state, rows = linear(), Rows(*table(), 4)
    for batch in list(rows.epoch(0))[:steps]:
        state.optimizer.zero_grad()
        functional.mse_loss(state.model(batch.inputs)[:, 0], batch.targets).backward()
        state.optimizer.step()
    return list(state.model.parameters())


def test_a_gradient_that_is_not_finite_stops_before_the_update() -> None:
    class RootOfZero(Squares):
        def step(self, model: nn.Module, batch: Examples, carry: Tensor | None) -> Step:
            return Step((model(batch.inputs) * 0).abs().sqrt().sum())  # finite itself, its gradient is not

    state = linear()
    rows = Rows(*table(), 4)
    with pytest.raises(Diverged, match=r"step 1: a gradient is not finite\nnext: lower"):
        train(state, RootOfZero(), (rows, rows), Plan(epochs=1), Listening())
    assert torch.equal(next(state.model.parameters()), next(linear().model.parameters()))


def test_fp16_gives_up_when_no_gradient_is_finite_for_long() -> None:
    class RootOfZero(Squares):
        def step(self, model: nn.Module, batch: Examples, carry: Tensor | None) -> Step:
            return Step(functional.mse_loss(model(batch.inputs)[:, 0].detach(), batch.targets) + _nan_gradient(model))

    def _nan_gradient(model: nn.Module) -> Tensor:
        return sum(((parameter * 0).abs().sqrt().sum() for parameter in model.parameters()), torch.zeros(()))

    state = linear()
    state.scaler = torch.amp.GradScaler("cpu")
    rows = Rows(*table(40), 1)
    with pytest.raises(Diverged, match=r"step 32: a gradient is not finite"):
        train(state, RootOfZero(), (rows, rows), Plan(epochs=1), Listening())


def test_where_reading_is_dear_the_sums_are_looked_at_before_anything_is_saved() -> None:
    class Accelerator(Runtime):
        """Claims to be no CPU, so that the loop does not read each step's loss."""

        world = Alone()

        @property
        def device(self) -> object:  # type: ignore[override]
            return _Pretended()

    class _Pretended:
        type = "cuda"

        def __eq__(self, other: object) -> bool:
            return True  # every batch is on it already

        __hash__ = None  # type: ignore[assignment]

    inputs, targets = table()
    targets[10] = math.nan
    rows, session = Rows(inputs, targets, 4), Listening()
    runtime = object.__new__(Accelerator)
    object.__setattr__(runtime, "precision", "fp32")
    plan = Plan(epochs=1, checkpoint_every_steps=4, log_every_steps=100)
    with pytest.raises(Diverged, match="epoch 1, step 4: the loss is not finite"):
        train(linear(), Squares(), (rows, rows), plan, session, runtime=runtime)
    assert session.saved == []


def test_carry_is_passed_on_detached_and_not_between_epochs() -> None:
    seen: list[float | None] = []

    class Watching(Squares):
        def step(self, model: nn.Module, batch: Examples, carry: Tensor | None) -> Step:
            seen.append(None if carry is None else float(carry))
            assert carry is None or not carry.requires_grad
            step = super().step(model, batch, carry)
            return Step(step.loss, step.loss * 0 + len(seen))

    rows = Rows(*table(), 10)
    train(linear(), Watching(), (rows, rows), Plan(epochs=2), Listening())
    assert seen == [None, 1, 2, None, 4, 5]


def test_detached_reaches_into_containers() -> None:
    graph = torch.ones(1, requires_grad=True) * 2
    cut = detach_carry({"a": (graph, [graph]), "b": 3})
    assert not cut["a"][0].requires_grad
    assert not cut["a"][1][0].requires_grad
    assert cut["b"] == 3
    assert detach_carry(Step(graph, None)).loss.requires_grad is False  # a named tuple stays one


@pytest.mark.parametrize("size", [1, 4, 7, 25, 100])
def test_evaluation_is_exact_for_ragged_batches_and_leaves_training_alone(size: int) -> None:
    state = linear()
    inputs, targets = table()
    expected = float(functional.mse_loss(state.model(inputs)[:, 0], targets).detach())
    before = torch.get_rng_state()
    task = Squares()
    counts = accumulate_counts(state.model, task, Rows(inputs, targets, size), CPU)
    assert task.report(counts)["error"] == pytest.approx(expected, rel=1e-5)
    assert int(counts["count"]) == 25
    assert torch.equal(torch.get_rng_state(), before)
    assert state.model.training


def test_nt_asgd_begins_after_an_epoch_worse_than_all_but_the_last_ones() -> None:
    """Algorithm 1 of Merity et al. 2018: at epoch t, begin where t > n and v_t is worse than all v_0 ... v_t-n-1."""
    plan = Plan(nt_asgd=2)
    assert not is_averaging(plan, [])
    assert not is_averaging(plan, [-5.0, -4.0, -6.0])  # t = 2 is not above n
    assert not is_averaging(plan, [-5.0, -4.0, -3.0, -4.5])  # worse than the last, better than -5
    assert is_averaging(plan, [-5.0, -4.0, -3.0, -5.5])
    assert is_averaging(plan, [-5.0, -4.0, -3.0, -5.5, -1.0])  # once begun, it stays
    assert is_averaging(Plan(ema=0.9), [])
    assert not is_averaging(Plan(), [-1.0, -2.0, -3.0, -4.0, -9.0])


def test_nt_asgd_evaluates_the_mean_of_the_weights_since_it_began() -> None:
    """Descent by far too long steps gets worse with each epoch, so averaging begins when it may: in the fourth."""
    state = linear(3.0)
    plan = Plan(epochs=6, nt_asgd=1)
    state.average = make_average(state.model, plan)
    weights: dict[int, Tensor] = {}

    class Recording(Listening):
        def pending(self) -> Stopped | None:
            if state.averaging:
                weights[state.step] = state.model.weight.detach().clone()
            return None

    rows = Rows(*table(), 25)
    train(state, Squares(), (rows, rows), plan, Recording())
    errors = [record["error"] for record in state.history]
    assert errors[:3] == sorted(errors[:3])
    assert list(weights) == [4, 5, 6]
    torch.testing.assert_close(state.evaluated_model.weight, torch.stack(list(weights.values())).mean(0))
    assert not torch.equal(state.evaluated_model.weight, state.model.weight)


def test_a_batch_may_scale_the_learning_rate() -> None:
    """Half the rate for a batch is half a step of plain descent; the log tells of the schedule's rate."""

    @dataclass(frozen=True)
    class Short(Examples):
        rate = 0.5

    class ShortRows(Rows):
        def epoch(self, epoch: int, start: int = 0) -> Iterator[Examples]:
            return (Short(batch.inputs, batch.targets) for batch in super().epoch(epoch, start))

    rows = Rows(*table(), 25)
    moved = []
    for kind in (Rows, ShortRows):
        state = linear(0.1)
        before = state.model.weight.detach().clone()
        session = Listening()
        plan = Plan(epochs=1, log_every_steps=1)
        train(state, Squares(), (kind(*table(), 25), rows), plan, session)
        moved.append(state.model.weight.detach() - before)
        assert [event.learning_rate for event in session.events if isinstance(event, Logged | Evaluated)] == [0.1, 0.1]
    torch.testing.assert_close(moved[1], moved[0] / 2)


def test_what_a_task_shows_comes_with_the_evaluation() -> None:
    class Showing(Squares):
        def show(self, model: nn.Module, device: torch.device, number: int) -> list[str]:
            return [f"epoch {number}, training {model.training}, {device}, gradients {torch.is_grad_enabled()}"]

    session, rows, state = Listening(), Rows(*table(), 25), linear()
    train(state, Showing(), (rows, rows), Plan(epochs=2), session)
    shown = [event.shown for event in session.events if isinstance(event, Evaluated)]
    assert shown == [[f"epoch {epoch}, training False, cpu, gradients False"] for epoch in (1, 2)]
    assert state.model.training
