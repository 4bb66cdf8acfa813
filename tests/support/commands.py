"""Runs dltrain's command line in this process."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from dltrain.cli.main import application
from dltrain.runtime.interrupts import Interrupts


def call(*words: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(application(), list(map(str, words)), input=stdin, obj=Interrupts())


def good(*words: object, stdin: str | None = None) -> Result:
    result = call(*words, stdin=stdin)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def train_bars(folder: Path, images_root: Path, *, model: str, epochs: int, name: str = "run") -> Path:
    """A finished run, on the patterns in `images_root`, of a model given as YAML."""
    (folder / "bars.yaml").write_text(
        f"""
task: image_classification
data: {{name: mnist, root: "{images_root}", batch_size: 20, validation: 0.2, download: false}}
model: {model}
optimizer: {{name: adam, learning_rate: 1e-2}}
trainer: {{epochs: {epochs}, device: cpu, threads: 1}}
"""
    )
    result = good("fit", folder / "bars.yaml", "-o", folder / name)
    assert "best checkpoint" in result.stdout
    return folder / name
