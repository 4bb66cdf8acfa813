"""`dltrain devices`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def print_devices(as_json: Annotated[bool, typer.Option("--json", help="One JSON list.")] = False) -> None:
    """List the devices available and the one `auto` selects.

    Examples:

      dltrain devices

      dltrain devices --json
    """
    from dltrain.runtime.precision import choose_device, format_gibibytes, list_devices

    devices = list_devices()
    auto = choose_device("auto")
    if as_json:
        typer.echo(json.dumps([{**device._asdict(), "auto": device.name == str(auto.device)} for device in devices]))
        return
    for device in devices:
        memory = f"  {format_gibibytes(device.free_bytes)} free" if device.free_bytes is not None else ""
        chosen = f"  <- auto ({auto.why})" if device.name == str(auto.device) else ""
        typer.echo(f"{device.name:<8}{device.description}{memory}{chosen}")
