"""The composition: the API, the pages, the worker and the drop box in one process, or each in its own."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Annotated, Literal

import structlog
import uvicorn
import uvloop
from cyclopts import Parameter
from rich.console import Console
from starlette.types import Receive, Scope, Send

from counterfoil import logs
from counterfoil.api import create_api, with_verbs
from counterfoil.api.one_write import OneWriteProtocol
from counterfoil.api.verbs import VerbRoutes
from counterfoil.app import App, open_app
from counterfoil.dashboard import create_pages
from counterfoil.errors import InvalidError
from counterfoil.settings import Settings, load_settings
from counterfoil.worker import run_worker
from counterfoil.worker.dropbox import open_dropbox

Role = Literal["all", "api", "worker", "dropbox"]


def create_asgi(app: App) -> VerbRoutes:
    """The API and the pages, as one application."""
    api = create_api(app)
    pages, unknown = create_pages(app), api.router.default

    async def otherwise(scope: Scope, receive: Receive, send: Send) -> None:
        """What the API does not know is a page, unless it was asked of the API."""
        await (unknown if scope["path"].startswith("/v1/") else pages)(scope, receive, send)

    # Not a mount at "/": that would take the place of the API's own 404 and 405.
    api.router.default = otherwise
    return with_verbs(api)


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: the worker must stop by them too."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of its own."""
        yield


async def serve(settings: Settings, *, role: Role) -> None:
    """Run until a signal says stop; then finish what is running."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_app(settings) as app, AsyncExitStack() as around:
        if role == "dropbox" or (role == "all" and settings.dropbox_port is not None):
            await around.enter_async_context(open_dropbox(app))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stop.wait())
            if role in {"all", "worker"}:
                tasks.create_task(run_worker(app, stop))
            if role in {"all", "api"}:
                tasks.create_task(_serve_http(app, stop))


def _settle_memory() -> None:
    """What stands now stays: under load, each look through all of it stopped the server for 150 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def _serve_http(app: App, stop: asyncio.Event) -> None:
    asgi = create_asgi(app)
    _settle_memory()
    config = uvicorn.Config(
        asgi,
        host=app.settings.host,
        port=app.settings.port,
        http=OneWriteProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    await asgi.aclose()
    stop.set()


def serve_command(
    *,
    role: Annotated[
        Role, Parameter(help="`api`, `worker` or `dropbox` to split them; `all` runs them here.")
    ] = "all",
    host: Annotated[str | None, Parameter(help="The address to listen on.")] = None,
    port: Annotated[int | None, Parameter(help="The port to listen on.")] = None,
) -> None:
    """Run the API, the pages and the worker; and the drop box, where the settings give it a port."""
    settings = load_settings()
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update=changes)
    logs.configure(settings)
    if role == "dropbox" and settings.dropbox_port is None:
        raise InvalidError(
            "COUNTERFOIL_DROPBOX_PORT: say on which port the drop box listens.", code="settings_invalid"
        )
    if role in {"all", "api"}:
        address = f"http://{settings.host}:{settings.port}"
        Console(stderr=True).print(f"Pages: [link]{address}[/link]   API: {address}/docs   Stop: Ctrl-C")
    structlog.get_logger(__name__).info("starting", role=role)
    uvloop.run(serve(settings, role=role))
