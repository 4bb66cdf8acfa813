"""Kills training with SIGKILL at random moments, and compares the result with that of an uninterrupted run.

python -m bench.kills images --kills 50
python -m bench.kills text
python -m bench.kills speech
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGES = """\
task: {name: image_classification, label_smoothing: 0.1}
data:
  {name: mnist, sample: true, batch_size: 8, evaluation_batch_size: 16, workers: 2,
   augment: {rotation_degrees: 15, shift: 0.1, erase: 0.2}}
model: {name: cnn, channels: [8, 16], hidden: 32, batch_norm: true, dropout: 0.3}
optimizer: adamw
schedule: one_cycle
trainer:
  {epochs: EPOCHS, device: cpu, threads: 1, ema: 0.99, accumulate: 2, patience: 1000, checkpoint_every_steps: 3,
   keep_last: 3}
"""

TEXT = """\
task: language_modelling
data: {name: ptb, sample: true, batch_size: 8, sequence_length: 30, random_lengths: true, evaluation_batch_size: 4}
model:
  {name: awd_lstm, embedding: 16, hidden: 24, layers: 2, weight_drop: 0.3}
optimizer: {name: sgd, learning_rate: 20}
trainer:
  {epochs: EPOCHS, device: cpu, threads: 1, clip_norm: 0.25, nt_asgd: 1, accumulate: 2, checkpoint_every_steps: 20,
   keep_last: 3}
"""

SPEECH = """\
task: speech_recognition
data:
  {name: common_voice, sample: true, sample_rate_hz: 8000, features: {bands: 20}, batch_seconds: 40, workers: 1,
   augment:
     {time_masks: 1, frequency_masks: 1, frequency_mask_bands: 4, tempo: [0.9, 1.0, 1.1], warp: [0.9, 1.1], noise: 0.5}}
model: {name: crnn, channels: [4, 4], hidden: 16, layers: 2, dropout: 0.2}
optimizer: adamw
schedule: one_cycle
trainer:
  {epochs: EPOCHS, device: cpu, threads: 1, clip_norm: 5, ema: 0.99, accumulate: 2, checkpoint_every_steps: 5,
   keep_last: 3}
"""

CONFIGS = {"images": (IMAGES, 30), "text": (TEXT, 12), "speech": (SPEECH, 12)}
"""What is trained, and for how many epochs."""


def fit(folder: Path, name: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "dltrain", "fit", "config.yaml", "-o", name, "-q"]
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE)


def outcome(directory: Path) -> dict[str, bytes]:
    final = (directory / "last").resolve()
    files = {path.name: path.read_bytes() for path in [*sorted(final.iterdir()), directory / "metrics.jsonl"]}
    links = {name: str((directory / name).readlink()).encode() for name in ("best", "last")}
    return {**files, **links}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config, epochs = CONFIGS[arguments.config]
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(config.replace("EPOCHS", str(arguments.epochs or epochs)))
        start = time.perf_counter()
        if fit(folder, "whole").wait() != 0:
            raise SystemExit("the uninterrupted run failed")
        seconds = time.perf_counter() - start
        expected = outcome(folder / "whole")
        kills = early = within_save = 0
        runs: list[str] = []
        while kills < arguments.kills:
            runs.append(f"killed-{len(runs) + 1}")
            checkpoints = folder / runs[-1] / "checkpoints"
            while True:
                process = fit(folder, runs[-1])
                # From the very start (imports, the lock, a resume) to well into training, saves and evaluations too.
                delay = draw.uniform(0.0, 6.0) if kills < arguments.kills else None
                try:
                    output = process.communicate(timeout=delay)[1].decode()
                    if process.returncode != 0:
                        raise SystemExit(f"a resumed run failed:\n{output}")
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    kills += 1
                    early += not checkpoints.is_dir()
                    within_save += checkpoints.is_dir() and any(checkpoints.glob(".writing-*"))
        different = [name for name in runs if outcome(folder / name) != expected]
        print(
            f"{arguments.config}: {kills} kills over {len(runs)} runs of {seconds:.0f} s "
            f"({early} before the first checkpoint, "
            f"{within_save} within a save): "
            + (
                f"NOT equal: {', '.join(different)}"
                if different
                else f"all end with equal bytes of {', '.join(expected)}"
            )
        )
        return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
