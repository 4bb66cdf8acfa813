"""The same model and data through other tools, with their own log, checkpoint and progress bar on.

    python -m bench.competitors lightning --epochs 3 --data DIRECTORY     # one JSON line: seconds per epoch

Each trains MNIST's CNN with Adam at batch 64 on 54,000 images and evaluates on 6,000 after each epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bench.mnist_loop import BATCH, Data, Network, load
from dltrain.errors import UsageError
from dltrain.runtime.cuda_wheels import import_torchvision


def with_lightning(data: Data, epochs: int) -> list[float]:
    """Lightning's Trainer with its defaults: CSV logger, checkpoint, progress bar."""
    with suppress(UsageError):  # Lightning imports torchvision where it is installed, even one built for CUDA
        import_torchvision()
    import lightning

    ends: list[float] = []

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = Network()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = F.cross_entropy(self.network(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
            logits = self.network(batch[0])
            self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean(), prog_bar=True)

        def on_train_epoch_end(self) -> None:
            ends.append(time.perf_counter())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 1e-3)

    training = DataLoader(TensorDataset(*data.training), BATCH, shuffle=True)
    validation = DataLoader(TensorDataset(*data.validation), 500)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=folder, num_sanity_val_steps=0
        )
        start = time.perf_counter()
        trainer.fit(Module(), training, validation)
    return _between([start, *ends])


def with_skorch(data: Data, epochs: int) -> list[float]:
    """skorch's NeuralNetClassifier with its printed log and a checkpoint."""
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback, Checkpoint
    from skorch.helper import predefined_split

    ends: list[float] = []

    class Clock(Callback):  # type: ignore[misc]
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        net = NeuralNetClassifier(
            Network,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=BATCH,
            max_epochs=epochs,
            iterator_train__shuffle=True,
            train_split=predefined_split(TensorDataset(*data.validation)),
            callbacks=[Checkpoint(dirname=folder), Clock()],
        )
        start = time.perf_counter()
        net.fit(TensorDataset(*data.training), y=None)
    return _between([start, *ends])


def with_keras(data: Data, epochs: int) -> list[float]:
    """Keras 3 on torch, with its progress bar and a checkpoint."""
    import keras

    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(64, activation="relu"),
                layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
        arrays = [
            (part.images.permute(0, 2, 3, 1).numpy(), part.labels.numpy()) for part in (data.training, data.validation)
        ]
        keep = keras.callbacks.ModelCheckpoint(str(Path(folder) / "model.keras"))
        clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
        start = time.perf_counter()
        model.fit(
            *arrays[0], batch_size=BATCH, epochs=epochs, validation_data=arrays[1], validation_batch_size=500,
            callbacks=[keep, clock],
        )  # fmt: skip
    return _between([start, *ends])


def _between(times: list[float]) -> list[float]:
    return [end - start for start, end in pairwise(times)]


TOOLS: dict[str, Callable[[Data, int], list[float]]] = {
    "lightning": with_lightning,
    "skorch": with_skorch,
    "keras": with_keras,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DLTRAIN_DATA", "data")))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    out = sys.stdout
    sys.stdout = sys.stderr  # the tools' own bars and logs
    seconds = TOOLS[arguments.tool](load(arguments.data), arguments.epochs)
    print(json.dumps({"seconds": seconds}), file=out)


if __name__ == "__main__":
    main()
