"""`dltrain recipe`: run one of the scripts that come with dltrain."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dltrain.errors import UsageError


def run_recipe(
    recipe: Annotated[str | None, typer.Argument(help="A recipe. [default: list them]")] = None,
    arguments: Annotated[list[str] | None, typer.Argument(help="Its own arguments, such as a seed.")] = None,
) -> None:
    """Run a recipe: train a config on real data and check its score.

    A recipe is a shell script. It trains in the working directory, expects its data in `data` or in $DLTRAIN_DATA, and
    ends with exit code 6 where the score misses its target.

    Examples:

      dltrain recipe

      dltrain recipe mnist_cnn 1

      dltrain recipe ptb_large -- --short
    """
    from dltrain.config.faults import find_nearest, join_names
    from dltrain.config.shipped import find_recipe, list_recipes

    recipes = list_recipes()
    if recipe is None:
        width = max(len(each.name) for each in recipes)
        for each in recipes:
            typer.echo(f"{each.name:{width}}  {each.summary}")
        return
    script = find_recipe(recipe)
    if script is None:
        names = [each.name for each in recipes]
        near = find_nearest(recipe, names)
        hint = f"\ndid you mean '{near}'?" if near else ""
        raise UsageError(f"recipe '{recipe}' is not known\nallowed: {join_names(names)}{hint}")
    programs = Path(sys.executable).parent  # where this dltrain and its python are, in an environment or not
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    sys.stdout.flush()
    os.execvpe("bash", ["bash", str(script), *(arguments or [])], environment)  # signals and exit code are the script's
