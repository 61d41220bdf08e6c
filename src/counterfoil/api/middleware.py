"""What every request passes through: an id, a limit on its body, a line in the log, the metrics."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from counterfoil.api.problems import problem
from counterfoil.ids import new_id

_log = structlog.get_logger("counterfoil.requests")
_QUIET = {"/healthz", "/readyz", "/metrics"}


class Metrics:
    """What `/metrics` tells of requests. Routes are labelled by their template, never by an id in a path."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "counterfoil_http_requests_total", "Requests answered.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "counterfoil_http_request_seconds",
            "Time to answer a request.",
            ("method", "route"),
            registry=self.registry,
        )

        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        name = method, route, status
        children = self._children.get(name)
        if children is None:
            children = (
                self.requests.labels(method, route, str(status)),
                self.seconds.labels(method, route),
            )
            self._children[name] = children
        children[0].inc()
        children[1].observe(seconds)


class _BodyTooLargeError(HTTPException):
    """FastAPI reads the body inside a `try` that makes a 400 of anything but an `HTTPException`."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"The body is larger than {most:,} bytes; send it in parts.")


class RequestMiddleware:
    """Pure ASGI, so that streams are not buffered."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        larger: Mapping[re.Pattern[str], int] | None = None,
    ) -> None:
        """`larger`: how many bytes the bodies may have of routes that write them down as they come."""
        self.app = app
        self.metrics = metrics
        self.max_body_bytes = max_body_bytes
        self.larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_id().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._limited(scope, receive, sending)
        finally:
            self._tell(scope, status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        taken, started, most = 0, False, self._most_bytes(scope)

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise _BodyTooLargeError(most)
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if length.isdigit() and int(length) > most:
                raise _BodyTooLargeError(most)
            await self.app(scope, receiving, sending)
        except _BodyTooLargeError as error:
            if started:
                raise
            answer = problem(Request(scope), status=413, code="body_too_large", detail=error.detail)
            await answer(scope, receive, send)

    def _most_bytes(self, scope: Scope) -> int:
        for path, most in self.larger.items():
            if scope["method"] == "POST" and path.fullmatch(scope["path"]):
                return most
        return self.max_body_bytes

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.observe(scope["method"], route, status, seconds)
        if scope["path"] not in _QUIET:
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round(seconds * 1000, 1),
            )
