"""The options of every command that trains."""

from __future__ import annotations

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set one value over the file's; may be given again."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew, in the next numbered directory.")]
MaxTime = Annotated[
    str | None, typer.Option(help="Stop with a checkpoint after this long (90s, 30m, 2h); exit code 75.")
]
Inexact = Annotated[
    bool, typer.Option("--inexact", help="Continue even where the result cannot be the uninterrupted run's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
