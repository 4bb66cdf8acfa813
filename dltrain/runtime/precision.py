"""How to compute: device, number format, threads, determinism. Set up once, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from dltrain.errors import UsageError
from dltrain.options import Plan
from dltrain.runtime.cores import count_threads
from dltrain.runtime.memory import keep_freed_blocks
from dltrain.runtime.world import Alone, Shards, World


class AvailableDevice(NamedTuple):
    """A device of this machine: its name in a config, what it is, and its free and whole memory in bytes."""

    name: str
    description: str
    free_bytes: int | None = None
    total_bytes: int | None = None


class ChosenDevice(NamedTuple):
    device: torch.device
    why: str


def list_devices() -> list[AvailableDevice]:
    """All devices that training can run on; the CPU last."""
    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            devices.append(AvailableDevice(f"cuda:{index}", torch.cuda.get_device_name(index), free, total))
    if torch.backends.mps.is_available():
        devices.append(AvailableDevice("mps", "Apple GPU"))
    devices.append(
        AvailableDevice("cpu", f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    )
    return devices


def format_gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def choose_device(name: str, source: str = "trainer.device", option: str = "trainer.device") -> ChosenDevice:
    """The device that `name` means: auto, gpu, cpu, cuda, cuda:N or mps.

    `gpu` is CUDA, else MPS. `auto`, `gpu` and `cuda` take the CUDA device with most free memory. Raises UsageError,
    listing those available, for a device that this machine does not have: there is no silent fall back. `source` is
    what gave the name, `option` what another one is given with.
    """
    devices = list_devices()
    cuda = [device for device in devices if device.name.startswith("cuda")]
    if name in ("auto", "gpu", "cuda") and cuda:
        most = max(cuda, key=lambda device: device.free_bytes or 0)
        free = format_gibibytes(most.free_bytes or 0)
        why = f"{most.description}, {free} free" + (f", most of {len(cuda)} devices" if len(cuda) > 1 else "")
        return ChosenDevice(torch.device(most.name), why)
    if name == "auto":
        first = devices[0]
        return ChosenDevice(torch.device(first.name), "no CUDA device" + (" and no MPS" if first.name == "cpu" else ""))
    for device in devices:
        if device.name == ("mps" if name == "gpu" else name):
            return ChosenDevice(torch.device(device.name), "as configured")
    there = "\n".join(f"  {device.name}: {device.description}" for device in devices)
    raise UsageError(
        f"{source}: this machine has no device '{name}'\navailable:\n{there}",
        advice=f"set {option} to one of these, or to auto",
    )


@dataclass(frozen=True)
class Runtime:
    """How tensors are computed with; `why` says how the device was chosen."""

    device: torch.device
    why: str
    precision: str = "fp32"
    world: World = field(default_factory=Alone)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for a forward pass. Nothing at all for fp32, since even entering autocast costs time."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def check(self, model: nn.Module) -> None:
        """Raises UsageError where the model has layers that torch cannot compute in this precision on this device.

        Known is one kind: LSTMs in fp16 on CPUs for which oneDNN has none.
        """
        if self.precision != "fp16" or self.device.type != "cpu":
            return
        name = next((name for name, module in model.named_modules() if isinstance(module, nn.LSTM)), None)
        if name is None:
            return
        try:
            with torch.inference_mode(), torch.random.fork_rng(devices=()), self.autocast():
                nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
        except RuntimeError as error:
            raise UsageError(
                f"trainer.precision: fp16: torch computes no LSTM in fp16 on this CPU, and the model has one ({name})\n"
                "allowed: fp32, bf16, and on a GPU fp16",
                advice="set trainer.precision: bf16, or choose another device",
            ) from error

    def scaler(self) -> torch.amp.GradScaler:
        """The gradient scaler that fp16 needs; for the other formats one that does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def signature(self) -> dict[str, Any]:
        """What floating-point results depend on besides the config: equal signatures, equal bits."""
        on_cuda = self.device.type == "cuda"
        return {
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device) if on_cuda else self.device.type,
            # Each CUDA device has a generator of its own, and a checkpoint holds them all.
            "cuda_devices": torch.cuda.device_count() if on_cuda else 0,
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        }


def start_runtime(plan: Plan, recorded: Mapping[str, Any] | None = None, *, seed: int = 0) -> Runtime:
    """The runtime that `plan` asks for, made the process's own.

    A run that continues takes over the thread count that it was started with (`recorded`, a signature), since sums
    over another number of threads differ in their last bits. `seed` is the experiment's.
    """
    keep_freed_blocks()
    torch.set_num_threads(plan.threads or (recorded or {}).get("threads") or count_threads())
    chosen = choose_device(plan.device)
    if plan.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if plan.deterministic != torch.are_deterministic_algorithms_enabled():  # to say it again costs 0.7 s of imports
        torch.use_deterministic_algorithms(plan.deterministic)
    # The fastest convolution is found by timing, which may choose another one in a resumed process.
    torch.backends.cudnn.benchmark = False
    world = Alone() if plan.shards == 1 else Shards(plan.shards, seed)
    return Runtime(chosen.device, chosen.why, plan.precision, world)
