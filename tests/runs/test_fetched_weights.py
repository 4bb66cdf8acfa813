"""Weights from an address: by the whole address, with the hash that was stated or recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from dltrain.errors import DataError, UsageError
from support.commands import call
from support.examples import write_config
from support.mirrors import QuietHandler, serve

Served = tuple[str, dict[str, bytes], list[str]]
"""The address, the files, and the paths that were asked for."""


def content(value: float) -> bytes:
    return save({"layers.2.bias": torch.full((3,), value)})


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "cache"))
    files = {"/a/model.safetensors": content(1.0), "/b/model.safetensors": content(2.0)}
    asked: list[str] = []

    class Handler(QuietHandler):
        def answer(self) -> None:
            asked.append(self.path)
            self.send_head(len(files[self.path]))
            self.wfile.write(files[self.path])

    with serve(Handler) as address:
        yield address, files, asked


def fit(folder: Path, given: Any, name: str) -> Any:
    config = {
        "task": "tabular_classification",
        "data": {"name": "bundled_table", "table": "iris"},
        "model": {"name": "dense", "hidden": [4]},
        "weights": {"init_from": given, "freeze": ["*.bias"]},
        "trainer": {"epochs": 1, "device": "cpu", "threads": 1},
        "observers": [],
    }
    return call("fit", write_config(folder / f"{name}.yaml", config), "-o", folder / name)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_bias(run: Path) -> float:
    weights = load_file(next((run / "checkpoints").glob("step-*")) / "weights.safetensors")
    return float(weights["layers.2.bias"][0])


def test_files_of_one_name_at_two_addresses_are_two_files(tmp_path: Path, served: Served) -> None:
    address, _, asked = served
    for folder, value in (("a", 1.0), ("b", 2.0), ("a", 1.0)):
        assert fit(tmp_path, f"{address}/{folder}/model.safetensors", f"{folder}{len(asked)}").exit_code == 0
        assert read_bias(sorted(tmp_path.glob(f"{folder}*[0-9]"))[-1]) == value
    assert asked == ["/a/model.safetensors", "/b/model.safetensors"]


def test_a_file_that_has_changed_in_the_cache_is_fetched_again(tmp_path: Path, served: Served) -> None:
    address, _, asked = served
    assert fit(tmp_path, f"{address}/a/model.safetensors", "one").exit_code == 0
    (cached,) = (tmp_path / "cache" / "weights").rglob("model.safetensors")
    cached.write_bytes(content(9.0))
    again = fit(tmp_path, f"{address}/a/model.safetensors", "two")
    assert again.exit_code == 0
    assert "not as it was fetched" in again.stderr
    assert read_bias(tmp_path / "two") == 1.0
    assert len(asked) == 2


def test_a_stated_hash_is_enforced_on_every_use(tmp_path: Path, served: Served) -> None:
    address, files, asked = served
    url, right = f"{address}/a/model.safetensors", digest(files["/a/model.safetensors"])
    assert fit(tmp_path, {"url": url, "sha256": right}, "right").exit_code == 0
    wrong = fit(tmp_path, {"url": url, "sha256": digest(b"")}, "wrong")
    assert isinstance(wrong.exception, DataError)
    assert right in str(wrong.exception)
    assert len(asked) == 1
    other = {"url": f"{address}/b/model.safetensors", "sha256": right}
    assert isinstance(fit(tmp_path, other, "other").exception, DataError)
    assert not list((tmp_path / "cache" / "weights").glob("*/.model*")), "nothing is left behind"
    files[f"/c/net-{right[:8]}.safetensors"] = content(3.0)
    named = fit(tmp_path, f"{address}/c/net-{right[:8]}.safetensors", "named")
    assert isinstance(named.exception, DataError)
    assert f"expected {right[:8]}" in str(named.exception)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "https://x/y.safetensors"}, "weights.init_from"),
        ({"url": ["https://x/y.safetensors"], "sha256": "0" * 64}, "weights.init_from"),
        ("https://x/y.safetensors#sha256=12", "64 hexadecimal digits"),
        ({"url": "https://x/y.safetensors", "sha256": "F" * 64}, "64 hexadecimal digits"),
    ],
)
def test_a_wrong_form_is_refused_before_anything_is_fetched(given: Any, message: str, tmp_path: Path) -> None:
    refused = fit(tmp_path, given, "run").exception
    assert isinstance(refused, UsageError)
    assert message in str(refused)
