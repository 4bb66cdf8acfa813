"""The one training loop. It names no task, no model and no dataset."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

from dltrain.batch import Batch, divide_batch, to_device
from dltrain.capabilities import Shows
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.schedules import Moment, Schedule
from dltrain.core.state import TrainState, is_averaging
from dltrain.errors import Diverged, DltrainError, Stopped, UsageError
from dltrain.events import BatchesDivided, EpochStarted, Evaluated, Event, Finished, Logged
from dltrain.goal import Goal
from dltrain.options import Plan
from dltrain.runtime.memory import is_out_of_memory
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Task
from dltrain.tree import map_tensors

SMALLEST_SCALE = 2.0**-14
"""fp16's gradient scaler starts at 2**16 and halves with each update that it skips: 30 in a row lead here."""


class Session(Protocol):
    """The world outside the loop: it receives events, keeps state, and decides when to stop."""

    def emit(self, event: Event) -> None: ...

    def save(self, state: TrainState, evaluated: bool) -> None:
        """Write a checkpoint; `evaluated` when the newest entry of the history belongs to it."""

    def pending(self) -> Stopped | None:
        """Why training should stop at this border, or None."""

    def take_save_request(self) -> bool:
        """Whether a checkpoint is asked for at this border."""


def train_model(
    state: TrainState,
    task: Task[Any],
    *,
    training: Stream[Batch],
    validation: Stream[Batch],
    plan: Plan,
    schedule: Schedule,
    runtime: Runtime,
    session: Session,
) -> None:
    """Train from `state` on until the plan's epochs or steps are done or patience runs out.

    Raises Stopped, after a checkpoint, when the session asks for it, and Diverged, before the update, when a loss or
    a gradient is not finite.
    """
    state.model.train()
    cadence = Cadence(plan)
    batches = len(training)
    steps = plan.epochs * math.ceil(batches / plan.accumulate)
    limit = None if plan.max_steps is None else min(plan.epochs * batches, plan.max_steps * plan.accumulate)
    steps = min(steps, plan.max_steps or steps)
    around: dict[str, Any] = {"plan": plan, "batches": batches, "runtime": runtime, "session": session}
    evaluate = partial(evaluate_border, state, task, validation=validation, **around)
    while (why := state.history.finished(task.goal, plan)) is None:
        session.emit(EpochStarted(state.epoch + 1, plan.epochs, state.position, batches, limit=limit))
        stream = training.epoch(state.epoch, state.position)
        progress = review_scores(state, task.goal, plan)
        while state.position < batches:
            if is_evaluated_within_epoch(state, plan):
                evaluate(factor=schedule(progress.at(state.step - 1, steps)))
                why = state.history.finished(task.goal, plan)
                if state.history.improved(task.goal, plan.keep_best) or why:
                    save_checkpoint(state, session, evaluated=True)
                if why:
                    break
                progress = review_scores(state, task.goal, plan)
            group = list(islice(stream, plan.accumulate))
            factor = schedule(progress.at(state.step, steps))
            rate = factor * sum(batch.rate for batch in group) / len(group)
            for parameters, base in zip(state.optimizer.param_groups, state.base_rates, strict=True):
                parameters["lr"] = base * rate
            parts = state.parts
            logs = (state.step + 1) % plan.log_every_steps == 0
            norm = update(state, task, group, clip_norm=plan.clip_norm, runtime=runtime, measures=logs)
            if state.parts != parts:
                session.emit(BatchesDivided(state.step, state.parts))
            if logs:
                session.emit(summarize_updates(state, batches, factor, norm))
            if state.position < batches and cadence.due(state.step):
                save_checkpoint(state, session, evaluated=False)
            answer_requests(state, session)
        else:
            evaluate(factor=schedule(progress.at(state.step - 1, steps)))
            regular = state.epoch % plan.checkpoint_every_epochs == 0 or cadence.due(state.step)
            if regular or state.history.improved(task.goal, plan.keep_best) or state.history.finished(task.goal, plan):
                save_checkpoint(state, session, evaluated=True)
    session.emit(Finished(state.step, state.epoch, why))


class ScoreReview(NamedTuple):
    """The epoch, the validation scores so far, turned so that more is better, and whether each was an improvement."""

    epoch: int
    scores: Sequence[float]
    improved: Sequence[bool]

    def at(self, step: int, steps: int) -> Moment:
        return Moment(step, steps, self.epoch, self.scores, improved=self.improved)


def review_scores(state: TrainState, goal: Goal, plan: Plan) -> ScoreReview:
    """The scores after an evaluation, by which schedules go, and averaging starts."""
    direction = 1.0 if goal.direction == "max" else -1.0
    scores = [direction * score for score in state.history.scores(goal.metric) if score is not None]
    state.averaging = is_averaging(plan, scores)
    return ScoreReview(state.epoch, scores, state.history.improvements(goal))


