"""Health and metrics of a process, over HTTP in its own event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import uvicorn
from prometheus_client import REGISTRY, Histogram
from prometheus_client.exposition import choose_encoder
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from jetpost.config.section import Section
from jetpost.listening import listening_on
from jetpost.telemetry.log import logger

LOOP_LAG = Histogram(
    "jetpost_process_loop_lag_seconds",
    "How late the event loop runs a timer; high values mean that something blocks the process.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_LAG_PROBE_S = 0.25
_SHUTDOWN_S = 2

log = logger(__name__)


class Http(Section):
    """Where a process serves `/metrics`, `/livez` and `/readyz`."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `::` in a container."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port to listen on. 0 takes any free port, which is logged as `listening`. So several processes can share a file.
    To fix the ports, give each process its own with `JETPOST_HTTP__PORT`."""
    port_file: Path | None = None
    """A file to write the port to once it is bound."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


@asynccontextmanager
async def serving(settings: Http, obstacles: Callable[[], dict[str, str]]) -> AsyncIterator[int]:
    """Serve health and metrics while the block runs; yields the bound port. CannotListen when it cannot be bound."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with listening_on(settings.host, settings.port, "http.port"):
        listening = socket.create_server((settings.host, settings.port), family=family)
    port: int = listening.getsockname()[1]
    if settings.port_file is not None:
        settings.port_file.write_text(f"{port}\n")
    log.info("listening", protocol="http", host=settings.host, port=port)
    server = _Server(
        uvicorn.Config(
            application(obstacles),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )
    server_task = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    lag_task = asyncio.create_task(_watch_loop_lag(), name="loop lag")
    try:
        yield port
    finally:
        lag_task.cancel()
        server.should_exit = True
        await asyncio.wait({server_task, lag_task}, timeout=2 * _SHUTDOWN_S)
        listening.close()


def application(obstacles: Callable[[], dict[str, str]]) -> Starlette:
    """The endpoints. `obstacles()` says why the process is not ready; empty: it is."""

    async def metrics(request: Request) -> Response:
        # OpenMetrics, with exemplars, for who asks for it.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    async def livez(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        reasons = obstacles()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    return Starlette(routes=[Route("/metrics", metrics), Route("/livez", livez), Route("/readyz", readyz)])


async def _watch_loop_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        asleep = loop.time()
        await asyncio.sleep(_LAG_PROBE_S)
        LOOP_LAG.observe(max(loop.time() - asleep - _LAG_PROBE_S, 0))
