"""Weights & Biases in offline mode: each step once, read from the file that `wandb sync` would send."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from dltrain.errors import UsageError
from support.runs import StopAt
from support.trackers import KILLS, list_points, read_weights, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed"),
    pytest.mark.filterwarnings("ignore"),
]


def read_records(file: Path) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, after a header of 7 bytes.

    https://github.com/google/leveldb/blob/main/doc/log_format.md: blocks of 32768 bytes; each part has a checksum (4
    bytes), a length (2) and a type (1): whole, first, middle or last.
    """
    content, position, record = file.read_bytes(), 7, b""
    while position < len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, part = struct.unpack("<HB", content[position + 4 : position + 7])
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if part in (1, 4):
            yield record
            record = b""


def read_points(file: Path) -> list[tuple[str, int, float]]:
    """All numbers of an offline run, duplicates included."""
    from wandb.proto.wandb_internal_pb2 import Record

    points = []
    for data in read_records(file):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") != "history":
            continue
        row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        step = row.get("_step", record.history.step.num)
        points += [(name, step, value) for name, value in row.items() if "/" in name and not name.startswith("plots")]
    return sorted(points)


def test_offline_files_have_each_step_once_after_kills(tmp_path: Path) -> None:
    run = tmp_path / "run"
    observers = ["report", {"name": "wandb", "patience": 60}]
    assert train(run, observers, *(StopAt(each, kill=True) for each in KILLS)) == []
    files = list(run.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 1
    expected = [point for point in list_points(run) if point[0] != "epoch"]
    for _ in range(50):  # wandb's own process writes the last rows
        if len(read_points(files[0])) >= len(expected):
            break
        time.sleep(0.2)
    assert read_points(files[0]) == expected
    train(tmp_path / "alone", [])
    assert read_weights(run) == read_weights(tmp_path / "alone")


def test_online_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="needs an API key"):
        train(tmp_path / "run", [{"name": "wandb", "mode": "online"}])
