"""The shipped config for WikiText-2, on small files of the same format."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from dltrain.config.experiment import load_experiment
from dltrain.data.mirrors import Remote
from dltrain.data.text import sets
from dltrain.data.text.check import verify
from dltrain.data.text.files import TextFiles
from support.mirrors import QuietHandler, serve
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


def test_the_archive_is_fetched_unpacked_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tokens(tmp_path)
    packed = tmp_path / "wikitext-2-v1.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for split in ("train", "valid", "test"):
            archive.write(tmp_path / f"wiki.{split}.tokens", f"wikitext-2/wiki.{split}.tokens")
    content = packed.read_bytes()

    class Handler(QuietHandler):
        def answer(self) -> None:
            self.send_head(len(content))
            self.wfile.write(content)

    remote = Remote(packed.name, None, "md5", hashlib.md5(content, usedforsecurity=False).hexdigest())
    monkeypatch.setitem(sets.TEXT_SETS, "wikitext2", sets.TEXT_SETS["wikitext2"]._replace(archive=remote))  # type: ignore[arg-type]
    with serve(Handler) as address:
        paths = sets.fetch("wikitext2", tmp_path / "data", [address])
    assert [path.relative_to(tmp_path / "data").as_posix() for path in paths] == [
        f"wikitext-2/wiki.{split}.tokens" for split in ("train", "valid", "test")
    ]
    reports = verify("wikitext2", tmp_path / "data")
    assert [report.found["lines"] for report in reports] == [120, 16, 24]
    assert reports[0].fault is not None
    assert reports[0].fault.endswith("lines 120, expected 36718")
