"""`dltrain summary`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dltrain.core.summary import Row, Summary

COUNTED = "matrix products, convolutions, recurrent layers and attention; a multiply-add is two"


def summary(
    config: Annotated[Path, typer.Argument(help="The YAML file that says what to train, or a run directory.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set one value over the file's; may be given again."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Set data.batch_size.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, numbers in full.")] = False,
) -> None:
    """Show layers, shapes, parameters, FLOPs, memory.

    Measured on the first training batch, on the CPU whatever trainer.device says. Trains and writes nothing.

    Examples:

      dltrain summary configs/mnist_cnn.yaml

      dltrain summary runs/ptb_lstm --batch-size 64 --json
    """
    from dataclasses import replace

    from dltrain.config.experiment import load_experiment
    from dltrain.core.summary import summarised
    from dltrain.runs.building import build_training
    from dltrain.runs.directory import CONFIG
    from dltrain.runtime.memory import memory_explained

    words = [*(overrides or []), *([] if batch_size is None else [f"data.batch_size={batch_size}"])]
    experiment = load_experiment(config / CONFIG if (config / CONFIG).is_file() else config, words).experiment
    plan = replace(experiment.trainer, device="cpu", compile=False)
    with memory_explained():
        training = build_training(replace(experiment, trainer=plan))
        batch = next(iter(training.dataset.training().epoch(0)))
        state, runtime = training.state, training.runtime
        found = summarised(state.model, training.task, batch, state.optimizer, runtime.autocast, state.average)
    if training.dataset.notice:
        typer.echo(f"warning: {training.dataset.notice}", err=True)
    counted = training.task.goal.counted
    facts = {
        "model": experiment.model.name,
        "data": training.dataset.name,
        "optimizer": experiment.optimizer.name,
        "precision": plan.precision,
        "batch": {"count": batch.count, "of": counted},
    }
    typer.echo(json.dumps({**facts, **as_plain(found)}) if as_json else "\n".join(lines(facts, found)))


def as_plain(found: Summary) -> dict[str, Any]:
    return {
        "layers": [asdict(row) for row in found.rows],
        "parameters": {"total": found.parameters, "trainable": found.trainable},
        "flops": {"forward": found.forward_flops, "step": found.step_flops},
        "memory_bytes": {**asdict(found.memory), "total": found.memory.total},
    }


def lines(facts: dict[str, Any], found: Summary) -> list[str]:
    """The summary for people: a table of the layers, and the sums below it."""
    count, counted = facts["batch"]["count"], facts["batch"]["of"]
    each = rounded(found.forward_flops / count)
    memory = [f"{name} {in_bytes(size)}" for name, size in asdict(found.memory).items() if size]
    frozen = found.parameters - found.trainable
    told = {
        "parameters": f"{found.parameters:,}" + (f", of which {frozen:,} are frozen" if frozen else ", all trainable"),
        "forward pass": f"{rounded(found.forward_flops)}FLOP, {each}FLOP for each of {count} {counted}",
        "training step": f"{rounded(found.step_flops)}FLOP, forward and backward",
        "": f"counted: {COUNTED}",
        "memory": f"{in_bytes(found.memory.total)} in a training step with {facts['optimizer']}: {', '.join(memory)}",
    }
    head = f"{facts['model']} on {facts['data']}, a training batch of {count} {counted}, {facts['precision']}"
    return [head, "", *table(found.rows), "", *(f"{name:<15}{value}" for name, value in told.items())]


def table(rows: list[Row]) -> list[str]:
    cells = [("layer", "kind", "output", "parameters", "FLOP")]
    for row in rows:
        output = "-" if row.output is None else " x ".join(map(str, row.output))
        numbers = f"{row.parameters:,}" if row.parameters else "", rounded(row.flops).strip() if row.flops else ""
        cells.append((row.name or "(the model itself)", row.kind, output, *numbers))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    form = "{{:<{}}}  {{:<{}}}  {{:<{}}}  {{:>{}}}  {{:>{}}}".format(*widths)
    return [form.format(*line).rstrip() for line in cells]


def rounded(number: float) -> str:
    """A number with three digits and the letter of its size, k, M, G or T: `12.3 M`."""
    for letter in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g} {letter}"
        number /= 1000
    return f"{number:,.4g} T"


def in_bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
