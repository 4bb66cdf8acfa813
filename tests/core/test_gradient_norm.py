"""The norm of the gradient in metrics.jsonl: that of autograd, with and without clipping."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import dltrain
from dltrain.core import trainer


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_the_logged_norm_is_that_of_the_gradient_before_clipping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_norm: float | None
) -> None:
    config: dict[str, Any] = {
        "task": "tabular_classification",
        "data": {"name": "bundled_table", "table": "iris", "batch_size": 16},
        "model": "dense",
        "trainer": {"epochs": 2, "device": "cpu", "threads": 1, "log_every_steps": 4, "clip_norm": clip_norm},
        "observers": [],
    }
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(config))
    norms: list[float] = []
    original = trainer.note_gradients

    def note(state: Any, parameters: list[nn.Parameter]) -> None:
        flat = torch.cat([one.grad.double().flatten() for one in parameters if one.grad is not None])
        norms.append(float(flat.norm()))
        original(state, parameters)

    monkeypatch.setattr(trainer, "note_gradients", note)
    dltrain.fit(path, output=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = {line["step"]: line["gradient_norm"] for line in lines if line["event"] == "step"}
    assert list(logged) == [4, 8, 12]
    for step, norm in logged.items():
        assert math.isclose(norm, norms[step - 1], rel_tol=1e-5)
