"""The devices of this machine, and the choice of one."""

from __future__ import annotations

from typing import NamedTuple

import torch

from dltrain.errors import UsageError


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
    """The device that `name` means: auto, cpu, cuda, cuda:N or mps.

    `auto` and `cuda` take the CUDA device with most free memory. Raises UsageError, listing those available, for a
    device that this machine does not have: there is no silent fall back. `source` is what gave the name, `option` what
    another one is given with.
    """
    devices = list_devices()
    cuda = [device for device in devices if device.name.startswith("cuda")]
    if name in ("auto", "cuda") and cuda:
        most = max(cuda, key=lambda device: device.free_bytes or 0)
        free = format_gibibytes(most.free_bytes or 0)
        why = f"{most.description}, {free} free" + (f", most of {len(cuda)} devices" if len(cuda) > 1 else "")
        return ChosenDevice(torch.device(most.name), why)
    if name == "auto":
        first = devices[0]
        return ChosenDevice(torch.device(first.name), "no CUDA device" + (" and no MPS" if first.name == "cpu" else ""))
    for device in devices:
        if device.name == name:
            return ChosenDevice(torch.device(name), "as configured")
    there = "\n".join(f"  {device.name}: {device.description}" for device in devices)
    raise UsageError(
        f"{source}: this machine has no device '{name}'\navailable:\n{there}",
        advice=f"set {option} to one of these, or to auto",
    )
