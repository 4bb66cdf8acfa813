"""The shipped config for WikiText-2, on small files of the same format."""

from __future__ import annotations

from pathlib import Path

from dltrain.config.experiment import load_experiment
from dltrain.data.text.files import TextFiles
from support.pages import ROOT
from support.published_texts import write_tokens


def test_the_three_token_files_are_the_three_splits(tmp_path: Path) -> None:
    write_tokens(tmp_path)
    experiment = load_experiment(ROOT / "configs" / "wikitext2_lstm.yaml", [f"data.root={tmp_path}"]).experiment
    dataset = TextFiles("text", 0, None, **experiment.data.options)
    words = set((tmp_path / "wiki.test.tokens").read_text().split())
    assert set(dataset.assets["words"]) == {*words, "<eos>"}
    assert dataset.assets["unknown"] == "<unk>"
    assert dataset.assets["lowercase"] is False
    for loader in (dataset.training(), dataset.validation(), dataset.test()):
        assert sum(batch.count for batch in loader.epoch(0)) > 0
    assert [split.examples for split in dataset.summarize().splits] == [120, 16, 24]
    assert set(dataset.fingerprint) == {f"wiki.{split}.tokens" for split in ("train", "valid", "test")}
