"""Devices, memory, signals and the environment record."""

from __future__ import annotations

import signal
import time

import pytest
import torch
from torch import nn

from dltrain.errors import OutOfMemory, Stopped, UsageError
from dltrain.options import Plan
from dltrain.runtime import precision
from dltrain.runtime.cores import count_threads
from dltrain.runtime.environment import describe_process
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.memory import explain_memory_errors, keep_freed_blocks
from dltrain.runtime.precision import AvailableDevice, Runtime, choose_device

TWO_GPUS = [
    AvailableDevice("cuda:0", "GPU A", 2**30, 2**33),
    AvailableDevice("cuda:1", "GPU B", 5 * 2**30, 2**33),
    AvailableDevice("cpu", "2 threads"),
]


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_auto_takes_the_device_with_most_free_memory_and_says_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "list_devices", lambda: TWO_GPUS)
    assert choose_device(name) == (torch.device("cuda:1"), "GPU B, 5.0 GiB free, most of 2 devices")
    assert choose_device("cuda:0").device == torch.device("cuda:0")
    assert choose_device("cpu") == (torch.device("cpu"), "as configured")


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps", "tpu"])
def test_an_absent_device_is_an_error_that_lists_what_there_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "list_devices", lambda: [AvailableDevice("cpu", "2 threads, AVX512")])
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert str(caught.value) == (
        f"trainer.device: this machine has no device '{name}'\navailable:\n  cpu: 2 threads, AVX512\n"
        "next: set trainer.device to one of these, or to auto"
    )
    assert choose_device("auto") == (torch.device("cpu"), "no CUDA device and no MPS")


def test_a_resumed_run_takes_over_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        precision.start_runtime(Plan(device="cpu"), {"threads": 1})
        assert torch.get_num_threads() == 1
        precision.start_runtime(Plan(device="cpu", threads=2), {"threads": 1})
        assert torch.get_num_threads() == 2
        precision.start_runtime(Plan(device="cpu"))
        assert torch.get_num_threads() == count_threads()
    finally:
        torch.set_num_threads(before)


def test_deterministic_is_set_and_unset() -> None:
    precision.start_runtime(Plan(device="cpu", deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    precision.start_runtime(Plan(device="cpu"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_running_out_of_memory_is_explained() -> None:
    with (
        pytest.raises(OutOfMemory, match=r"no memory left: .*can't allocate memory") as caught,
        explain_memory_errors(),
    ):
        torch.empty(2**60, dtype=torch.uint8)
    assert "next: lower data.batch_size (trainer.accumulate makes up for it)" in str(caught.value)
    assert caught.value.exit_code == 5
    with pytest.raises(OutOfMemory, match="the machine has none to give"), explain_memory_errors():
        raise MemoryError
    with pytest.raises(RuntimeError, match="something else"), explain_memory_errors():
        raise RuntimeError("something else")


def test_keeping_freed_blocks_works_where_glibc_is() -> None:
    import platform

    assert keep_freed_blocks() == (platform.libc_ver()[0] == "glibc")


def test_a_signal_before_training_raises_at_once() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(Stopped, match="stopped by SIGTERM") as caught:
            signal.raise_signal(signal.SIGTERM)
        assert caught.value.exit_code == 143
        assert interrupts.pending() is not None


def test_a_signal_in_training_waits_to_be_asked_for() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.training = True
        assert interrupts.pending() is None
        signal.raise_signal(signal.SIGINT)
        reason = interrupts.pending()
        assert reason is not None
        assert (str(reason), reason.exit_code) == ("stopped by SIGINT", 130)
    assert signal.getsignal(signal.SIGINT) == before


def test_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    interrupts = Interrupts()
    interrupts.limit(None)
    assert interrupts.pending() is None
    interrupts.limit(10)
    now[0] = 109.9
    assert interrupts.pending() is None
    now[0] = 110.0
    reason = interrupts.pending()
    assert reason is not None
    assert reason.exit_code == 75


def test_environment_bears_the_lack_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    record = describe_process()
    assert record["git"] is None
    assert (
        record["versions"]["torch"] == torch.__version__.split("+")[0]
        or record["versions"]["torch"] == torch.__version__
    )


@pytest.mark.parametrize("able", [True, False])
def test_lstms_in_fp16_are_refused_where_torch_has_none(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 3)), nn.GRU(2, 3)

    def forward(self: nn.LSTM, inputs: torch.Tensor) -> torch.Tensor:
        if not able:
            raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")
        return inputs

    monkeypatch.setattr(nn.LSTM, "forward", forward)
    state = torch.get_rng_state()
    for form, asked in (("fp32", model), ("bf16", model), ("fp16", other)):
        Runtime(torch.device("cpu"), "", form).check(asked)
    half = Runtime(torch.device("cpu"), "", "fp16")
    if able:
        half.check(model)
    else:
        with pytest.raises(UsageError) as caught:
            half.check(model)
        assert str(caught.value) == (
            "trainer.precision: fp16: torch computes no LSTM in fp16 on this CPU, and the model has one (1)\n"
            "allowed: fp32, bf16, and on a GPU fp16\nnext: set trainer.precision: bf16, or choose another device"
        )
    assert torch.equal(torch.get_rng_state(), state)
