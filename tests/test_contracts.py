"""What every model, dataset, task, optimizer and schedule must do: a new one is tested by being registered."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.experiment import load_experiment
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.schedules import Moment
from dltrain.core.summary import measure_model
from dltrain.runs.building import Names, Training, construct, construct_model
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.precision import Runtime
from support.examples import DATASETS, OPTIMIZERS, Examples, build_config, examples_of, write_config
from support.runs import StopAt, outcome, run_once, run_to_end

CPU = torch.device("cpu")
every_task = pytest.mark.parametrize("name", load_package_catalogue().names("task"))
every_optimizer = pytest.mark.parametrize("name", load_package_catalogue().names("optimizer"))
every_schedule = pytest.mark.parametrize("name", load_package_catalogue().names("schedule"))
every_model = pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name in load_package_catalogue().names("model") for number in range(len(examples_of(name)))],
)
every_dataset = pytest.mark.parametrize(
    ("name", "number"),
    [
        (name, number)
        for name in load_package_catalogue().names("dataset")
        for number in range(1 + (len(DATASETS[name].variants) if name in DATASETS else 0))
    ],
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return Examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def list_tensors(tree: Any) -> list[Tensor]:
    """The tensors in nested tuples, in their order."""
    if isinstance(tree, Tensor):
        return [tree]
    return [tensor for part in tree for tensor in list_tensors(part)] if isinstance(tree, tuple) else []


# --- models


@every_model
def test_a_model_learns_a_batch_by_heart_with_all_its_weights(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    training = build_config(tmp_path / "config.yaml", examples.model(name, number))
    model, optimizer = training.state.model, training.state.optimizer
    batch = next(iter(training.dataset.training().epoch(0)))
    silent = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    first = last = math.nan
    for step in range(400):
        optimizer.zero_grad()
        loss = training.task.step(model, batch, None).loss
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
        silent -= {key for key, parameter in model.named_parameters() if key in silent and parameter.grad.any()}
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
        if last < first / 10 and not silent:
            break
    assert not silent, "these weights never got a gradient"
    assert last < first / 10


@pytest.mark.slow
@every_model
def test_a_stopped_and_killed_run_of_a_model_ends_with_the_same_bytes(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    assert_exact_resume(examples.model(name, number), tmp_path)


def assert_exact_resume(config: dict[str, Any], folder: Path) -> None:
    path = write_config(folder / "config.yaml", config)
    whole = run_once(path, folder / "whole", Interrupts())
    broken = run_to_end(path, folder / "broken", [StopAt(3), StopAt(2, kill=True)])
    assert outcome(folder / "broken") == outcome(folder / "whole")
    assert broken.state.history == whole.state.history


@every_model
def test_the_work_on_all_of_a_model_s_weights_is_counted(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    training = build_config(tmp_path / "config.yaml", examples.model(name, number))
    summary = measure_model(
        training.state.model,
        training.task,
        next(iter(training.dataset.training().epoch(0))),
        optimizer=training.state.optimizer,
        autocast=nullcontext,
        average=None,
    )
    assert summary.forward_flops > 0
    assert not {row.name: row.uncounted for row in summary.rows if row.uncounted}


@every_model
def test_a_state_dict_holds_all_that_a_model_has_learned(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    config = examples.model(name, number)
    training = build_config(tmp_path / "config.yaml", config)
    model, batch = training.state.model, next(iter(training.dataset.training().epoch(0)))
    model.train()(*batch.arguments)  # statistics of batches are learned without an update
    experiment, names = load_experiment(tmp_path / "config.yaml").experiment, Names(())
    torch.manual_seed(1)
    other = construct_model(names, experiment, training.task).eval()
    expected = list_tensors(model.eval()(*batch.arguments))
    assert not all(map(torch.equal, list_tensors(other(*batch.arguments)), expected))
    other.load_state_dict(model.state_dict())
    assert all(map(torch.equal, list_tensors(other(*batch.arguments)), expected))


@every_model
def test_bf16_gives_float32_losses_and_gradients_close_to_the_exact(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    training = build_config(tmp_path / "config.yaml", examples.model(name, number))
    model, task = training.state.model.eval(), training.task
    batch = next(iter(training.dataset.training().epoch(0)))
    exact = task.step(model, batch, None).loss
    with Runtime(CPU, "test", "bf16").autocast():
        rough = task.step(model, batch, None).loss
        with torch.no_grad():
            counts = task.score(model, batch, None).counts
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)
    rough.backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
    assert all(math.isfinite(value) for value in task.report(counts).values())


# --- datasets


def assert_equal_batches(found: Iterator[Any], expected: list[Any]) -> None:
    batches = list(found)
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert type(batch) is type(other)
        for each in fields(batch):
            mine, its = getattr(batch, each.name), getattr(other, each.name)
            assert torch.equal(mine, its) if isinstance(mine, Tensor) else mine == its


def streams_of(training: Any) -> dict[str, Any]:
    return {split: getattr(training, split)() for split in ("training", "validation", "test")}


def build_dataset(examples: Examples, name: str, number: int, folder: Path, assets: Any = None, seed: int = 3) -> Any:
    """The dataset of an example, built as a config would build it; `assets` as a checkpoint has them."""
    variants = DATASETS[name].variants if name in DATASETS else []
    section = examples.data(name, [{}, *variants][number])
    kind = load_package_catalogue().find("dataset", name).facts["data"]
    task = next(each.name for each in load_package_catalogue().of("task") if each.facts["data"] == kind)
    fitting = examples.model_for_task(task)
    experiment = load_experiment(write_config(folder / "config.yaml", {**fitting, "data": section})).experiment
    return construct(Names(()), "dataset", experiment.data, provided=(name, seed, assets))


@every_dataset
def test_streams_are_functions_of_seed_epoch_and_start(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    first, second = (build_dataset(examples, name, number, tmp_path) for _ in range(2))
    for split, stream in streams_of(first).items():
        again = streams_of(second)[split]
        for epoch in (1, 0):
            batches = list(stream.epoch(epoch))
            assert len(batches) == len(stream) > 0
            assert_equal_batches(again.epoch(epoch), batches)
            for start in {1, len(batches) - 1}:
                assert_equal_batches(again.epoch(epoch, start), batches[start:])


@every_dataset
def test_assets_are_plain_json_and_give_the_same_streams(
    name: str, number: int, examples: Examples, tmp_path: Path
) -> None:
    dataset = build_dataset(examples, name, number, tmp_path)
    assets = json.loads(json.dumps(dataset.assets))
    assert assets == dataset.assets
    loaded = build_dataset(examples, name, number, tmp_path, assets=assets)
    for split, stream in streams_of(loaded).items():
        assert_equal_batches(stream.epoch(0), list(streams_of(dataset)[split].epoch(0)))
    assert loaded.assets == dataset.assets
    assert loaded.name == dataset.name
    assert all(len(digest) == 64 for digest in dataset.fingerprint.values())


@pytest.mark.parametrize("name", load_package_catalogue().names("dataset"))
def test_another_epoch_and_another_seed_give_another_order(name: str, examples: Examples, tmp_path: Path) -> None:
    if not DATASETS[name].shuffled:
        return
    dataset, other = (build_dataset(examples, name, 0, tmp_path, seed=seed) for seed in (3, 4))
    first = list(dataset.training().epoch(0))
    for changed in (dataset.training().epoch(1), other.training().epoch(0)):
        with pytest.raises(AssertionError):
            assert_equal_batches(changed, first)


# --- tasks


@every_task
def test_the_scores_of_parts_add_up_to_the_score_of_the_whole(name: str, examples: Examples, tmp_path: Path) -> None:
    reports = []
    for size in (3, 1000):
        options = {"evaluation_batch_size": size}
        if name == "language_modelling":
            options["form"] = "sentences"  # each line is read on its own, whatever stands beside it
        training = build_config(tmp_path / "config.yaml", examples.model_for_task(name, **options))
        stream = training.dataset.validation()
        assert len(stream) > 1 if size == 3 else len(stream) == 1
        counts = accumulate_counts(training.state.model, training.task, stream, training.runtime)
        reports.append(training.task.report(counts))
    assert reports[0] == pytest.approx(reports[1], rel=1e-6, nan_ok=True)
    assert {"loss", training.task.goal.metric} <= reports[0].keys()
    assert all(type(value) is float for value in reports[0].values())


# --- optimizers and schedules


def train_a_little(training: Training, steps: int) -> float:
    batch, loss = next(iter(training.dataset.training().epoch(0))), torch.zeros(())
    for _ in range(steps):
        training.state.optimizer.zero_grad()
        loss = training.task.step(training.state.model, batch, None).loss
        loss.backward()
        training.state.optimizer.step()
    return loss.item()


@every_optimizer
def test_an_optimizer_s_state_round_trips_and_it_lowers_the_loss(name: str, examples: Examples, tmp_path: Path) -> None:
    config = {**examples.model("mlp"), "optimizer": {"name": name, **OPTIMIZERS.get(name, {})}}
    first, second = (build_config(tmp_path / "config.yaml", config) for _ in range(2))
    start = train_a_little(first, 1)
    train_a_little(first, 3)
    second.state.model.load_state_dict(first.state.model.state_dict())
    second.state.optimizer.load_state_dict(copy.deepcopy(first.state.optimizer.state_dict()))
    assert train_a_little(first, 4) == train_a_little(second, 4) < start
    for mine, its in zip(first.state.model.parameters(), second.state.model.parameters(), strict=True):
        assert torch.equal(mine, its)


@every_optimizer
def test_a_stopped_and_killed_run_of_an_optimizer_ends_with_the_same_bytes(
    name: str, examples: Examples, tmp_path: Path
) -> None:
    assert_exact_resume({**examples.model("mlp"), "optimizer": {"name": name, **OPTIMIZERS.get(name, {})}}, tmp_path)


@every_schedule
def test_a_stopped_and_killed_run_of_a_schedule_ends_with_the_same_bytes(
    name: str, examples: Examples, tmp_path: Path
) -> None:
    assert_exact_resume({**examples.model("mlp"), "schedule": {"name": name}}, tmp_path)


@every_schedule
def test_a_schedule_is_a_pure_function_of_the_moment(name: str) -> None:
    schedule, again = (Names(())("schedule", name)() for _ in range(2))
    scores = (0.1, 0.5, 0.4, 0.3, 0.2, 0.1)
    improved = (True, True, False, False, False, False)
    moments = [Moment(step, 60, step // 10, scores[: step // 10], improved[: step // 10]) for step in range(60)]
    factors = [schedule(moment) for moment in moments]
    assert [again(moment) for moment in reversed(moments)] == factors[::-1]
    assert [schedule(moment) for moment in moments] == factors
    assert all(0 < factor <= 1 for factor in factors)
    if not schedule.reads_scores:
        assert [schedule(moment._replace(scores=(), improved=())) for moment in moments] == factors
    if not schedule.spans_run:
        assert [schedule(moment._replace(steps=99)) for moment in moments] == factors
