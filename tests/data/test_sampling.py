"""Balanced sampling: each class equally often, as a function of (seed, epoch), and other augmentations each time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy
import pytest
import torch

from dltrain.batch import Examples
from dltrain.data.documents.batches import DocumentSet, load_training
from dltrain.data.documents.dataset import LabelledTexts
from dltrain.data.images.batches import ImageBatching, Images
from dltrain.data.images.options import Augmentation
from dltrain.data.sampling import describe_classes, draw_balanced, draw_examples
from dltrain.data.tables.dataset import make_row_batches
from dltrain.data.tables.table_files import TableFiles
from dltrain.options import Fold
from dltrain.runtime.seeds import draw_permutation

TARGETS = torch.tensor([0] * 70 + [1] * 20 + [2] * 9 + [4])
"""100 examples of four classes; nobody has class 3."""


def test_each_class_is_drawn_equally_often_in_every_epoch() -> None:
    for epoch in range(5):
        drawn = draw_examples("balanced", TARGETS, 7, epoch)
        assert len(drawn) == 100
        assert Counter(TARGETS[drawn].tolist()) == {0: 25, 1: 25, 2: 25, 4: 25}


@pytest.mark.parametrize("count", [7, 8, 9, 10])
def test_shares_differ_by_one_at_most_where_they_do_not_divide(count: int) -> None:
    targets = torch.arange(count) % 3
    larger = set()
    for epoch in range(30):
        shares = Counter(targets[draw_examples("balanced", targets, 0, epoch)].tolist())
        assert max(shares.values()) - min(shares.values()) <= 1
        larger |= {one for one, number in shares.items() if number == max(shares.values())}
    assert larger == {0, 1, 2}  # no class has the larger share for good


def test_examples_of_a_class_take_turns() -> None:
    drawn = draw_balanced(TARGETS, 3, 0)
    times = Counter((drawn % 100).tolist())
    assert {times[example] for example in range(70)} == {0, 1}
    assert {times[example] for example in range(70, 90)} == {1, 2}
    assert {times[example] for example in range(90, 99)} == {2, 3}
    assert times[99] == 25
    assert len(set(drawn.tolist())) == 100  # each time is another number
    assert sorted((drawn // 100)[drawn % 100 == 99].tolist()) == list(range(25))
    seen = {int(example) for epoch in range(40) for example in draw_balanced(TARGETS, 3, epoch) % 100}
    assert seen == set(range(100))  # those left out differ from epoch to epoch


def test_a_draw_is_a_function_of_seed_and_epoch() -> None:
    first = draw_balanced(TARGETS, 1, 2)
    torch.rand(10)
    assert torch.equal(first, draw_balanced(TARGETS, 1, 2))
    assert not torch.equal(first, draw_balanced(TARGETS, 1, 3))
    assert not torch.equal(first, draw_balanced(TARGETS, 2, 2))
    assert torch.equal(draw_examples("shuffled", TARGETS, 1, 2), draw_permutation(1, 2, 100))


@pytest.mark.parametrize("batch_size", [None, 16])
def test_tables_texts_and_images_are_balanced(batch_size: int | None) -> None:
    rows = Examples(torch.arange(100.0)[:, None], TARGETS, torch.arange(100.0))
    batches = make_row_batches(rows, batch_size, 5, "balanced")
    parts = [batches.batch(1, index) for index in range(len(batches))]
    assert Counter(torch.cat([part.targets for part in parts]).tolist()) == {0: 25, 1: 25, 2: 25, 4: 25}
    for part in parts:
        assert torch.equal(part.inputs[:, 0], part.weights)
    texts = DocumentSet.concatenate([[1] * (1 + row % 7) for row in range(100)], TARGETS.tolist())
    loaded = list(load_training(texts, 16, 5, "balanced").epoch(1))
    assert Counter(torch.cat([part.targets for part in loaded]).tolist()) == {0: 25, 1: 25, 2: 25, 4: 25}
    batching = ImageBatching(5, 16, 16, Augmentation(), sampling="balanced")
    images = Images(torch.zeros(100, 1, 4, 4, dtype=torch.uint8), TARGETS, torch.arange(100))
    assets = {"channels": 1, "normalize": "unit", "mean": 0.0, "std": 1.0, "background": 0.0}
    shown = list(batching.load_training(images, assets).epoch(1))
    assert Counter(torch.cat([part.targets for part in shown]).tolist()) == {0: 25, 1: 25, 2: 25, 4: 25}
    resumed = list(batching.load_training(images, assets).epoch(1, 3))
    assert torch.equal(torch.cat([part.targets for part in shown[3:]]), torch.cat([part.targets for part in resumed]))


def test_an_image_that_is_drawn_again_is_augmented_differently() -> None:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (10, 1, 8, 8), generator=draw, dtype=torch.uint8)
    images = Images(pixels, torch.tensor([0] * 9 + [1]), torch.arange(10))
    batching = ImageBatching(0, 10, 10, Augmentation(rotation_degrees=90), sampling="balanced")
    assets = {"channels": 1, "normalize": "unit", "mean": 0.0, "std": 1.0, "background": 0.0}
    batch = next(batching.load_training(images, assets).epoch(0))
    rare = batch.inputs[batch.targets == 1]
    assert len(rare) == 5
    assert len({image.numpy().tobytes() for image in rare}) == 5


def test_assets_count_the_classes() -> None:
    assert describe_classes(numpy.array([0, 2, 2]), 4, "shuffled") == {"class_counts": [1, 0, 2, 0]}
    assert describe_classes(torch.tensor([1]), 2, "balanced") == {"class_counts": [0, 1], "sampling": "balanced"}


@pytest.mark.parametrize("fold", [None, Fold(0, 3), Fold(2, 3)])
def test_the_counts_are_those_of_the_training_split_in_every_fold(fold: Fold | None, tmp_path: Path) -> None:
    kinds = ["a"] * 40 + ["b"] * 13 + ["c"] * 7
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *(f"word{at},{kind}" for at, kind in enumerate(kinds))]))
    table = TableFiles("table", 0, None, values={"x": list(range(60)), "kind": kinds}, target="kind", fold=fold)
    texts = LabelledTexts("labelled_text", 0, None, training=["t.csv"], root=str(tmp_path), fold=fold)
    for data in (table, texts):
        targets = torch.cat([batch.targets for batch in data.training().epoch(0)])
        assert data.assets["class_counts"] == torch.bincount(targets, minlength=3).tolist()
