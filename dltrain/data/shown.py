"""Examples to look at: some of a split, drawn by the seed, as they were read and as a model receives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from dltrain.data.batching import IndexedBatches
from dltrain.dataset import Dataset, ReceivedExample, ShowsRaw, SplitName
from dltrain.kinds import Kind, resolve_reference
from dltrain.runtime.seeds import draw_permutation
from dltrain.stream import Loader, Stream

Receive = Callable[[Mapping[str, Any], Any], Sequence[ReceivedExample]]


@dataclass(frozen=True)
class ShownExample:
    """An example as it was read, as far as its dataset shows that, and as a model receives it."""

    read: Mapping[str, Any]
    received: ReceivedExample


def pick_examples(dataset: Dataset, split: SplitName, kind: Kind, seed: int, number: int) -> list[ShownExample]:
    """Pick up to `number` examples of a split: of training those of the first epoch, augmented as there."""
    streams: Mapping[str, Callable[[], Stream[Any]]] = {
        "training": dataset.training,
        "validation": dataset.validation,
        "test": dataset.test,
    }
    receive: Receive = _describe_arguments if kind.received is None else resolve_reference(kind.received)
    stream = streams[split]()
    picked = list(islice(_receive_examples(stream, seed, number, lambda batch: receive(dataset.assets, batch)), number))
    indices = [index for index, _ in picked]
    known = isinstance(dataset, ShowsRaw) and None not in indices
    raw = dataset.show_raw(split, indices) if isinstance(dataset, ShowsRaw) and known else [{}] * len(picked)
    return [ShownExample(read, one) for read, (_, one) in zip(raw, picked, strict=True)]


def _receive_examples(
    stream: Stream[Any], seed: int, number: int, receive: Callable[[Any], Sequence[ReceivedExample]]
) -> Iterator[tuple[Any, ReceivedExample]]:
    """Each example with its index in the split, which is None where the stream does not know it."""
    source = stream.source if isinstance(stream, Loader) else None
    if isinstance(source, IndexedBatches):
        chosen = draw_permutation(seed, 0, source.count)[:number]
        received = receive(source.make(0, chosen))
        if len(received) > len(chosen):  # all rows in one batch, whatever was chosen
            received = [received[index] for index in chosen.tolist()]
        yield from zip(chosen.tolist(), received, strict=False)
        return
    each = -(-number // max(1, len(stream)))
    for batch in stream.epoch(0):
        received = receive(batch)
        indices = batch.clips.tolist() if hasattr(batch, "clips") else [None for _ in received]
        yield from list(zip(indices, received, strict=True))[:each]


def _describe_arguments(assets: Mapping[str, Any], batch: Any) -> list[ReceivedExample]:
    """The shapes of a batch's tensors, of a kind of data that does not describe its examples."""
    tensors = [value for value in batch.arguments if isinstance(value, Tensor)]
    shapes = {f"argument {number}": " x ".join(map(str, value.shape)) for number, value in enumerate(tensors, 1)}
    return [ReceivedExample(values=shapes)]