def is_evaluated_within_epoch(state: TrainState, plan: Plan) -> bool:
    """Whether an evaluation is due after the last update, and has not been made."""
    if state.position == 0 or (state.history and state.history[-1]["step"] == state.step):
        return False
    every = plan.validate_every_steps
    return state.step == plan.max_steps or (every is not None and state.step % every == 0)


def update(
    state: TrainState,
    task: Task[Any],
    batches: Sequence[Batch],
    *,
    clip_norm: float | None,
    runtime: Runtime,
    measures: bool = False,
) -> Tensor | None:
    """One step of the optimizer on the mean loss over all examples of `batches`.

    Returns the L2 norm of the gradient before clipping, on its device, if it is clipped or `measures` asks for it.
    """
    examples = sum(batch.count for batch in batches)
    state.loss_sum.add_(compute_within_memory(state, task, batches, runtime), alpha=examples)
    state.scaler.unscale_(state.optimizer)
    parameters = list_parameters(state)
    note_gradients(state, parameters)
    if runtime.device.type == "cpu":  # elsewhere reading would stall the device: see raise_if_diverged
        raise_if_diverged(state, state.step + 1)
    norm = None
    if clip_norm is not None:
        norm = clip_grad_norm_(parameters, clip_norm)
    elif measures:
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.average is not None and state.averaging:
        state.average.update_parameters(state.model)
    state.examples += examples
    state.position += len(batches)
    state.step += 1
    return norm


def compute_within_memory(state: TrainState, task: Task[Any], batches: Sequence[Batch], runtime: Runtime) -> Tensor:
    """Compute the gradients of `batches`; where memory runs out, from then on in twice as many parts.

    The gradients are the same but for rounding, what batch normalisation sees and what dropout draws. Raises the
    device's error where the batches cannot be divided further.
    """
    while True:
        try:
            return compute_gradients(state, task, batches, runtime)
        except (RuntimeError, MemoryError) as error:
            pieces, more = (
                sum(
                    len(divide_batch(share, parts))
                    for batch in batches
                    for shard in runtime.world.own
                    for share in runtime.world.share(batch, shard)
                )
                for parts in (state.parts, 2 * state.parts)
            )
            if not is_out_of_memory(error) or more == pieces:
                raise
        # Only here, after the error, are its tensors free.
        state.parts *= 2
        state.optimizer.zero_grad()
        runtime.world.drop()
        if runtime.device.type == "cuda":
            torch.cuda.empty_cache()


def compute_gradients(state: TrainState, task: Task[Any], batches: Sequence[Batch], runtime: Runtime) -> Tensor:
    """Add the gradients of the mean loss over all examples of `batches`; that loss, which has no gradient."""
    examples, world = sum(batch.count for batch in batches), runtime.world
    parameters = list_parameters(state)
    for shard in world.own:
        losses: list[Tensor] = []
        for number, whole in enumerate(batches):
            world.seed(state.step, number, shard)
            for batch in (piece for part in world.share(whole, shard) for piece in divide_batch(part, state.parts)):
                with runtime.autocast():
                    step = task.step(state.model, to_device(batch, runtime.device), state.carries.get(shard))
                loss = step.loss if batch.count == examples else step.loss * (batch.count / examples)
                state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                state.carries[shard] = detach_carry(step.carry)
                losses.append(loss.detach())
        world.keep(parameters, losses)
    return world.total(parameters)


def list_parameters(state: TrainState) -> list[Tensor]:
    """The parameters that the optimizer updates."""
    return [parameter for group in state.optimizer.param_groups for parameter in group["params"]]


def note_gradients(state: TrainState, parameters: Sequence[Tensor]) -> None:
    """Set `state.not_finite` where a gradient is NaN or infinite; fp16's scaler skips such itself, and scales less.

    The kernel is the gradient scaler's own, with a scale of one, which changes nothing: one pass, and nothing is read.
    """
    if not state.scaler.is_enabled():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, state.not_finite, state.one)


def raise_if_diverged(state: TrainState, step: int) -> None:
    """Raise Diverged where the loss or a gradient has not been finite.

    On a CPU this is asked before each update. On an accelerator, which it would stall, when a line is logged and before
    anything is evaluated or saved: neither the sum of the losses nor the mark of the gradients ever recovers.
    """
    loss = float(state.loss_sum)
    if state.scaler.is_enabled():  # a scale that keeps falling means that no gradient has been finite for long
        gradients = state.scaler.get_scale() < SMALLEST_SCALE
    else:
        gradients = bool(state.not_finite)
    if not math.isfinite(loss) or gradients:
        bad = "the loss" if not math.isfinite(loss) else "a gradient"
        raise Diverged(
            f"epoch {state.epoch + 1}, step {step}: {bad} is not finite",
            advice="lower optimizer.learning_rate, or set trainer.clip_norm, or look for bad values in the data",
        )


