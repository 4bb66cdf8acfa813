"""`dltrain eval --adapt`: a language model that adapts to the text it is evaluated on."""

from __future__ import annotations

from typing import Annotated

import typer

from dltrain.runs.adaptation import CacheAdaptation, DynamicAdaptation

Adapt = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="Adapt a language model to the text: cache=TOKENS for a cache of the last tokens (arXiv:1612.04426), with "
        f"its share weight={CacheAdaptation.weight:g} and its flatness={CacheAdaptation.flatness:g}; or "
        "dynamic=LEARNING_RATE to learn from each window once scored (arXiv:1709.07432), with "
        f"decay={DynamicAdaptation.decay:g} to the trained weights, window={DynamicAdaptation.window} tokens, and "
        "rms=false (true divides by the gradients over the training text, read first).",
    ),
]
