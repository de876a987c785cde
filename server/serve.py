"""One server process from start to end: compose, say that it is ready, drain, close."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext

from prometheus_client import CollectorRegistry

from reapi.core.errors import InvalidArgument
from reapi.core.middleware import RpcMetrics, wrap
from reapi.core.rpc import RpcServer

from .compose import compose, run_executor
from .config import ServerConfig
from .executor_process import executor_child
from .http import make_app, serve_http
from .lifecycle import stop_signals


async def serve(config: ServerConfig) -> None:
    """Serves until the first signal, then drains.

    Raises ReapiError when it cannot start: a port in use, a folder that cannot be written.
    """
    roles = set(config.server.roles)
    if "scheduler" in roles and "frontend" not in roles:
        raise InvalidArgument(
            "--role scheduler needs --role frontend in the same process: "
            "they share the embedded database"
        )
    with stop_signals() as stop:
        if roles == {"executor"}:
            await _serve_executor(config, stop)
        else:
            await _serve_api(config, stop)


async def _serve_executor(config: ServerConfig, stop: asyncio.Event) -> None:
    app = make_app(CollectorRegistry(), lambda: not stop.is_set())
    async with serve_http(app, config.server.http_listen) as http_port:
        ready = f"ready http={_address(config.server.http_listen, http_port)}"
        await run_executor(config, stop, lambda: print(ready, flush=True))


async def _serve_api(config: ServerConfig, stop: asyncio.Event) -> None:
    registry = CollectorRegistry()
    async with AsyncExitStack() as stack:
        api = await compose(config, registry, stack)
        methods = wrap(api.methods, RpcMetrics(registry))
        rpc = await stack.enter_async_context(RpcServer(methods, listen=config.server.listen))
        app = make_app(registry, lambda: not stop.is_set())
        http_port = await stack.enter_async_context(serve_http(app, config.server.http_listen))
        grpc_address = _address(config.server.listen, rpc.port)
        # The executor drains first: it needs the CAS for the outputs of what still runs.
        async with _executor_if_wanted(config, grpc_address):
            http_address = _address(config.server.http_listen, http_port)
            print(f"ready grpc={grpc_address} http={http_address}", flush=True)
            await stop.wait()
            api.health.stop_serving()
        await rpc.drain(config.server.drain_seconds)


def _executor_if_wanted(config: ServerConfig, endpoint: str) -> AbstractAsyncContextManager[None]:
    if "executor" not in config.server.roles:
        return nullcontext()
    scheduler = config.scheduler.model_copy(update={"endpoint": endpoint})
    return executor_child(config.model_copy(update={"scheduler": scheduler}))


def _address(listen: str, port: int) -> str:
    return f"{listen.rpartition(':')[0]}:{port}"
