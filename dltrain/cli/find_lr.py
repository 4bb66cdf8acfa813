"""`dltrain find-lr`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.errors import UsageError

if TYPE_CHECKING:
    from dltrain.config.experiment import Experiment
    from dltrain.core.learning_rate_range import Curve

RATE = "learning_rate"


def find_lr(
    config: Annotated[Path, typer.Argument(help="The YAML file that says what to train, or a run directory.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set one value over the file's; may be given again."),
    ] = None,
    low: Annotated[float, typer.Option(help="The learning rate to begin with.")] = 1e-7,
    high: Annotated[float, typer.Option(help="The learning rate to end with.")] = 10.0,
    steps: Annotated[int, typer.Option(min=10, help="Updates from the one to the other, by equal factors.")] = 200,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The picture. [default: NAME-OF-CONFIG-learning-rates.png]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with all rates and losses.")] = False,
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
    from dltrain.config.experiment import load_experiment
    from dltrain.runs.directory import CONFIG

    if (config / CONFIG).is_file():
        picture = output or Path(f"{config.resolve().name}-learning-rates.png")
        config = config / CONFIG
    else:
        picture = output or Path(f"{config.stem}-learning-rates.png")
    experiment = load_experiment(config, overrides or []).experiment
    result = _tested(experiment, low, high, steps, picture)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)


def _tested(experiment: Experiment, low: float, high: float, steps: int, picture: Path) -> dict[str, Any]:
    """The outcome of a test, its picture drawn."""
    from dltrain.core.learning_rate_range import RisingRates, draw_range_test, run_range_test
    from dltrain.runs.building import build_training
    from dltrain.runtime.memory import explain_memory_errors

    with explain_memory_errors():
        training = build_training(experiment)
        dataset, state, runtime = training.dataset, training.state, training.runtime
        if dataset.notice:
            typer.echo(f"warning: {dataset.notice}", err=True)
        base = float(experiment.optimizer.options.get(RATE, state.base_rates[0]))
        rates = RisingRates(low, high, steps, base)
        curve = run_range_test(state, training.task, dataset.training(), experiment.trainer, runtime, rates)
    facts = {
        "data": dataset.name,
        "model": experiment.model.name,
        "optimizer": experiment.optimizer.name,
        "seed": experiment.seed,
        "device": str(runtime.device),
        "torch": runtime.signature()["torch"],
    }
    draw_range_test(curve, f"{facts['model']} on {facts['data']}, {facts['optimizer']}, seed {facts['seed']}", picture)
    return {**facts, **_read(curve, experiment, base), "picture": str(picture)}


def _read(curve: Curve, experiment: Experiment, base: float) -> dict[str, Any]:
    """What the curve says, as plain values."""
    found: dict[str, Any] = {
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
    return found


def _print(result: dict[str, Any]) -> None:
    losses, rates = result["losses"], result["rates"]
    typer.echo(
        f"{result['model']} on {result['data']}, {result['optimizer']}, seed {result['seed']}, "
        f"torch {result['torch']} on {result['device']}"
    )
    typer.echo(f"{len(losses)} updates, {rates[0]:.2g} to {rates[-1]:.2g}: {result['ended']}")
    if result["fault"]:
        typer.echo(f"no suggestion: {result['fault']}")
    else:
        typer.echo(f"steepest fall of the loss     {result['steepest']:.2g}")
        typer.echo(f"a tenth of the lowest loss's  {result['tenth_of_lowest']:.2g}")
        if result["still_falling"]:
            typer.echo("note: the loss was still falling at the highest rate: raise --high")
        typer.echo(f"suggestion (steepest fall)    {result['yaml']}")
    typer.echo(f"picture: {result['picture']}")
