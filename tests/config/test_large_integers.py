from __future__ import annotations

from pathlib import Path

import pytest

from dltrain.config.experiment import load_experiment
from dltrain.errors import ConfigError, OutOfMemory, UsageError
from dltrain.runs.building import build_training
from dltrain.runtime.memory import explain_memory_errors

CONFIG = """\
task: tabular_classification
data: {name: bundled_table, table: iris}
model: {name: dense, hidden: [8]}
trainer: {epochs: 1, device: cpu}
"""
BEYOND = 2**63


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ("[8]", f"[4, {BEYOND}]", "3:34: error: model.hidden[1]"),
        ("epochs: 1", f"epochs: {BEYOND}", "4:19: error: trainer.epochs"),
        ("table: iris", f"table: iris, batch_size: {BEYOND}", "2:54: error: data.batch_size"),
    ],
)
def test_integers_beyond_64_bits_are_faults_with_their_place(before: str, after: str, place: str) -> None:
    Path("a.yaml").write_text(CONFIG.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("a.yaml"))
    assert f"a.yaml:{place}" in str(caught.value)
    assert f"found {BEYOND} (the largest integer is {BEYOND - 1}, which 64 bits hold)" in str(caught.value)


@pytest.mark.parametrize(
    ("hidden", "error"), [("[4611686018427387904]", UsageError), ("[1000000000000000]", OutOfMemory)]
)
def test_sizes_that_no_memory_can_hold_are_reported(hidden: str, error: type[Exception]) -> None:
    Path("a.yaml").write_text(CONFIG.replace("[8]", hidden))
    with pytest.raises(error, match=r"size is too large, no memory can hold|no memory left"), explain_memory_errors():
        build_training(load_experiment(Path("a.yaml")).experiment)
