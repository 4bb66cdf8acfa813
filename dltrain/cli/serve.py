"""`dltrain serve`."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from dltrain.cli.shared.options import CheckpointName, DeviceName, Quiet, RunPath, Threshold, load_model
from dltrain.errors import UsageError
from dltrain.escaping import keep_on_line


def serve(
    run: RunPath,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")] = 8000,
    max_size: Annotated[
        float, typer.Option(metavar="MB", min=0.001, help="Largest request; larger ones are answered with 413.")
    ] = 16,
    wait: Annotated[
        float, typer.Option(metavar="MS", min=0, max=1000, help="How long to collect requests for one batch.")
    ] = 2,
    threshold: Threshold = None,
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log requests as JSON lines.")] = False,
    quiet: Quiet = False,
) -> None:
    """Answer HTTP requests with a trained model.

    POST /predict takes JSON or files and answers what `dltrain predict` prints; requests that arrive together are
    computed together. Language models answer POST /generate, models of speech POST /transcribe. GET / describes the
    model and shows an example, GET /health is for supervisors. There is no password and no TLS: see docs/deployment.md.

    On SIGTERM and Ctrl-C new requests are refused, accepted ones finished, and the exit code is 0.

    Examples:

      dltrain serve runs/iris_dense

      dltrain serve runs/mnist_cnn --host 0.0.0.0 --port 80 --json-logs

      curl http://127.0.0.1:8000/predict -F file=@digit.png
    """
    for package in ("starlette", "uvicorn", "python_multipart"):
        if find_spec(package) is None:
            name = package.replace("_", "-")
            raise UsageError(f"serve needs {name}, which is not installed", advice="pip install 'dltrain[serve]'")
    from dltrain.serving.application import MEGABYTE, ServerState, build_application
    from dltrain.serving.server import bind, run_server
    from dltrain.serving.services import make_service

    with bind(host, port) as listening:
        trained = load_model(run, checkpoint, device, threshold=threshold)
        service = make_service(run, trained, wait=wait / 1000)
        trained.runtime.check(trained.model)
        state, log = ServerState(), _choose_log(as_json=json_logs, quiet=quiet)
        app = build_application(trained, service, state=state, size=int(max_size * MEGABYTE), log=log)
        shown, number = (f"[{host}]" if ":" in host else host), listening.getsockname()[1]

        def announce() -> None:
            typer.echo(f"serving {run} at http://{shown}:{number}")

        run_server(app, listening, state, announce)


def _choose_log(*, as_json: bool, quiet: bool) -> Callable[[dict[str, Any]], None]:
    """Prints a request on stderr, if any."""
    if quiet:
        return lambda _: None
    if as_json:
        return lambda facts: typer.echo(json.dumps({"event": "request", **facts}), err=True)
    return lambda facts: typer.echo(keep_on_line("{method} {path} {status} {ms:.1f} ms".format(**facts)), err=True)
