"""The HTTP side: health for probes and metrics for Prometheus."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reapi.core.errors import Unavailable

from .cluster_health import ClusterHealth


def make_app(
    exposition: Callable[[], Awaitable[bytes]],
    why_not_ready: Callable[[], str | None],
    cluster_health: ClusterHealth | None = None,
    standby: Callable[[], str | None] = lambda: None,
) -> Starlette:
    """`/healthz` answers while the event loop runs, `/readyz` says whether new work is welcome.

    `exposition` is what `/metrics` shows; `why_not_ready` gives the reason, None for none. One that
    stands by is ready: it waits for work, and a rollout must not wait for it. `/cluster_healthz`
    exists where `cluster_health` does.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reason = why_not_ready()
        return PlainTextResponse(f"{reason or standby() or 'ready'}\n", 503 if reason else 200)

    async def metrics(_: Request) -> Response:
        return Response(await exposition(), media_type=CONTENT_TYPE_LATEST)

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    if cluster_health is not None:
        routes.append(Route("/cluster_healthz", partial(_cluster_healthz, cluster_health)))
    return Starlette(routes=routes)


async def _cluster_healthz(health: ClusterHealth, _: Request) -> Response:
    report = await health.report()
    text = json.dumps(report, indent=2)
    return Response(f"{text}\n", 200 if report["healthy"] else 503, media_type="application/json")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    def install_signal_handlers(self) -> None:
        return

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serves on `listener` inside the context."""
        task = asyncio.create_task(self._serve([listener]))
        try:
            yield
        finally:
            self.should_exit = True
            await task


@asynccontextmanager
async def serve_http(app: Starlette, listen: str) -> AsyncIterator[int]:
    """Serves `app` on HOST:PORT inside the context, which is given the port in use."""
    name, _, port = listen.rpartition(":")
    host = name.strip("[]")
    is_ipv6 = ":" in host
    try:
        listener = socket.create_server(
            (host, int(port)),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            dualstack_ipv6=is_ipv6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise Unavailable(f"cannot listen on {listen}: {error.strerror}") from error
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    async with server.serving(listener):
        yield listener.getsockname()[1]
