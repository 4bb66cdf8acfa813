"""The JSON beside an exported model: all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dltrain.export.interface import Interface, Port
from dltrain.kinds import BATCH, Kind, resolve_reference

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


def ports_to_json(ports: Sequence[Port]) -> list[dict[str, Any]]:
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


def describe_preparation(kind: Kind, assets: Mapping[str, Any]) -> dict[str, Any]:
    """How to make inputs: steps, and numbers that the assets hold in another form."""
    numbers = resolve_reference(kind.prepared_numbers)(assets) if kind.prepared_numbers else {}
    return {"data": kind.name, "steps": list(kind.preparation), "assets": "those under record", **numbers}


def describe_computation(interface: Interface) -> dict[str, Any]:
    """The inputs and outputs of an exported computation."""
    described: dict[str, Any] = {"inputs": ports_to_json(interface.inputs), "outputs": ports_to_json(interface.outputs)}
    if interface.initial:
        described["initial_state"] = (
            f"zeros of the shapes of the inputs {interface.initial[0].name}, ..., with nothing along 'memory'; {BATCH} "
            "is the number of texts; each call gives the state for the next one as next_state_0, ..."
        )
    return described


def describe_use(form: str, file: str) -> list[str]:
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
