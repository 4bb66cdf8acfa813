"""`dltrain reproduce`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.options import JsonTables, Overrides, Quiet, use_run
from dltrain.errors import RequirementNotMet, UsageError
from dltrain.runtime.interrupts import Interrupts

if TYPE_CHECKING:
    from dltrain.runs.reproducing import RecordedRun, Reproduction

NOTHING_AROUND = "nothing that was recorded differs: the processor, or a library below torch, may compute otherwise"


def reproduce(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(callback=use_run, help="A run directory, or a file that `dltrain share` wrote.")
    ],
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Compare the first N epochs alone.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder of the data. [default: the one used in training]")] = None,
    overrides: Overrides = None,
    plugins: Annotated[bool, typer.Option("--plugins", help="Execute the plug-ins in a shared file.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep the new run in this directory. [default: not kept]")
    ] = None,
    quiet: Quiet = False,
    as_json: JsonTables = False,
) -> None:
    """Train a run again and compare it.

    Trains from what the run recorded, and compares each logged step, each epoch's metrics and the weights, bit for bit.
    Stops at the first difference, prints it with what differs around it (settings, data, plug-ins, versions, device,
    threads), and exits with 6. The number of threads is the recorded one.

    Plug-ins in a shared file are somebody's code: they are executed only with --plugins.

    Examples:

      dltrain reproduce runs/mnist_cnn --epochs 1

      dltrain reproduce mnist_cnn.dltrain.zip --root data
    """
    from dltrain.observers.console import Messenger
    from dltrain.runs.reproducing import RecordedRun, reproduce_run
    from dltrain.runs.sharing import is_shared, unpack_shared

    interrupts: Interrupts = context.obj
    settings = [*([] if root is None else [f"data.root={json.dumps(root)}"]), *(overrides or [])]
    if output is not None and output.exists() and any(output.iterdir() if output.is_dir() else [output]):
        raise UsageError(f"--output {output}: it is there already", advice="name a new directory")
    with TemporaryDirectory(prefix="dltrain-reproduce-") as folder:
        shared = is_shared(run)
        place = Path(folder) / "recorded"
        if shared:
            place.mkdir()
            unpack_shared(run, place)
        recorded = RecordedRun(place if shared else run, run, shared=shared)
        result = reproduce_run(
            recorded,
            recorded.load(settings, plugins),
            output or Path(folder) / "again",
            epochs=epochs,
            interrupts=interrupts,
            messenger=Messenger(quiet),
        )
        kept = None if output is None else str(output)
        plain = describe_result(run, result, kept)
    typer.echo(json.dumps(plain) if as_json else "\n".join(format_result(recorded, result)))
    if result.difference is not None:
        advice = "restore what differs, or accept that the run cannot be repeated here"
        raise RequirementNotMet(f"{run}: not reproduced: {format_difference(result)}", advice=advice)


def describe_result(run: Path, result: Reproduction, kept: str | None) -> dict[str, Any]:
    """The outcome as plain values."""
    return {
        "run": str(run),
        "identical": result.difference is None,
        "complete": result.complete,
        "epochs": result.epochs,
        "measurements": result.measurements,
        "checkpoints": list(result.checkpoints),
        "difference": None if result.difference is None else result.difference.to_plain(),
        "around": {name: {"recorded": before, "again": after} for name, (before, after) in result.around.items()},
        "directory": kept,
    }


def format_result(recorded: RecordedRun, result: Reproduction) -> Iterator[str]:
    """The outcome as lines."""
    if result.difference is None:
        weights = f"weights of {', '.join(result.checkpoints)}" if result.checkpoints else "no weights: none were kept"
        epochs, measured = count_things(result.epochs, "epoch"), count_things(result.measurements, "measurement")
        extent = "" if result.complete else f" (of {recorded.record.history[-1]['epoch']:g})"
        yield f"identical: {epochs}{extent}, {measured}, {weights}"
    else:
        yield f"first difference: {format_difference(result)}"
    if result.around:
        yield "what differs around it:" if result.difference else "although these differ:"
        yield from (f"  {name}: {before} -> {after}" for name, (before, after) in result.around.items())
    elif result.difference is not None:
        yield NOTHING_AROUND


def count_things(number: float, name: str) -> str:
    return f"{number:g} {name}" + ("" if number == 1 else "s")


def format_difference(result: Reproduction) -> str:
    found = result.difference
    assert found is not None
    return f"step {found.step}, epoch {found.epoch:g}, {found.what}: recorded {found.recorded}, now {found.again}"
