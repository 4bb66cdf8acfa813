"""What the records of a run's epochs hold."""

from __future__ import annotations

HISTORY = {"epoch", "step", "training_loss", "learning_rate"}
"""What a record of a run's history holds besides the task's metrics."""
