"""The loader: the same batches in the same order, with or without workers."""

from __future__ import annotations

import threading

import pytest
import torch

from dltrain.stream import Loader


class Numbers:
    """Batch (epoch, index), and who made it; later batches are ready first."""

    def __init__(self, length: int, fault: int | None = None) -> None:
        self.length, self.fault = length, fault
        self.makers: set[str] = set()

    def __len__(self) -> int:
        return self.length

    def batch(self, epoch: int, index: int) -> tuple[int, int]:
        self.makers.add(threading.current_thread().name)
        if index == self.fault:
            raise ValueError(f"batch {index}")
        return epoch, index


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("start", [0, 3, 7])
def test_batches_come_in_order_from_any_start(workers: int, start: int) -> None:
    loader = Loader(Numbers(7), workers)
    assert len(loader) == 7
    assert list(loader.epoch(2, start)) == [(2, index) for index in range(start, 7)]


def test_workers_make_the_batches() -> None:
    with_workers, without = Numbers(20), Numbers(20)
    list(Loader(with_workers, 2).epoch(0))
    list(Loader(without, 0).epoch(0))
    assert without.makers == {threading.current_thread().name}
    assert all(name.startswith("dltrain-ahead") for name in with_workers.makers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_in_a_batch_reaches_the_one_who_asks_for_it(workers: int) -> None:
    batches = Loader(Numbers(9, fault=4), workers).epoch(0)
    assert [next(batches) for _ in range(4)] == [(0, index) for index in range(4)]
    with pytest.raises(ValueError, match="batch 4"):
        next(batches)


def test_batches_are_made_only_a_little_ahead() -> None:
    made: list[int] = []

    class Counting(Numbers):
        def batch(self, epoch: int, index: int) -> tuple[int, int]:
            made.append(index)
            return epoch, index

    batches = Loader(Counting(1000), 2).epoch(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(made) <= 5


def test_an_epoch_left_half_way_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    batches = Loader(Numbers(100), 3).epoch(0)
    next(batches)
    assert set(threading.enumerate()) > before
    batches.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_workers_leave_the_training_threads_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(Loader(Numbers(20), 2).epoch(0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
