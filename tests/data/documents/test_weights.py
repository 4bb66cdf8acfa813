"""Weights of labelled texts: a column of the table, in units of the training texts' mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dltrain.data.documents.dataset import LabelledTexts
from dltrain.errors import DataError


def write_rows(path: Path, weights: list[Any]) -> None:
    rows = [f"word{place % 3} more,{'ab'[place % 2]},{weight}" for place, weight in enumerate(weights)]
    path.write_text("\n".join(["text,label,w", *rows]) + "\n")


def dataset(root: Path, assets: Any = None, **options: Any) -> LabelledTexts:
    settings: dict[str, Any] = {"training": ["t.csv"], "validation": 0.0, "test": ["s.csv"], "weight": "w"}
    return LabelledTexts("labelled_text", 0, assets, root=str(root), **{**settings, **options})


def test_weights_follow_their_texts_in_units_of_the_training_mean(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [1, 2, 3, 4, 0, 2])
    write_rows(tmp_path / "s.csv", [6, 1])
    data = dataset(tmp_path, batch_size=4)
    assert data.assets["weight"] == {"column": "w", "mean": 2.0}
    weights = torch.cat([batch.weights for batch in data.training().epoch(0) if batch.weights is not None])
    assert sorted(weights.tolist()) == [0, 0.5, 1, 1, 1.5, 2]
    (batch,) = data.test().epoch(0)
    assert batch.weights is not None
    assert batch.weights.tolist() == [3, 0.5]
    reopened = dataset(tmp_path, json.loads(json.dumps(data.assets)))
    (batch,) = reopened.test().epoch(0)
    assert batch.weights is not None
    assert batch.weights.tolist() == [3, 0.5]
    assert next(iter(dataset(tmp_path, weight=None).training().epoch(0))).weights is None


@pytest.mark.parametrize(("weight", "found"), [("heavy", "'heavy'"), ("", "missing"), ("-1", "'-1'"), ("nan", "'nan'")])
def test_a_weight_that_is_none_is_refused_with_its_line(weight: str, found: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [1, weight, 1, 1])
    with pytest.raises(DataError, match=f"t.csv, line 3: the weight is {found}; expected is a number from 0"):
        dataset(tmp_path)


def test_a_missing_column_and_weights_that_are_all_zero_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [0, 0, 0, 0])
    with pytest.raises(DataError, match="all weights in column 'w' are 0 in the training texts"):
        dataset(tmp_path)
    with pytest.raises(DataError, match=r"no column 'weights' \(data.weight\)"):
        dataset(tmp_path, weight="weights")
