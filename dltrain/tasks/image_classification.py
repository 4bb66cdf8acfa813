"""Images to one of several classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.options import Fraction
from dltrain.registry import tasks
from dltrain.tasks.classification import Classification


@tasks.register("image_classification", data="images", sizes=("image_channels", "height", "width", "classes"))
class ImageClassification(Classification):
    """Cross-entropy over classes; the best epoch has the highest validation accuracy.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`).
    """

    def __init__(self, assets: Mapping[str, Any], *, label_smoothing: Fraction = 0.0) -> None:
        super().__init__(assets["labels"], label_smoothing)
        sides = {"height": assets["height"], "width": assets["width"]}
        self.sizes = {"image_channels": assets["channels"], **sides, "classes": len(self.labels)}
