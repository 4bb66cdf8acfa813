"""Which device there is, and which one is taken."""

from __future__ import annotations

from typing import NamedTuple

import torch

from dltrain.errors import UsageError


class Found(NamedTuple):
    """A device of this machine: its name in a config, what it is, and its free and whole memory in bytes."""

    name: str
    description: str
    free_bytes: int | None = None
    total_bytes: int | None = None


class Chosen(NamedTuple):
    device: torch.device
    why: str


def found() -> list[Found]:
    """All devices that training can run on; the CPU last."""
    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            devices.append(Found(f"cuda:{index}", torch.cuda.get_device_name(index), free, total))
    if torch.backends.mps.is_available():
        devices.append(Found("mps", "Apple GPU"))
    devices.append(Found("cpu", f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"))
    return devices


def gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def choose(name: str, source: str = "trainer.device", option: str = "trainer.device") -> Chosen:
    """The device that `name` means: auto, cpu, cuda, cuda:N or mps.

    `auto` and `cuda` take the CUDA device with most free memory. Raises UsageError, listing what there is, for a
    device that this machine does not have: there is no silent fall back. `source` is what gave the name, `option` what
    another one is given with.
    """
    devices = found()
    cuda = [device for device in devices if device.name.startswith("cuda")]
    if name in ("auto", "cuda") and cuda:
        most = max(cuda, key=lambda device: device.free_bytes or 0)
        free = gibibytes(most.free_bytes or 0)
        why = f"{most.description}, {free} free" + (f", most of {len(cuda)} devices" if len(cuda) > 1 else "")
        return Chosen(torch.device(most.name), why)
    if name == "auto":
        first = devices[0]
        return Chosen(torch.device(first.name), "no CUDA device" + (" and no MPS" if first.name == "cpu" else ""))
    for device in devices:
        if device.name == name:
            return Chosen(torch.device(name), "as configured")
    there = "\n".join(f"  {device.name}: {device.description}" for device in devices)
    raise UsageError(
        f"{source}: this machine has no device '{name}'\nthere is:\n{there}",
        advice=f"set {option} to one of these, or to auto",
    )