@contextmanager
def explain_single_examples(advice: str) -> Iterator[None]:
    """Turn torch's error on batch normalisation of one example into a UsageError with this advice."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        message = "model: batch normalisation cannot learn from a batch of one example"
        raise UsageError(message, advice=advice) from error


def detach_carry(carry: Any) -> Any:
    """Cut what a step passes to the next from its graph: truncated back-propagation ends here and only here."""
    return map_tensors(carry, Tensor.detach)


def summarize_updates(state: TrainState, batches: int, factor: float, norm: Tensor | None) -> Logged:
    """The means since the last line; the next line starts from here. `factor` is the schedule's.

    `norm` is that of the last update's gradient.
    """
    raise_if_diverged(state, state.step)
    loss_sum, examples = float(state.loss_sum), state.examples
    since = examples - state.logged[1]
    loss = (loss_sum - state.logged[0]) / since
    state.logged = (loss_sum, examples)
    return Logged(
        step=state.step,
        epoch=state.epoch + 1,
        position=state.position,
        batches=batches,
        examples=since,
        loss=loss,
        learning_rate=state.base_rates[0] * factor,
        gradient_norm=None if norm is None else float(norm),
    )


def evaluate_border(
    state: TrainState,
    task: Task[Any],
    *,
    validation: Stream[Batch],
    plan: Plan,
    batches: int,
    factor: float,
    runtime: Runtime,
    session: Session,
) -> None:
    """Evaluate on the validation set; after the last of the epoch's `batches`, move to the next epoch.

    `factor` is the schedule's last one.
    """
    raise_if_diverged(state, state.step)
    report: dict[str, float] = {}
    metric = task.goal.metric
    if len(validation):
        counts = accumulate_counts(
            state.evaluated_model, task, validation, runtime, between=lambda: answer_requests(state, session)
        )
        report = task.report(counts)
        if metric not in report:
            raise DltrainError(
                f"the task's goal is the metric '{metric}', but its report has only {', '.join(report) or 'nothing'}",
                advice="return this metric from the task's method report",
            )
    training_loss = float(state.loss_sum) / state.examples
    ended = state.position == batches
    state.epoch += ended
    epoch = state.epoch if ended else state.epoch + state.position / batches
    facts: dict[str, Any] = {"epoch": epoch, "step": state.step, "training_loss": training_loss}
    facts["learning_rate"] = state.base_rates[0] * factor
    state.history.append({**facts, **{name: value if math.isfinite(value) else None for name, value in report.items()}})
    # The next log line covers the last updates too, so their sums are carried over.
    state.logged = (state.logged[0] - float(state.loss_sum), state.logged[1] - state.examples)
    state.loss_sum.zero_()
    state.examples = 0
    if ended:
        state.position, state.carries = 0, {}
    lines = show_samples(state, task, runtime.device)
    improved = state.history.improved(task.goal)
    session.emit(Evaluated(**facts, epochs=plan.epochs, report=report, improved=improved, shown=lines))


def show_samples(state: TrainState, task: Task[Any], device: torch.device) -> Sequence[str]:
    """A few lines that show what the model does by now, if the task can make them."""
    if not isinstance(task, Shows):
        return ()
    model = state.evaluated_model.eval()
    with torch.inference_mode():
        lines = task.show(model, device, state.epoch)
    model.train()
    return lines


def save_checkpoint(state: TrainState, session: Session, evaluated: bool) -> None:
    raise_if_diverged(state, state.step)
    session.save(state, evaluated)


def answer_requests(state: TrainState, session: Session) -> None:
    """Save where the session asks for it or has a reason to stop; raise Stopped with that reason."""
    reason = session.pending()
    if session.take_save_request() or reason is not None:
        save_checkpoint(state, session, evaluated=False)
    if reason is not None:
        raise reason


class Cadence:
    """When the next checkpoint within an epoch is due, by steps and by minutes."""

    def __init__(self, plan: Plan) -> None:
        self._steps = plan.checkpoint_every_steps
        self._seconds = None if plan.checkpoint_every_minutes is None else 60 * plan.checkpoint_every_minutes
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after update number `step`; the clock starts again when it is."""
        by_time = self._seconds is not None and time.monotonic() - self._last >= self._seconds
        if by_time:
            self._last = time.monotonic()
        return by_time or (self._steps is not None and step % self._steps == 0)
