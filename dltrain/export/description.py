"""What stands beside an exported model: all that is needed to use it, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dltrain.data.images.mnist import get_normalization
from dltrain.export.interface import BATCH, Interface, Port

PREPARATION: Mapping[str, Sequence[str]] = {
    "images": (
        "pixels 0..255, channels first (grey, or red, green and blue), of the size assets.height x assets.width",
        "inputs = pixels * scale + offset, float32, with the numbers below: one for all channels, or one for each",
        "in Python: dltrain.data.images.reader.read_image, then dltrain.data.images.mnist.normalize_pixels",
    ),
    "table": (
        "assets.inputs names the inputs, one after the other; assets.features says what each column becomes",
        "a column of numbers: (number - mean) / std; of texts: 1 for the row's own category and 0 for the others",
        "in Python: dltrain.data.tables.columns.FeatureEncoder(assets['features'])",
    ),
    "series": (
        "the last assets.window rows of assets.columns, oldest first: (value - mean) / std of each column",
        "in Python: dltrain.data.series.dataset.standardize_series",
    ),
    "documents": (
        "a token's number is its place in assets.words; assets.unit, lowercase and punctuation say what a token is",
        "at most assets.max_tokens; a shorter text ends with <eos>; unknown ones are assets.unknown, or left out",
        "tokens are 0 after each text's end, lengths the number of its own",
        "in Python: dltrain.data.documents.batches.DocumentEncoder(assets)",
    ),
    "text": (
        "a token's number is its place in assets.words; assets.unit says whether tokens are words or characters",
        "the first token of a text follows assets.end; unknown ones are assets.unknown, or left out",
        "tokens are columns (length, batch); a text begins with the initial state, goes on with what came out",
        "in Python: dltrain.data.text.vocabulary.Vocabulary(assets)",
    ),
    "speech": (
        "mono sound at assets.sample_rate_hz; log-mel features as assets.features say: Hann windows, power spectrum in "
        "float64, mel filters of equal area, the natural logarithm with a floor of 1e-10; rounded to float16 once",
        "(feature - mean) / sqrt(variance + 1e-4) of each band: over the recording, or with the numbers in "
        "assets.normalization where these are over the corpus",
        "features are 0 after each recording's end, frames the number of its own",
        "in Python: dltrain.data.speech.log_mel.model_input(sound, assets)",
    ),
}
"""By kind of data, how what a user has becomes inputs."""

MEANINGS: Mapping[str, str] = {
    "probabilities": "of each of assets.labels, in their order; the label is the one with the largest, or by "
    "record.config.task.threshold where the task has one",
    "estimates": "of each output, in the data's own units",
    "reconstructions": "as the inputs are, normalised",
    "log_probabilities": "the natural logarithm of each token's or character's probability",
    "output_lengths": "how many steps of log_probabilities belong to each recording; character 0 of assets.alphabet is "
    "CTC's blank: take the likeliest of each step, merge repeats, leave out blanks",
    "outputs": "the model's own, as its task takes them",
}


def plain(ports: Sequence[Port]) -> list[dict[str, Any]]:
    """Inputs or outputs as JSON; an axis that is a name may have any size."""
    return [
        {
            "name": port.name,
            "dtype": str(port.dtype).removeprefix("torch."),
            "shape": list(port.axes),
            **({"meaning": MEANINGS[port.name]} if port.name in MEANINGS else {}),
        }
        for port in ports
    ]


def preparation(kind: str, assets: Mapping[str, Any]) -> dict[str, Any]:
    """How to make inputs, in words, and in numbers where the assets do not hold them as they are needed."""
    steps: dict[str, Any] = {
        "data": kind,
        "steps": list(PREPARATION.get(kind, ("as the plug-in's dataset makes them",))),
        "assets": "those under record",
    }
    if kind == "images" and "normalize" in assets:  # a plug-in's dataset may have assets of its own
        scale, offset = (
            torch.as_tensor(value, dtype=torch.float64).flatten().tolist() for value in get_normalization(assets)
        )
        steps |= {"scale": scale, "offset": offset}
    return steps


def computation(interface: Interface) -> dict[str, Any]:
    """What goes in and comes out of an exported computation."""
    described: dict[str, Any] = {"inputs": plain(interface.inputs), "outputs": plain(interface.outputs)}
    if interface.initial:
        described["initial_state"] = (
            f"zeros of the shapes of the inputs {interface.initial[0].name}, ..., with nothing along 'memory'; {BATCH} "
            "is the number of texts; each call gives the state for the next one as next_state_0, ..."
        )
    return described


def use(form: str, file: str) -> list[str]:
    """A few lines that use an exported file."""
    if form == "safetensors":
        return [
            f"any command of dltrain that takes a run, such as: dltrain eval {file}",
            f"in a config, to train on: weights: {{init_from: {file}}}",
            "from dltrain.runs.finding import find_checkpoint",
            "from dltrain.runs.loading import load_trained",
            f"model = load_trained(find_checkpoint(pathlib.Path('{file}'))).model",
        ]
    if form == "torch-export":
        return [f"program = torch.export.load('{file}').module()", "outputs = program(*inputs)"]
    return [f"session = onnxruntime.InferenceSession('{file}')", "outputs = session.run(None, {name: array, ...})"]
