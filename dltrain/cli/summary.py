"""`dltrain summary`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.options import ConfigFile, Overrides, load_config, print_notice
from dltrain.cli.shared.settings import takes_settings
from dltrain.cli.shared.tables import format_table

if TYPE_CHECKING:
    from dltrain.core.summary import LayerRow, Summary

COUNTED = "matrix products, convolutions, recurrent layers and attention; a multiply-add is two"


@takes_settings("batch_size")
def summarize_model(
    config: ConfigFile,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, numbers in full.")] = False,
) -> None:
    """Show layers, shapes, parameters, FLOPs, memory.

    Measured on the first training batch, on the CPU whatever trainer.device says. Trains and writes nothing.

    Examples:

      dltrain summary configs/mnist_cnn.yaml

      dltrain summary runs/ptb_lstm --batch-size 64 --json
    """
    from dltrain.core.summary import measure_model
    from dltrain.runs.building import build_training
    from dltrain.runs.finding import find_config
    from dltrain.runtime.memory import explain_memory_errors

    experiment = load_config(find_config(config)[0], overrides).experiment
    plan = replace(experiment.trainer, device="cpu", compile=False)
    with explain_memory_errors():
        training = build_training(replace(experiment, trainer=plan))
        batch = next(iter(training.dataset.training().epoch(0)))
        state, runtime = training.state, training.runtime
        found = measure_model(
            state.model,
            training.task,
            batch,
            optimizer=state.optimizer,
            autocast=runtime.autocast,
            average=state.average,
        )
    print_notice(training.dataset.notice)
    counted = training.task.goal.counted
    facts = {
        "model": experiment.model.name,
        "data": training.dataset.name,
        "optimizer": experiment.optimizer.name,
        "precision": plan.precision,
        "batch": {"count": batch.count, "of": counted},
    }
    if not as_json:
        typer.echo("\n".join(format_summary(facts, found)))
        return
    measured = {
        "layers": [asdict(row) for row in found.rows],
        "parameters": {"total": found.parameters, "trainable": found.trainable},
        "flops": {"forward": found.forward_flops, "step": found.step_flops},
        "memory_bytes": {**asdict(found.memory), "total": found.memory.total},
    }
    typer.echo(json.dumps({**facts, **measured}))


def format_summary(facts: dict[str, Any], found: Summary) -> list[str]:
    """A table of the layers, and totals below it."""
    count, counted = facts["batch"]["count"], facts["batch"]["of"]
    each = format_count(found.forward_flops / count)
    memory = [f"{name} {format_bytes(size)}" for name, size in asdict(found.memory).items() if size]
    frozen, total = found.parameters - found.trainable, format_bytes(found.memory.total)
    uncounted = ", ".join(f"{row.name or row.kind} ({', '.join(row.uncounted)})" for row in found.rows if row.uncounted)
    facts_below = {
        "parameters": f"{found.parameters:,}" + (f", of which {frozen:,} are frozen" if frozen else ", all trainable"),
        "forward pass": f"{format_count(found.forward_flops)}FLOP, {each}FLOP for each of {count} {counted}",
        "training step": f"{format_count(found.step_flops)}FLOP, forward and backward",
        "": f"counted: {COUNTED}",
        **({"not counted": uncounted} if uncounted else {}),
        "memory": f"{total} in a training step with {facts['optimizer']}: {', '.join(memory)}",
    }
    head = f"{facts['model']} on {facts['data']}, a training batch of {count} {counted}, {facts['precision']}"
    return [head, "", format_layers(found.rows), "", *(f"{name:<15}{value}" for name, value in facts_below.items())]


def format_layers(layers: list[LayerRow]) -> str:
    rows = [["layer", "kind", "output", "parameters", "FLOP"]]
    for layer in layers:
        output = "-" if layer.output is None else " x ".join(map(str, layer.output))
        flops = format_count(layer.flops).strip() if layer.flops else ""
        if layer.uncounted:
            flops = f"{flops} + not counted" if flops else "not counted"
        parameters = f"{layer.parameters:,}" if layer.parameters else ""
        rows.append([layer.name or "(the model itself)", layer.kind, output, parameters, flops])
    return format_table(rows, left={0, 1, 2})


def format_count(number: float) -> str:
    """A number with three digits and the letter of its size, k, M, G or T: `12.3 M`."""
    for letter in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g} {letter}"
        number /= 1000
    return f"{number:,.4g} T"


def format_bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
