"""`dltrain find-lr`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.options import ConfigFile, Overrides, load_config, print_notice
from dltrain.cli.shared.settings import takes_settings
from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.config.experiment import Experiment

RATE = "learning_rate"


@takes_settings("device", "batch_size", "seed")
def find_lr(
    config: ConfigFile,
    overrides: Overrides = None,
    low: Annotated[float, typer.Option(help="Lowest learning rate.")] = 1e-7,
    high: Annotated[float, typer.Option(help="Highest learning rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=10, help="Number of updates; the rate rises by equal factors.")] = 200,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The picture. [default: NAME-OF-CONFIG-learning-rates.png]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with all rates and losses.")] = False,
) -> None:
    """Suggest a learning rate.

    The range test of Smith 2017 (arXiv:1506.01186): trains a model with the config's seed while the learning rate rises
    with each update, and stops when the loss diverges. It neither reads nor writes a run directory and ignores the
    config's schedule; if the optimizer has several learning rates, they rise together.

    It suggests the rate at which the smoothed loss falls fastest, and prints a tenth of the rate with the lowest loss,
    the other common choice. Both are starting points, not the best rate.

    Examples:

      dltrain find-lr configs/mnist_cnn.yaml

      dltrain find-lr configs/ptb_lstm.yaml --high 1000 -o lstm.png

      dltrain find-lr configs/mnist_cnn.yaml --set optimizer=sgd --json
    """
    if not 0 < low < high or high / low == math.inf:
        raise UsageError(f"--low {low:g} --high {high:g}: allowed are two finite rates above 0, the lower one first")
    from dltrain.runs.finding import find_config

    file, name = find_config(config)
    experiment = load_config(file, overrides).experiment
    picture = output or Path(f"{name}-learning-rates.png")
    result = run_rates(experiment, low=low, high=high, steps=steps, picture=picture)
    typer.echo(json.dumps(result) if as_json else "\n".join(format_range_test(result)))


def run_rates(experiment: Experiment, *, low: float, high: float, steps: int, picture: Path) -> dict[str, Any]:
    """Run the range test and draw its picture; the outcome as plain values."""
    from dltrain.core.learning_rate_range import RisingRates, run_range_test
    from dltrain.observers.pictures import draw_range_test
    from dltrain.runs.building import build_training
    from dltrain.runtime.memory import explain_memory_errors

    with explain_memory_errors():
        training = build_training(experiment)
        dataset, state, runtime = training.dataset, training.state, training.runtime
        print_notice(dataset.notice)
        base = float(experiment.optimizer.options.get(RATE, state.base_rates[0]))
        rates = RisingRates(low, high, steps, base)
        curve = run_range_test(
            state, training.task, dataset.training(), plan=experiment.trainer, runtime=runtime, rates=rates
        )
    facts = {
        "data": dataset.name,
        "model": experiment.model.name,
        "optimizer": experiment.optimizer.name,
        "seed": experiment.seed,
        "device": str(runtime.device),
        "torch": runtime.signature()["torch"],
    }
    draw_range_test(curve, f"{facts['model']} on {facts['data']}, {facts['optimizer']}, seed {facts['seed']}", picture)
    found: dict[str, Any] = {
        **facts,
        "ended": curve.ended,
        "suggestion": None,
        "fault": curve.fault,
        "still_falling": curve.still_falling,
        "rates": list(curve.rates),
        "losses": list(curve.losses),
        "smoothed": curve.smoothed.tolist(),
    }
    if curve.fault is None:
        options = experiment.optimizer.options
        factor = curve.steepest / base
        scaled = {name: float(f"{options[name] * factor:.2g}") for name in options if name.endswith(RATE)}
        found |= {
            "suggestion": scaled.get(RATE, float(f"{curve.steepest:.2g}")),
            "steepest": curve.steepest,
            "tenth_of_lowest": curve.tenth_of_lowest,
            "yaml": f"optimizer: {{{', '.join(f'{name}: {rate:g}' for name, rate in scaled.items())}}}",
        }
    return {**found, "picture": str(picture)}


def format_range_test(result: dict[str, Any]) -> Iterator[str]:
    """The outcome as lines for people."""
    losses, rates = result["losses"], result["rates"]
    yield (
        f"{result['model']} on {result['data']}, {result['optimizer']}, seed {result['seed']}, "
        f"torch {result['torch']} on {result['device']}"
    )
    yield f"{len(losses)} updates, {rates[0]:.2g} to {rates[-1]:.2g}: {result['ended']}"
    if result["fault"]:
        yield f"no suggestion: {result['fault']}"
    else:
        yield f"steepest fall of the loss     {result['steepest']:.2g}"
        yield f"a tenth of the lowest loss's  {result['tenth_of_lowest']:.2g}"
        if result["still_falling"]:
            yield "note: the loss was still falling at the highest rate: raise --high"
        yield f"suggestion (steepest fall)    {result['yaml']}"
    yield f"picture: {result['picture']}"
