"""`dltrain export`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dltrain.cli.shared.kinds import get_data_kind
from dltrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from dltrain.batch import Batch
    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

BATCHES = 3
"""Batches of the split that outputs are compared on."""


class Format(str, Enum):
    safetensors = "safetensors"
    torch_export = "torch-export"
    onnx = "onnx"


class Split(str, Enum):
    validation = "validation"
    test = "test"
    training = "training"


class Quantization(str, Enum):
    int8 = "int8"


SUFFIXES = {Format.safetensors: ".safetensors", Format.torch_export: ".pt2", Format.onnx: ".onnx"}

PLAIN = {"trainer": {"device": "cpu", "precision": "fp32", "channels_last": False}}
"""What an exported model is compared with: the trained one, computing as it will."""


def export(
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.safetensors,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file. [default: NAME-OF-RUN with the format's suffix]")
    ] = None,
    quantize: Annotated[
        Quantization | None, typer.Option(help="Make the weights smaller; what that costs is measured.")
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="The split to check on. [default: validation, or training where that is empty]")
    ] = None,
    root: Annotated[str | None, typer.Option(help="Where the data lies, if not where it was in training.")] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Check on made-up inputs, where the data is not at hand.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far outputs may differ, as a share of the largest, or of 1.")
    ] = 1e-4,
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Export a model (safetensors, torch.export, ONNX).

    The file is written once its outputs match the model's. safetensors holds the weights, and works for every model;
    dltrain takes such a file wherever it takes a run. torch-export (.pt2) and onnx hold the computation, for any number
    of examples and any length of sequences; they need no dltrain, and ONNX no PyTorch either (to write it: pip install
    'dltrain[export]').

    The file is read back and run beside the model, on inputs of the run's own data, in several sizes and lengths. Where
    outputs differ by more than the tolerance, nothing is written, and the exit code is 6. What the model takes and
    gives, and how its inputs are made, stands in FILE.json. Exported models compute in float32.

    --quantize int8 keeps the weights of linear, recurrent and embedding layers in 8 bits, and multiplies in 8 bits
    where the format can; convolutions stay as they are.

    Examples:

      dltrain export runs/mnist_cnn --format onnx

      dltrain export runs/mnist_cnn --format torch-export --quantize int8 -o small.pt2

      dltrain export runs/mnist_cnn && dltrain predict mnist_cnn.safetensors digit.png
    """
    _check_options(form, quantize, synthetic)
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    chosen = find_checkpoint(run, checkpoint)
    trained = load_trained(chosen, {**PLAIN, "data": {"root": root} if root else {}})
    if notice := trained.record.notice:
        typer.echo(f"warning: {notice}", err=True)
    inputs = _inputs(trained, split, synthetic)
    file = output or Path(f"{run.resolve().name.removesuffix(SUFFIXES[Format.safetensors])}{SUFFIXES[form]}")
    if form is Format.safetensors:
        content, found = _weights(run, trained, inputs, tolerance)
    else:
        content, found = _computation(run, trained, inputs, form, quantize is not None, tolerance)
    described = {**_description(run, trained, form, file, content), **found}
    _write(file, content, described)
    if as_json:
        typer.echo(json.dumps({name: value for name, value in described.items() if name != "record"}))
    else:
        _print(described)


def _check_options(form: Format, quantize: Quantization | None, synthetic: bool) -> None:
    """Raises UsageError for options that do not go together."""
    if quantize is None:
        return
    if form is Format.safetensors:
        raise UsageError(
            "--quantize int8 cannot go with --format safetensors, which holds the weights as dltrain loads them\n"
            "allowed: --format torch-export or onnx"
        )
    if synthetic:
        raise UsageError(
            "--quantize int8 cannot go with --synthetic: what it does to the accuracy shows on real data alone",
            advice="say with --root where the data lies",
        )


class Inputs(NamedTuple):
    """What outputs are compared on: the first batches of a split, and the split itself; made-up ones have none."""

    batches: Sequence[Batch]
    told: str
    stream: Stream[Any] | None = None


def _inputs(trained: Trained, split: Split | None, synthetic: bool) -> Inputs:
    """Raises DataError where the data is not there or the split empty, UsageError where nothing can be made up."""
    if synthetic:
        from dltrain.runtime.seeds import generator

        kind = get_data_kind(trained)
        if kind.synthetic is None:
            raise UsageError(
                f"--synthetic: the kind of data '{kind.name}' has no synthetic inputs",
                advice="leave it out, or register the kind with `synthetic` (docs/extending.md)",
            )
        batch = kind.synthetic(trained.task.sizes, generator("made up", trained.experiment.seed))
        return Inputs([batch], "made-up inputs, not data")
    try:
        dataset = trained.dataset()
        chosen = split or (Split.validation if len(dataset.validation()) else Split.training)
        streams = {Split.validation: dataset.validation, Split.test: dataset.test, Split.training: dataset.training}
        stream = streams[chosen]()
    except DataError as error:
        raise DataError(
            f"{error}\nAn exported model is compared with the trained one on this data: give its place with --root, or "
            "compare on made-up inputs with --synthetic."
        ) from error
    if not len(stream):
        raise DataError(f"{trained.checkpoint.path}: its {chosen.value} split is empty", advice="leave out --split")
    return Inputs(list(islice(stream.epoch(0), BATCHES)), f"the {chosen.value} split of {dataset.name}", stream)


