"""`dltrain export`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from dltrain.cli.shared.options import (
    ChangedData,
    CheckpointName,
    DataRoot,
    JsonTables,
    RunPath,
    load_model,
    print_notice,
)
from dltrain.cli.shared.tables import format_table
from dltrain.errors import DataError, UsageError
from dltrain.files import is_stream, write_atomically
from dltrain.kinds import resolve_reference
from dltrain.runs.evaluated_data import OpenedSplit, choose_new_examples, format_changed_data

if TYPE_CHECKING:
    from dltrain.batch import Batch
    from dltrain.runs.loading import Trained
    from dltrain.stream import Stream

BATCHES = 3
"""Batches of the split that outputs are compared on."""

SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}

PLAIN = {"trainer": {"device": "cpu", "precision": "fp32", "channels_last": False}}
"""Settings of the trained model that an export is compared with: computing as the export will."""

Format = Literal["safetensors", "torch-export", "onnx"]
Split = Literal["validation", "test", "training"]
Quantization = Literal["int8"]

FormName = Annotated[Format, typer.Option("--format", help="What to write.")]
OutputFile = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file. [default: NAME-OF-RUN with the format's suffix]")
]
Quantize = Annotated[Quantization | None, typer.Option(help="Make the weights smaller, and measure what that costs.")]
SplitName = Annotated[
    Split | None, typer.Option(help="The split to check on. [default: validation, or training where that is empty]")
]
Synthetic = Annotated[
    bool, typer.Option("--synthetic", help="Check on synthetic inputs, for when the data is not available.")
]
Tolerance = Annotated[
    float, typer.Option(min=0, help="Largest allowed difference of outputs, as a share of the largest, or of 1.")
]


def export(
    run: RunPath,
    form: FormName = "safetensors",
    output: OutputFile = None,
    quantize: Quantize = None,
    split: SplitName = None,
    root: DataRoot = None,
    changed_data: ChangedData = False,
    synthetic: Synthetic = False,
    tolerance: Tolerance = 1e-4,
    checkpoint: CheckpointName = None,
    as_json: JsonTables = False,
) -> None:
    """Export a model (safetensors, torch.export, ONNX).

    The file is written once its outputs match the model's. safetensors holds the weights, and works for every model;
    dltrain takes such a file wherever it takes a run. torch-export (.pt2) and onnx hold the computation, for any number
    of examples and any length of sequences; they need no dltrain, and ONNX no PyTorch either (to write it: pip install
    'dltrain[export]').

    The file is read back and compared with the model on inputs of the run's own data, in several sizes and lengths. If
    outputs differ by more than the tolerance, nothing is written, and the exit code is 6. FILE.json describes inputs
    and outputs, and how to prepare inputs. Exported models compute in float32.

    --quantize int8 keeps the weights of linear, recurrent and embedding layers in 8 bits, and multiplies in 8 bits
    where the format can; convolutions stay as they are.

    Examples:

      dltrain export runs/mnist_cnn --format onnx

      dltrain export runs/mnist_cnn --format torch-export --quantize int8 -o small.pt2

      dltrain export runs/mnist_cnn && dltrain predict mnist_cnn.safetensors digit.png
    """
    _check_options(form, quantize, synthetic)
    trained = load_model(run, checkpoint, settings={**PLAIN, "data": {"root": root} if root else {}})
    inputs = _make_synthetic_inputs(trained) if synthetic else _read_inputs(run, trained, split, changed_data)
    file = output or Path(f"{run.resolve().name.removesuffix(SUFFIXES['safetensors'])}{SUFFIXES[form]}")
    subject = Exported(run, trained, tolerance, *inputs)
    if form == "safetensors":
        content, facts = _export_weights(subject)
    else:
        content, facts = _export_computation(subject, form, int8=quantize is not None)
    described = {**_describe(subject, form, file, content), **facts}
    _write(file, content, described)
    if as_json:
        typer.echo(
            json.dumps({name: value for name, value in described.items() if name not in ("record", "known_examples")})
        )
    else:
        _print_description(described, beside=not is_stream(file))


def _check_options(form: Format, quantize: Quantization | None, synthetic: bool) -> None:
    """Raises UsageError for options that do not go together."""
    if quantize is None:
        return
    if form == "safetensors":
        raise UsageError(
            "--quantize int8 cannot go with --format safetensors, which holds the weights as dltrain loads them\n"
            "allowed: --format torch-export or onnx"
        )
    if synthetic:
        message = "--quantize int8 cannot go with --synthetic: only real data shows its effect on the accuracy"
        raise UsageError(message, advice="give the folder of the data with --root")


class Exported(NamedTuple):
    """A model, the largest allowed difference of outputs, and inputs to compare them on.

    `batches` are the first of the split `stream`, which is None for synthetic ones.
    """

    run: Path
    trained: Trained
    tolerance: float
    batches: Sequence[Batch]
    description: str
    stream: Stream[Any] | None = None

    def report_check(self, difference: float, **sizes: Any) -> dict[str, Any]:
        """The facts of a check, as plain values."""
        return {"on": self.description, **sizes, "difference": difference, "allowed": self.tolerance}


def _make_synthetic_inputs(trained: Trained) -> tuple[list[Batch], str, None]:
    """Raises UsageError for a kind of data without synthetic inputs."""
    from dltrain.runtime.seeds import make_generator

    kind = trained.kind
    if kind.synthetic is None:
        raise UsageError(
            f"--synthetic: the kind of data '{kind.name}' has no synthetic inputs",
            advice="leave it out, or register the kind with `synthetic` (docs/extending.md)",
        )
    generator = make_generator("made up", trained.experiment.seed)
    batch = resolve_reference(kind.synthetic)(trained.task.sizes, generator)
    return [batch], "synthetic inputs, not data", None


def _read_inputs(
    run: Path, trained: Trained, split: Split | None, changed_data: bool
) -> tuple[list[Batch], str, Stream[Any]]:
    """Raises DataError for missing data or an empty split, UsageError for data that changed since training."""
    try:
        dataset = trained.dataset()
        chosen: Split = split or ("validation" if len(dataset.validation()) else "training")
        streams = {"validation": dataset.validation, "test": dataset.test, "training": dataset.training}
        stream = streams[chosen]()
    except DataError as error:
        reason = "An exported model is compared with the trained one on this data: give its folder with --root, "
        raise DataError(f"{error}\n{reason}or compare on synthetic inputs with --synthetic.") from error
    if not len(stream):
        raise DataError(f"{trained.checkpoint.path}: its {chosen} split is empty", advice="leave out --split")
    opened = OpenedSplit(dataset, chosen, stream)
    stream, changed, _ = choose_new_examples(run, trained, opened, allowed=changed_data, warn=print_notice)
    described = f"the {chosen} split of {dataset.name}"
    if changed:
        described += f" ({format_changed_data(changed['changed_data'])})"
    return list(islice(stream.epoch(0), BATCHES)), described, stream


def _export_weights(subject: Exported) -> tuple[bytes, dict[str, Any]]:
    """The weights, checked by loading them into another model, and the facts of the check."""
    import torch

    from dltrain.export.agreement import measure_difference
    from dltrain.export.computation import check_agreement
    from dltrain.export.weights import ExportedWeights, encode_safetensors
    from dltrain.runs.loading import load_trained
    from dltrain.tree import iterate_tensors

    model, batches = subject.trained.model, subject.batches
    content = encode_safetensors(model.state_dict())
    with TemporaryDirectory(prefix="dltrain-export-") as folder:
        file = Path(folder) / "weights.safetensors"
        _write(file, content, _describe(subject, "safetensors", file, content))
        again = load_trained(ExportedWeights(file), PLAIN).model
    with torch.inference_mode():
        pairs = [(model(*batch.arguments), again(*batch.arguments)) for batch in batches]
    worst = max(measure_difference(*(list(iterate_tensors(each)) for each in pair)) for pair in pairs)
    check_agreement(str(subject.run), worst, subject.tolerance)
    return content, {"check": subject.report_check(worst, inputs=len(batches))}


def _export_computation(
    subject: Exported, form: Literal["torch-export", "onnx"], int8: bool
) -> tuple[bytes, dict[str, Any]]:
    """The computation, checked, and the facts of the check."""
    from dltrain.core.checkpoint import WEIGHTS
    from dltrain.export.computation import Subject, export_program
    from dltrain.export.description import describe_computation

    trained = subject.trained
    program = Subject(
        name=f"{subject.run}: the model '{trained.experiment.model.name}'",
        model=trained.model,
        weights_bytes=len(trained.checkpoint.contents[WEIGHTS]),
        task=trained.task,
        batches=subject.batches,
        leading=trained.kind.axes,
        stream=subject.stream,
        runtime=trained.runtime,
    )
    result = export_program(program, form, int8, subject.tolerance)
    agreed = result.agreement
    lengths = {"lengths": agreed.lengths} if agreed.lengths else {}
    return result.content, {
        **describe_computation(result.interface),
        "check": subject.report_check(agreed.difference, inputs=agreed.inputs, sizes=agreed.sizes, **lengths),
        "quantization": result.int8 and {"type": "int8", **result.int8},
        "metric": trained.task.goal.metric,
        "forms": [row._asdict() for row in result.rows],
    }


def _describe(subject: Exported, form: Format, file: Path, content: bytes) -> dict[str, Any]:
    """The description of an exported file that all formats share."""
    from dltrain import __version__
    from dltrain.core.checkpoint import WEIGHTS
    from dltrain.export.description import describe_preparation, describe_use
    from dltrain.export.weights import VERSION
    from dltrain.runs.known_examples import EXPORT_KEY, find_known_examples

    known = find_known_examples(subject.trained.checkpoint)
    trained, record, signature = subject.trained, subject.trained.record, subject.trained.runtime.signature()
    return {
        "description": VERSION,
        "file": file.name,
        "format": form,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "use": describe_use(form, file.name),
        "task": trained.experiment.task.name,
        "model": trained.experiment.model.name,
        "data": record.dataset,
        "seed": trained.experiment.seed,
        "run": str(subject.run),
        "checkpoint": trained.checkpoint.name,
        "weights_sha256": trained.checkpoint.manifest["files"][WEIGHTS]["sha256"],
        "versions": {"dltrain": __version__, "torch": signature["torch"]},
        "threads": signature["threads"],
        "preparation": describe_preparation(trained.kind, record.assets),
        "record": record.portable(),
        **({} if known is None else {EXPORT_KEY: known.to_plain()}),
    }


def _write(file: Path, content: bytes, described: Mapping[str, Any]) -> None:
    """Write the file and its description, each whole or not at all; never the description alone."""
    from dltrain.export.weights import get_description_path

    if is_stream(file):  # nothing can be beside it
        write_atomically(file, content)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = get_description_path(file)
    write_atomically(beside, (json.dumps(described, indent=1) + "\n").encode())
    try:
        write_atomically(file, content)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _print_description(described: Mapping[str, Any], *, beside: bool) -> None:
    check = described["check"]
    typer.echo(
        f"{described['model']} on {described['data']}, checkpoint {described['checkpoint']}, seed {described['seed']}, "
        f"torch {described['versions']['torch']}, as {described['format']}"
    )
    counted = {"sizes": "examples", "lengths": "steps"}
    several = "".join(f"; {what} {', '.join(map(str, check[name]))}" for name, what in counted.items() if name in check)
    typer.echo(f"compared on {check['inputs']} inputs: {check['on']}{several}")
    typer.echo(f"largest difference {check['difference']:.2g} of the largest output, allowed {check['allowed']:.2g}")
    if quantized := described.get("quantization"):
        typer.echo(f"int8: {len(quantized['weights'])} weights; outputs differ by {quantized['difference']:.2g}")
    if "forms" in described:
        unit = "thread" if described["threads"] == 1 else "threads"
        typer.echo(f"\n{_format_forms(described)}\n(median times, {described['threads']} {unit})\n")
    width = len(described["file"]) + 7
    typer.echo(f"{described['file']:<{width}}{described['bytes']} bytes")
    if beside:
        typer.echo(f"{described['file'] + '.json':<{width}}inputs, outputs and how to use it")


def _format_forms(described: Mapping[str, Any]) -> str:
    forms = described["forms"]
    metrics = list(dict.fromkeys((described["metric"], "loss"))) if forms[0]["metrics"] else []
    rows = [["", "bytes", "ms for 1", f"ms for {forms[0]['batch_size']}", *metrics]]
    for form in forms:
        times = [f"{form[name]:.3f}" for name in ("milliseconds_of_one", "milliseconds_of_batch")]
        rows.append([form["name"], str(form["bytes"]), *times, *(f"{form['metrics'][name]:.4f}" for name in metrics)])
    return format_table(rows)
