"""The bare training loops that `dltrain fit` is timed against: MNIST, one CNN, Adam, batch 64, fp32.

`plain_epoch` is a straightforward loop over preloaded tensors. `fastest_epoch` is the fastest loop
found for a CPU with the same fp32 math; `gradients_agree` measures how far its gradients are from the plain
loop's. Both run on the training set's first 54,000 examples and evaluate loss and accuracy on the other 6,000::

    python bench/mnist_loop.py fastest --epochs 3 --data DIRECTORY    # one JSON line per epoch

Why the fastest loop is faster; each change gives the same result up to rounding:

- oneDNN's blocked layout from the first convolution to the flattening: pooling does without ATen's 64-bit indices and
  its scatter into zeros, and a step costs about one page fault, where the plain loop's costs some 2,600.
- The maximum is taken before ReLU, a monotone function, so that ReLU sees a quarter of the numbers.
- One fused kernel for Adam's update.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 64
VALIDATION = 6_000


class Examples(NamedTuple):
    """Images (N, 1, 28, 28) float32 in [0, 1], and labels (N,) int64."""

    images: Tensor
    labels: Tensor


class Data(NamedTuple):
    training: Examples
    validation: Examples


class Epoch(NamedTuple):
    """Seconds of training and evaluation together, and the validation set's mean loss and accuracy."""

    seconds: float
    loss: float
    accuracy: float


def load(root: Path) -> Data:
    """MNIST's training set from `root`/MNIST/raw, the last 6,000 examples as validation set."""
    images = torch.from_numpy(_idx(root, "train-images-idx3-ubyte", header=16)).view(-1, 1, 28, 28).float().div_(255)
    labels = torch.from_numpy(_idx(root, "train-labels-idx1-ubyte", header=8)).long()
    training = len(labels) - VALIDATION
    return Data(Examples(images[:training], labels[:training]), Examples(images[training:], labels[training:]))


def _idx(root: Path, name: str, header: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The numbers of an IDX file (http://yann.lecun.com/exdb/mnist/), plain or .gz, that follow its header."""
    plain = root / "MNIST" / "raw" / name
    content = plain.read_bytes() if plain.exists() else gzip.decompress(plain.with_name(name + ".gz").read_bytes())
    return np.frombuffer(bytearray(content), np.uint8, offset=header)


class Network(nn.Module):
    """conv 32 - pool - conv 64 - pool - dense 64 - dense 10, with 3 x 3 kernels and ReLU. 121,930 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dense1 = nn.Linear(1600, 64)
        self.dense2 = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to logits (N, 10), written plainly."""
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)  # (N, 32, 13, 13)
        maps = F.max_pool2d(F.relu(self.conv2(maps)), 2)  # (N, 64, 5, 5)
        return self.dense2(F.relu(self.dense1(maps.flatten(1))))  # type: ignore[no-any-return]


class FastNetwork(Network):
    """The same function of the same weights, in oneDNN's blocked layout and with the maximum before ReLU."""

    def forward(self, images: Tensor) -> Tensor:
        # The stride is given because the backward pass of pooling in this layout fails on the default one.
        maps = F.relu(F.max_pool2d(self.conv1(images.to_mkldnn()), 2, stride=2))  # (N, 32, 13, 13)
        maps = F.relu(F.max_pool2d(self.conv2(maps), 2, stride=2))  # (N, 64, 5, 5)
        return self.dense2(F.relu(self.dense1(maps.to_dense().flatten(1))))  # type: ignore[no-any-return]


class Loop(NamedTuple):
    """The objects that an epoch changes."""

    network: Network
    optimizer: torch.optim.Optimizer


def plain_loop(seed: int = 0) -> Loop:
    torch.manual_seed(seed)
    network = Network()
    return Loop(network, torch.optim.Adam(network.parameters(), lr=1e-3))


def fastest_loop(seed: int = 0) -> Loop:
    """Start from the weights of `plain_loop(seed)`."""
    torch.manual_seed(seed)
    network = FastNetwork()
    return Loop(network, torch.optim.Adam(network.parameters(), lr=1e-3, fused=True))


def plain_epoch(loop: Loop, data: Data, order: Tensor) -> Epoch:
    """Train on `data.training` in the order of a permutation (N,), then evaluate."""
    return _epoch(loop, data, order)


def fastest_epoch(loop: Loop, data: Data, order: Tensor) -> Epoch:
    """Like `plain_epoch`: the speed comes from the network and its optimizer."""
    return _epoch(loop, data, order)


def _epoch(loop: Loop, data: Data, order: Tensor) -> Epoch:
    start = time.perf_counter()
    loop.network.train()
    images, labels = data.training
    for chosen in torch.split(order, BATCH):
        loss = F.cross_entropy(loop.network(images[chosen]), labels[chosen])
        loop.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loop.optimizer.step()
    mean_loss, accuracy = evaluate(loop.network, data.validation)
    return Epoch(time.perf_counter() - start, mean_loss, accuracy)


@torch.no_grad()
def evaluate(network: Network, examples: Examples) -> tuple[float, float]:
    """Mean loss and accuracy."""
    network.eval()
    loss, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for images, labels in zip(torch.split(examples.images, BATCH), torch.split(examples.labels, BATCH), strict=True):
        logits = network(images)
        loss += F.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    count = len(examples.labels)
    return float(loss) / count, int(correct) / count


def gradients_agree(images: Tensor | None = None, labels: Tensor | None = None) -> float:
    """The largest distance of the two networks' gradients on one batch, weight by weight, relative to their length.

    Without arguments, on a batch of noise. Rounding makes 1e-6 at most; features scaled by 1.001 make 1e-3.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 1, 28, 28, generator=generator) if images is None else images
    labels = torch.randint(10, (BATCH,), generator=generator) if labels is None else labels
    plain, fast = _gradients(Network, images, labels), _gradients(FastNetwork, images, labels)
    return max(float((p - f).norm() / p.norm()) for p, f in zip(plain, fast, strict=True))


def _gradients(kind: Callable[[], Network], images: Tensor, labels: Tensor) -> list[Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind()
    return list(torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters())))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a bare loop, or compare the two loops' gradients.")
    parser.add_argument("loop", choices=["plain", "fastest", "agreement"])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DLTRAIN_DATA", "data")))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load(arguments.data)
    if arguments.loop == "agreement":
        sys.stdout.write(f"{gradients_agree(data.training.images[:BATCH], data.training.labels[:BATCH]):.1e}\n")
        return
    start, epoch = {"plain": (plain_loop, plain_epoch), "fastest": (fastest_loop, fastest_epoch)}[arguments.loop]
    loop = start()
    shuffle = torch.Generator().manual_seed(0)
    for _ in range(arguments.epochs):
        order = torch.randperm(len(data.training.labels), generator=shuffle)
        sys.stdout.write(json.dumps(epoch(loop, data, order)._asdict()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
