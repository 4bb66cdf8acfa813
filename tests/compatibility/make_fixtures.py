"""Makes the fixtures of one format: python tests/compatibility/make_fixtures.py format_1

Runs the `dltrain` that this Python imports, so give it the version whose format is to be recorded (PYTHONPATH). In the
folder must be the configs, the plug-in, the text and the image; what is already recorded there is replaced.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MORE_EPOCHS = {"iris": 6, "digits": 2, "plugin": 6, "text": 5}
"""How many epochs each run has once it has been continued; the digits are stopped within their second one."""
STOPPED_AT = "step-00000030-mid"
FLOWERS = [
    "sepal length (cm)=5.1,sepal width (cm)=3.5,petal length (cm)=1.4,petal width (cm)=0.2",
    "sepal length (cm)=6.1,sepal width (cm)=2.8,petal length (cm)=4.7,petal width (cm)=1.2",
]
QUESTIONS: dict[str, list[list[str]]] = {
    "iris": [["predict", "runs/iris", *FLOWERS, "--top", "3", "--json"]],
    "digits": [["predict", "runs/digits", "digit.png", "--top", "10", "--json"]],
    "plugin": [["predict", "runs/plugin", *FLOWERS, "--top", "3", "--json"]],
    "text": [["generate", "runs/text", "--prompt", "once I ", "--temperature", "0", "--max-tokens", "8", "--json"]],
    "exported": [["predict", "iris.safetensors", *FLOWERS, "--top", "3", "--json"]],
}


def call(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run one command in `folder`, and return the JSON objects that it prints, if any."""
    command = [sys.executable, "-m", "dltrain", *arguments]
    printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def shed(run: Path) -> None:
    """Delete what is drawn or made again, and what says on which machine this was."""
    for path in [run / "lock", run / "best", run / "last", run / "report.html"]:
        path.unlink(missing_ok=True)
    shutil.rmtree(run / "plots", ignore_errors=True)
    records = json.loads((run / "environment.json").read_text())
    for record in records:
        record |= {"command": "dltrain fit", "directory": "/somewhere", "host": "somewhere"}
    (run / "environment.json").write_text(json.dumps(records, indent=1) + "\n")


def make(folder: Path) -> None:
    for name in ["runs", "continued"]:
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "continued").mkdir()
    expected: dict[str, Any] = {}
    for name, epochs in MORE_EPOCHS.items():
        call(folder, "fit", f"{name}.yaml", "-o", f"runs/{name}")
        with TemporaryDirectory() as aside:
            shutil.copytree(folder / "runs" / name, Path(aside) / name, symlinks=True)
            call(folder, "fit", f"{name}.yaml", "-o", f"{aside}/{name}", "--set", f"trainer.epochs={epochs}")
            last = sorted((Path(aside) / name / "checkpoints").glob("step-*[0-9]"))[-1]
            shutil.copy(last / "weights.safetensors", folder / "continued" / f"{name}.safetensors")
        checkpoints = folder / "runs" / name / "checkpoints"
        if name == "digits":
            for path in checkpoints.iterdir():
                if path.name != STOPPED_AT:
                    shutil.rmtree(path)
        shed(folder / "runs" / name)
        expected[name] = {"epochs": epochs, "metrics": call(folder, "eval", f"runs/{name}", "--json")[0]["metrics"]}
        (folder / "runs" / name / "evaluations.jsonl").unlink()
        shutil.rmtree(folder / "runs" / name / "plots", ignore_errors=True)
    call(folder, "export", "runs/iris", "-o", "iris.safetensors")
    expected["exported"] = {"metrics": call(folder, "eval", "iris.safetensors", "--json")[0]["metrics"]}
    for name, questions in QUESTIONS.items():
        expected[name]["answers"] = [
            {"arguments": arguments, "answers": call(folder, *arguments)} for arguments in questions
        ]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in expected.items())
    (folder / "expected.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
