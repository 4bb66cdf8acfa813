"""The examples of docs/trackers.md train as the page says."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from support.commands import good

PAGE = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```yaml\n# ([\w.]+)\n(.*?)```", PAGE, re.DOTALL))
WRITES = {
    "table.yaml": "metrics.csv",
    "board.yaml": "tensorboard/events.out.tfevents.*",
    "flow.yaml": "mlflow.json",
    "biases.yaml": "wandb/offline-run-*",
}


def test_all_files_of_the_page_are_found() -> None:
    assert FILES.keys() == WRITES.keys()


@pytest.mark.filterwarnings("ignore")  # of the trackers' own packages
@pytest.mark.parametrize("name", WRITES)
def test_a_config_of_the_page_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = yaml.safe_load(FILES[name])["observers"][-1]
    word = tracker if isinstance(tracker, str) else tracker["name"]
    if word != "csv" and find_spec(word) is None:
        pytest.skip(f"{word} is not installed")
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(FILES[name])
    good("config", "check", name)
    good("fit", name, "-o", "run", "-q")
    assert list(Path("run").glob(WRITES[name]))
