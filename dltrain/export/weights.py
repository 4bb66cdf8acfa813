"""Weights as one safetensors file, beside the description that is needed to build the model again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.core.checkpoint import WEIGHTS, Checkpoint
from dltrain.core.checkpoint_contents import check_record, parse_json
from dltrain.core.record import Record
from dltrain.errors import NoCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
"""The format of the description beside an export."""
SUFFIX = ".safetensors"


def get_description_path(path: Path) -> Path:
    """The path of an exported file's description."""
    return path.with_name(f"{path.name}.json")


class ExportedWeights(Checkpoint):
    """An exported file of weights in a checkpoint's place: every command that takes a run takes it too.

    Raises NoCheckpoint where the file or its description is not there, or they do not belong together.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, 0, evaluated=True)

    @cached_property
    def described(self) -> dict[str, Any]:
        """The description beside the file."""
        beside = get_description_path(self.path)
        if not beside.is_file():
            raise NoCheckpoint(
                f"{self.path}: its description, {beside.name}, is not beside it",
                advice="copy it there, or export again",
            )
        try:
            described: dict[str, Any] = parse_json(beside.read_bytes())
            if (version := described["description"]) != VERSION:
                raise NoCheckpoint(
                    f"{beside}: written in format {version}, and this dltrain reads format {VERSION}",
                    advice="use the version that wrote it",
                )
            wrong = check_record(described["record"])
            if wrong is not None:
                raise ValueError(wrong)
            digest = described["sha256"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NoCheckpoint(f"{beside}: is no description of an export", advice="export again") from None
        if sha256(self._content).hexdigest() != digest:
            raise NoCheckpoint(
                f"{self.path}: does not belong to {beside.name}, or is damaged (its SHA-256 does not fit)",
                advice="export again",
            )
        return described

    @cached_property
    def record(self) -> Record:
        return Record.from_plain(self.described["record"])

    @cached_property
    def _content(self) -> bytes:
        return self.path.read_bytes()

    @property
    def fault(self) -> str | None:
        return None

    @property
    def manifest(self) -> dict[str, Any]:
        return {"files": {WEIGHTS: {"sha256": sha256(self._content).hexdigest()}}}

    def weights(self) -> dict[str, Tensor]:
        from safetensors.torch import load

        _ = self.record
        return load(self._content)


def encode_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """All weights and buffers of a model, under their names."""
    from safetensors.torch import save

    from dltrain.tree import make_storable

    return save(make_storable(dict(tensors)), {"format": "pt"})
