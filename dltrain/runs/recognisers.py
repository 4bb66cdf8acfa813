"""What a trained model must be, and have been trained with, to transcribe sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.runs.loading import Trained


def check_recogniser(run: Path, trained: Trained) -> Trained:
    """The model itself. Raises UsageError if it does not transcribe."""
    from dltrain.data.speech.recognition import Transcribes

    if not isinstance(trained.task, Transcribes):
        raise trained.refuse(run, "transcribe sound")
    return trained


def check_speakers(over: str, same_speaker: bool) -> None:
    """Raise UsageError for --same-speaker unless features are normalised over a speaker."""
    if same_speaker and over != "speaker":
        raise UsageError(
            f"--same-speaker: the features of this model are normalised over the {over}, whoever speaks; it goes with "
            "models trained with data.normalize: speaker",
            advice="leave it out",
        )
