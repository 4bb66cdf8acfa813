"""A run does not continue on data that another version of dltrain reads in another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dltrain.data.documents.dataset import LabelledTexts
from dltrain.errors import UsageError
from support.commands import call, good
from support.documents import write_table


def test_other_assets_of_the_same_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.csv")
    (tmp_path / "c.yaml").write_text(
        "task: text_classification\ndata: {name: labelled_text, training: [t.csv], min_count: 1}\n"
        "model: {name: embedding_bag, embedding: 4}\ntrainer: {epochs: 1, device: cpu, threads: 1}\n"
    )
    arguments = ["fit", tmp_path / "c.yaml", "-o", tmp_path / "run", "-q"]
    good(*arguments)
    good(*arguments, "--set", "trainer.epochs=2")
    learn = LabelledTexts._learn

    def learn_otherwise(*given: Any) -> dict[str, Any]:
        assets = dict(learn(*given))
        return {**assets, "words": assets["words"][::-1], "added": "by this version"}

    monkeypatch.setattr(LabelledTexts, "_learn", learn_otherwise)
    refused = call(*arguments, "--set", "trainer.epochs=3")
    assert isinstance(refused.exception, UsageError)
    assert "this version reads the same data in another way: other words\n" in str(refused.exception)
