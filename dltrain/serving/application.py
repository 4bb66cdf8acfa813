"""The ASGI application of one trained model."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dltrain import __version__
from dltrain.errors import DltrainError
from dltrain.runs.loading import Trained
from dltrain.serving.batching import Overloaded
from dltrain.serving.services import Service, describe_error
from dltrain.serving.uploads import WrongType, receive

MEGABYTE = 1_000_000
DISCARDED = 8
"""How many times the largest request is read of one that is too large, before its connection is closed."""


class Gate:
    """Limits the size of requests, refuses new ones while the server stops, and logs each one.

    `log` gets method, path, status and milliseconds.
    """

    def __init__(self, app: ASGIApp, *, state: ServerState, size: int, log: Callable[[dict[str, Any]], None]) -> None:
        self._app, self._state, self._size, self._log = app, state, size, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, seen, status = time.perf_counter(), 0, 0
        stopping = self._state.stopping

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._size:
                await self._discard(receive)
                raise HTTPException(413)
            return message

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._state.stopping or status == 413:  # what is left of the body is not read
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        app: ASGIApp = self._app
        if stopping:
            advice = "send the request again to another server, or later"
            app = respond(503, {"message": "the server is stopping", "advice": advice})
        elif self._declared(scope) > self._size:
            app = respond(413, describe_size(self._size))
        if app is not self._app and dict(scope["headers"]).get(b"expect", b"").lower() != b"100-continue":
            await self._discard(receive)
        await app(scope, receive_limited, send_noted)
        milliseconds = (time.perf_counter() - started) * 1000
        facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(milliseconds, 1)}
        self._log(facts)

    async def _discard(self, receive: Receive) -> None:
        """Read the rest of a body, within reason: many clients read no answer before they have sent everything.

        And a connection that is closed with unread bytes is reset, which can take the answer with it.
        """
        left = DISCARDED * self._size
        while left > 0:
            message = await receive()
            if not message.get("more_body"):
                return
            left -= len(message["body"])

    def _declared(self, scope: Scope) -> int:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        return int(declared) if declared.isdigit() else 0


class ServerState:
    """Whether the server is stopping."""

    stopping = False


def respond(status: int, body: Any) -> Response:
    """JSON in UTF-8, without NaN and infinity, which JSON lacks."""
    try:
        text = json.dumps(body, allow_nan=False, ensure_ascii=False)
    except ValueError:
        text = json.dumps(_drop_nonfinite(body), ensure_ascii=False)
    content = text.encode("utf-8", errors="replace")
    return Response(content, status_code=status, media_type="application/json")


def _drop_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_nonfinite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_drop_nonfinite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe_size(size: int) -> dict[str, Any]:
    message = f"the request is too large; allowed are {size / MEGABYTE:g} MB"
    return {"message": message, "advice": "send fewer inputs at a time, or serve with a larger --max-size"}


def describe_model(trained: Trained, service: Service) -> dict[str, Any]:
    """What the model is, and how to ask it."""
    record = trained.record
    return {
        "model": trained.experiment.model.name,
        "task": trained.experiment.task.name,
        "dataset": record.dataset,
        "notice": record.notice,
        "checkpoint": trained.checkpoint.name,
        "dltrain": __version__,
        f"POST {service.path}": service.describe(),
        "GET /health": {"status": "ok"},
    }


def build_application(
    trained: Trained,
    service: Service,
    *,
    state: ServerState | None = None,
    size: int = 16 * MEGABYTE,
    log: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Starlette:
    """GET / describes the model, GET /health says that it is ready, and POST to the service's path asks it.

    `size` is the largest request in bytes. Errors are JSON with a message and advice, as the commands print them.
    """
    state = state or ServerState()
    description = describe_model(trained, service)

    async def describe(request: Request) -> Response:
        return respond(200, description)

    async def check_health(request: Request) -> Response:
        return respond(200, {"status": "ok", "waiting": service.batcher.waiting})

    async def answer(request: Request) -> Response:
        return await _answer(service, request)

    @asynccontextmanager
    async def run_batcher(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.batcher.close()

    async def explain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 413:
            return respond(413, describe_size(size))
        place = f"{request.method} {request.url.path}: {error.detail}"
        advice = f"allowed are GET /, GET /health and POST {service.path}"
        return respond(error.status_code, {"message": place, "advice": advice})

    return Starlette(
        routes=[
            Route("/", describe),
            Route("/health", check_health),
            Route(service.path, answer, methods=["POST"]),
        ],
        middleware=[Middleware(Gate, state=state, size=size, log=log)],
        exception_handlers={HTTPException: explain, Exception: _fail},
        lifespan=run_batcher,
    )


async def _answer(service: Service, request: Request) -> Response:
    """The service's answer, or the reason why there is none."""
    try:
        found = await service.answer(await receive(request, service.keys, files=service.files))
    except ClientDisconnect:
        return respond(400, {"message": "the client closed the connection", "advice": None})
    except Overloaded:
        advice = "send the request again a little later"
        return respond(503, {"message": "too many requests are waiting", "advice": advice})
    except DltrainError as error:
        codes = {1: 500, 2: 415 if isinstance(error, WrongType) else 400, 3: 422}
        return respond(codes.get(error.exit_code, 500), describe_error(error))
    finally:
        await request.close()  # removes the files of a form
    return respond(*found)


async def _fail(request: Request, error: Exception) -> Response:
    message = f"{type(error).__name__}: {error}"
    return respond(500, {"message": message, "advice": "this is an error in dltrain or a plug-in"})
