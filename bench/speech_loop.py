"""The bare training loop that `dltrain fit` is timed against on speech, and the cost of its data.

The model and the batches are dltrain's own; the loop around them is written by hand::

    python -m bench.speech_loop bare --epochs 3      # one JSON line per epoch: training and evaluation
    python -m bench.speech_loop random --epochs 3    # batches of clips of any length, the same number on average
    python -m bench.speech_loop data                 # where a step's time goes
    python -m bench.speech_loop features             # seconds of sound per second of one core, with an empty cache
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import ctc_loss

from dltrain.batch import NO_TARGET
from dltrain.config.experiment import load_tree
from dltrain.core.evaluate import accumulate_counts
from dltrain.data.speech.batches import Utterances
from dltrain.runs.building import Training, build_training

DATA = Path(os.environ.get("DLTRAIN_DATA", "data")).resolve()
AUGMENT = {"time_masks": 2, "time_mask_seconds": 0.4, "frequency_masks": 2, "tempo": [0.9, 1.0, 1.1]}


def config(epochs: int, threads: int, augmented: bool = False) -> dict[str, Any]:
    """`configs/common_voice_crnn.yaml` in its smaller size; the spoken sample if Common Voice is missing."""
    there = (DATA / "common_voice" / "en").is_dir()
    source = {"root": str(DATA)} if there else {"sample": True}
    return {
        "task": "speech_recognition",
        "data": {"name": "common_voice", **source, "batch_seconds": 160, "augment": AUGMENT if augmented else None},
        "model": {"name": "crnn"},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "trainer": {"epochs": epochs, "device": "cpu", "threads": threads, "clip_norm": 5.0},
    }


def step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Utterances) -> None:
    log_probabilities, frames = network(batch.features, batch.frames)
    targets = batch.targets[batch.targets != NO_TARGET]
    loss = ctc_loss(log_probabilities.transpose(0, 1), targets, frames, batch.target_lengths, reduction="sum")
    (loss / batch.count).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()


def shuffled(training: Training, batches: int) -> Iterator[Utterances]:
    """Put the training clips into as many batches, each of random clips."""
    spoken = training.dataset.training().source.spoken  # type: ignore[attr-defined]
    for places in torch.randperm(len(spoken)).tensor_split(batches):
        yield spoken.make_batch(places.numpy())


def epochs(training: Training, mode: str, count: int) -> None:
    stream, validation = training.dataset.training(), training.dataset.validation()
    network, hop = training.state.model, 0.01
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    network.train()
    for epoch in range(count):
        start, seconds = time.perf_counter(), 0.0
        batches = stream.epoch(epoch) if mode == "bare" else shuffled(training, len(stream))
        for batch in batches:
            step(network, optimizer, batch)  # type: ignore[arg-type]
            seconds += hop * int(batch.frames.sum())  # type: ignore[attr-defined]
        trained = time.perf_counter()
        accumulate_counts(network, training.task, validation, training.runtime)
        result = {"sound": seconds, "training": trained - start, "seconds": time.perf_counter() - start}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def data_side(threads: int) -> None:
    """Milliseconds per step: preparing its batch, without and with augmentation, and computing."""
    result: dict[str, float] = {}
    for name, augmented in (("plain", False), ("augmented", True)):
        training = build_training(load_tree(config(1, threads, augmented), "bench"))
        stream = training.dataset.training()
        for epoch in (0, 1):  # the first reads the features from the disk
            start = time.perf_counter()
            batches = list(stream.epoch(epoch))
            result[name] = 1000 * (time.perf_counter() - start) / len(batches)
    network = training.state.model
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    network.train()
    step(network, optimizer, batches[0])  # type: ignore[arg-type]
    start = time.perf_counter()
    for batch in batches:
        step(network, optimizer, batch)  # type: ignore[arg-type]
    result["step"] = 1000 * (time.perf_counter() - start) / len(batches)
    sys.stdout.write(json.dumps(result) + "\n")


def features() -> None:
    """Seconds of sound, and seconds that one core needs to compute its features from the files."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    build_training(load_tree(config(1, 1), "bench"))  # what is compiled or imported once
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DLTRAIN_CACHE"] = cache
        start, used = time.perf_counter(), time.process_time()
        training = build_training(load_tree(config(1, 1), "bench"))
        frames = training.dataset.training().source.spoken.frames  # type: ignore[attr-defined]
        frames = int(frames.sum() + training.dataset.validation().source.spoken.frames.sum())  # type: ignore[attr-defined]
        result = {"sound": 0.01 * frames, "seconds": time.perf_counter() - start, "cpu": time.process_time() - used}
        sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the bare loop.")
    parser.add_argument("mode", choices=("bare", "random", "data", "features"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.mode == "features":
        features()
    elif arguments.mode == "data":
        data_side(arguments.threads)
    else:
        training = build_training(load_tree(config(arguments.epochs, arguments.threads), "bench"))
        epochs(training, arguments.mode, arguments.epochs)


if __name__ == "__main__":
    main()
