"""What only a CUDA device can show. Skipped, saying so, where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dltrain.data.speech.log_mel import build_extractor
from dltrain.data.speech.options import LogMel
from dltrain.runtime.interrupts import Interrupts
from dltrain.runtime.precision import choose_device
from support.runs import StopAt, outcome, run_once, run_to_end

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

Write = Callable[[Mapping[str, Any]], Path]


def test_auto_takes_a_cuda_device() -> None:
    assert choose_device("auto").device.type == "cuda"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_exact_resume(precision: str, settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["trainer"].update(
        device="cuda", precision=precision, checkpoint_every_steps=4, ema=0.9, deterministic=True
    )
    config = write_settings(settings)
    run_once(config, tmp_path / "whole", Interrupts())
    run_to_end(config, tmp_path / "broken", [StopAt(3), StopAt(6, kill=True), StopAt(9)])
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_cuda_learns_what_a_cpu_learns(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["model"]["dropout"] = 0.0
    losses = {}
    for device in ("cpu", "cuda"):
        settings["trainer"]["device"] = device
        run_once(write_settings(settings), tmp_path / device, Interrupts())
        lines = (tmp_path / device / "metrics.jsonl").read_text().splitlines()
        losses[device] = [entry["training_loss"] for entry in map(json.loads, lines) if entry["event"] == "epoch"]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.02)


def test_features_are_those_of_the_cpu() -> None:
    pytest.importorskip("torchaudio")
    samples = numpy.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(numpy.float32)
    on_cpu, on_cuda = (build_extractor(LogMel(device=device), 16000)(samples) for device in ("cpu", "auto"))
    assert numpy.abs(on_cuda - on_cpu).max() < 1e-4
