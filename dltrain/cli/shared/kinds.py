"""The kind of data that a trained model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dltrain.kinds import Kind, find_kind

if TYPE_CHECKING:
    from dltrain.runs.loading import Trained


def get_data_kind(trained: Trained) -> Kind:
    """The kind of a run's data, as its dataset is registered with."""
    return find_kind(trained.names.entry("dataset", trained.experiment.data.name).facts["data"])