def _weights(run: Path, trained: Trained, inputs: Inputs, tolerance: float) -> tuple[bytes, dict[str, Any]]:
    """The weights, read back into another model, and what was found."""
    import torch

    from dltrain.export.agreement import measure_difference
    from dltrain.export.computation import check_agreement
    from dltrain.export.interface import flatten_tensors
    from dltrain.export.weights import ExportedWeights, encode_safetensors
    from dltrain.runs.loading import load_trained

    content = encode_safetensors(trained.model.state_dict())
    with TemporaryDirectory(prefix="dltrain-export-") as folder:
        file = Path(folder) / "weights.safetensors"
        _write(file, content, _description(run, trained, Format.safetensors, file, content))
        again = load_trained(ExportedWeights(file), PLAIN).model
    with torch.inference_mode():
        worst = max(
            measure_difference(
                flatten_tensors(trained.model(*batch.arguments)), flatten_tensors(again(*batch.arguments))
            )
            for batch in inputs.batches
        )
    check_agreement(str(run), worst, tolerance)
    return content, {"check": {"on": inputs.told, "inputs": len(inputs.batches), **_differing(worst, tolerance)}}


def _computation(
    run: Path, trained: Trained, inputs: Inputs, form: Format, int8: bool, tolerance: float
) -> tuple[bytes, dict[str, Any]]:
    """A computation, checked, and what was found."""
    from dltrain.core.checkpoint import WEIGHTS
    from dltrain.export.computation import Subject, export_program
    from dltrain.export.description import describe_computation

    name = f"{run}: the model '{trained.experiment.model.name}'"
    size = len(trained.checkpoint.contents[WEIGHTS])
    subject = Subject(
        name=name,
        model=trained.model,
        weights_bytes=size,
        task=trained.task,
        batches=inputs.batches,
        leading=get_data_kind(trained).axes,
        stream=inputs.stream,
        runtime=trained.runtime,
    )
    result = export_program(subject, "onnx" if form is Format.onnx else "torch-export", int8, tolerance)
    agreed = result.agreement
    compared = {
        "on": inputs.told,
        "inputs": agreed.inputs,
        "sizes": agreed.sizes,
        **({"lengths": agreed.lengths} if agreed.lengths else {}),
        **_differing(agreed.difference, tolerance),
    }
    return result.content, {
        **describe_computation(result.interface),
        "check": compared,
        "quantization": result.int8 and {"type": "int8", **result.int8},
        "metric": trained.task.goal.metric,
        "forms": [row._asdict() for row in result.rows],
    }


def _differing(difference: float, tolerance: float) -> dict[str, float]:
    return {"difference": difference, "allowed": tolerance}


def _description(run: Path, trained: Trained, form: Format, file: Path, content: bytes) -> dict[str, Any]:
    """What stands beside every exported file, whatever its format."""
    from dltrain import __version__
    from dltrain.core.checkpoint import WEIGHTS
    from dltrain.export.description import describe_preparation, describe_use
    from dltrain.export.weights import VERSION

    record, signature = trained.record, trained.runtime.signature()
    return {
        "description": VERSION,
        "file": file.name,
        "format": form.value,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "use": describe_use(form.value, file.name),
        "task": trained.experiment.task.name,
        "model": trained.experiment.model.name,
        "data": record.dataset,
        "seed": trained.experiment.seed,
        "run": str(run),
        "checkpoint": trained.checkpoint.name,
        "weights_sha256": trained.checkpoint.manifest["files"][WEIGHTS]["sha256"],
        "versions": {"dltrain": __version__, "torch": signature["torch"]},
        "threads": signature["threads"],
        "preparation": describe_preparation(get_data_kind(trained), record.assets),
        "record": record.portable(),
    }


def _write(file: Path, content: bytes, described: Mapping[str, Any]) -> None:
    """The file and its description, each whole or not at all; the description alone is not left behind."""
    from dltrain.export.weights import get_description_path
    from dltrain.files import write_atomically

    file.parent.mkdir(parents=True, exist_ok=True)
    beside = get_description_path(file)
    write_atomically(beside, (json.dumps(described, indent=1) + "\n").encode())
    try:
        write_atomically(file, content)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _print(described: Mapping[str, Any]) -> None:
    check = described["check"]
    typer.echo(
        f"{described['model']} on {described['data']}, checkpoint {described['checkpoint']}, seed {described['seed']}, "
        f"torch {described['versions']['torch']}, as {described['format']}"
    )
    several = "".join(
        f"; {what} {', '.join(map(str, check[name]))}"
        for name, what in (("sizes", "examples"), ("lengths", "steps"))
        if name in check
    )
    typer.echo(f"compared on {check['inputs']} inputs: {check['on']}{several}")
    typer.echo(f"largest difference {check['difference']:.2g} of the largest output, allowed {check['allowed']:.2g}")
    if quantized := described.get("quantization"):
        typer.echo(f"int8: {len(quantized['weights'])} weights; outputs differ by {quantized['difference']:.2g}")
    if "forms" in described:
        typer.echo("\n" + _table(described) + "\n")
    width = len(described["file"]) + 7
    typer.echo(f"{described['file']:<{width}}{described['bytes']} bytes")
    typer.echo(f"{described['file'] + '.json':<{width}}what goes in, what comes out, how to use it")


def _table(described: Mapping[str, Any]) -> str:
    forms, threads = described["forms"], described["threads"]
    metrics = list(dict.fromkeys((described["metric"], "loss"))) if forms[0]["metrics"] else []
    head = ["", "bytes", "ms for 1", f"ms for {forms[0]['batch_size']}", *metrics]
    rows = [
        [
            form["name"],
            str(form["bytes"]),
            *(f"{form[name]:.3f}" for name in ("milliseconds_of_one", "milliseconds_of_batch")),
            *(f"{form['metrics'][name]:.4f}" for name in metrics),
        ]
        for form in forms
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return "\n".join([*lines, f"(median times, {threads} thread{'s' * (threads != 1)})"])
