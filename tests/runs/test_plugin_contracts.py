"""A plug-in's mistake that shows only while it runs is reported with advice, or at the plug-in's own line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from dltrain.batch import Examples, check_batch
from dltrain.cli.main import to_dltrain_error
from dltrain.errors import DltrainError
from dltrain.runs.known_examples import ExampleHashes
from support.commands import call

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
STRIPES, ABSOLUTE = (
    re.search(rf"```python\n# {name}.py\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]
    for name in ("stripes", "absolute")
)
CONFIG = """plugins: [mine.py]
trainer: {epochs: 1, device: cpu, threads: 1}
"""
IMAGES = CONFIG + "task: image_classification\ndata: stripes\nmodel: {name: mlp, hidden: [4]}\n"
TABLE = CONFIG + "task: absolute_regression\ndata: {name: bundled_table, table: diabetes}\nmodel: dense\n"
DATASET, TASK = "dataset 'stripes' lacks", "task 'absolute_regression' lacks"


@pytest.mark.parametrize(
    ("plugin", "config", "correct", "wrong", "message"),
    [
        (STRIPES, IMAGES, "def test(", "def tests(", f"{DATASET} test: dltrain.dataset.Dataset requires name, "),
        (STRIPES, IMAGES, "self.fingerprint:", "self.prints:", f"{DATASET} fingerprint: "),
        (
            STRIPES,
            IMAGES,
            "return Examples(",
            "return (",
            "'stripes' yields a batch of the type tuple, which is no dataclass: ",
        ),
        (ABSOLUTE, TABLE, "self.sizes =", "self.size =", f"{TASK} sizes: dltrain.task.Task requires goal, "),
        (ABSOLUTE, TABLE, '"outputs": len', '"output": len', "the task's attribute sizes lacks outputs, "),
        (ABSOLUTE, TABLE, 'Goal("loss"', 'Goal("mae"', "goal is the metric 'mae', but its report has only loss"),
        (ABSOLUTE, TABLE, '"min"', '"minimum"', "goal's direction is 'minimum'; allowed are max and min"),
        (
            STRIPES,
            IMAGES,
            "self.images[chosen]",
            "self.image[chosen]",
            r"^AttributeError in mine.py:\d+: .*\n    retu",
        ),
        (
            ABSOLUTE,
            TABLE,
            "model(batch.inputs)",
            "model(batch.inputs.T)",
            r"^RuntimeError in mine.py:\d+: .*\n    retu",
        ),
    ],
)
def test_the_message(
    plugin: str, config: str, correct: str, wrong: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert correct in plugin
    Path("mine.py").write_text(plugin.replace(correct, wrong))
    Path("a.yaml").write_text(config)
    result = call("fit", "a.yaml")
    assert isinstance(result.exception, Exception)
    error = to_dltrain_error(result.exception)
    assert error.exit_code == 1
    assert error.advice
    assert re.search(message, error.message)


def test_a_batch_is_a_dataclass_with_all_members() -> None:
    check_batch(Examples(torch.zeros(2, 1), torch.zeros(2)), "mine")
    wrong = [
        ({}, "of the type dict, which is no dataclass"),
        (ExampleHashes(torch.zeros(1).numpy()), "of the type ExampleHashes, which lacks count, rate, arguments"),
    ]
    for batch, message in wrong:
        with pytest.raises(DltrainError, match=message):
            check_batch(batch, "mine")
