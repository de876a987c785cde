"""One server from start to end: compose, say that it is ready, drain, close."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext

from prometheus_client import CollectorRegistry

from reapi.core.middleware import wrap
from reapi.core.rpc import RpcServer, refuse_port_in_use
from reapi.core.rpc_metrics import RpcMetrics

from .compose import Api, compose
from .config import ServerConfig
from .executor_process import executor_child
from .executor_role import run_executor
from .frontend_process import FrontendProcesses
from .http import make_app, serve_http
from .lifecycle import stop_signals
from .metrics import ServerMetrics, make_registry
from .roles import check_roles
from .sandbox_probe import probe_sandbox
from .tokens import make_own_token

_INTERNAL_LISTEN = "127.0.0.1:0"


async def serve(config: ServerConfig) -> None:
    """Serves until the first signal, then drains.

    Raises ReapiError when it cannot start: a port in use, a folder that cannot be written.
    """
    check_roles(config, is_storage_shared=config.storage.is_shared)
    with stop_signals() as stop:
        if set(config.server.roles) == {"executor"}:
            await _serve_executor(config, stop)
        else:
            await _serve_api(config, stop)


async def _serve_executor(config: ServerConfig, stop: asyncio.Event) -> None:
    registry = make_registry()
    app = make_app(
        ServerMetrics(registry).exposition, lambda: "draining" if stop.is_set() else None
    )
    async with serve_http(app, config.server.http_listen) as http_port:
        ready = f"ready http={_address(config.server.http_listen, http_port)}"
        token = make_own_token(config.auth)
        await run_executor(config, stop, lambda: print(ready, flush=True), registry, token)


async def _serve_api(config: ServerConfig, stop: asyncio.Event) -> None:
    if "executor" in config.server.roles and config.executor.sandbox in ("bubblewrap", "required"):
        await probe_sandbox(config)  # the executor itself could only end again and again
    registry = make_registry()
    own_token = make_own_token(config.auth)
    async with AsyncExitStack() as stack:
        api = await compose(config, registry, stack, own_token=own_token)
        rpc = await stack.enter_async_context(_public_server(config, api, registry))
        grpc_address = _address(config.server.listen, rpc.port)
        scheduler = await _scheduler_endpoint(config, api, registry, grpc_address, stack)
        frontends = FrontendProcesses(
            _frontend_config(config, grpc_address, scheduler),
            _further_frontends(config),
            own_token,
        )

        def why_not_ready() -> str | None:
            if stop.is_set():
                return "draining"
            return api.why_not_ready() or frontends.why_not_ready()

        metrics = ServerMetrics(registry, frontends.children)
        app = make_app(metrics.exposition, why_not_ready, api.cluster_health, api.standby)
        http_port = await stack.enter_async_context(serve_http(app, config.server.http_listen))
        await stack.enter_async_context(frontends)
        await frontends.first_ready()
        # The executor drains first: it needs the CAS for the outputs of what still runs.
        async with _executor_if_wanted(config, grpc_address, scheduler, own_token):
            http_address = _address(config.server.http_listen, http_port)
            print(f"ready grpc={grpc_address} http={http_address}", flush=True)
            await stop.wait()
            api.health.stop_serving()
            frontends.stop_serving()
        await api.resign()
        async with asyncio.TaskGroup() as group:
            group.create_task(frontends.drain())
            group.create_task(rpc.drain(config.server.drain_seconds))


def _further_frontends(config: ServerConfig) -> int:
    return config.server.processes - 1 if "frontend" in config.server.roles else 0


def _public_server(config: ServerConfig, api: Api, registry: CollectorRegistry) -> RpcServer:
    shares_port = _further_frontends(config) > 0
    if shares_port:
        refuse_port_in_use(config.server.listen)
    methods = wrap(api.methods, RpcMetrics(registry))
    return RpcServer(methods, listen=config.server.listen, shares_port=shares_port)


async def _scheduler_endpoint(
    config: ServerConfig,
    api: Api,
    registry: CollectorRegistry,
    grpc_address: str,
    stack: AsyncExitStack,
) -> str | None:
    """Where the children of this process find their scheduler; None when there is none.

    Behind a shared port it may be any frontend that answers, so the scheduler has one of its own.
    What arrives there was counted by a frontend already, so it is counted under another name. While
    this scheduler stands by, the active one is at one of the addresses in the configuration.
    """
    if "scheduler" not in config.server.roles:
        return config.scheduler.endpoint
    others = config.scheduler.endpoint if config.storage.is_shared else None
    own = await _own_scheduler(config, api, registry, grpc_address, stack)
    return own if others is None else f"{own},{others}"


async def _own_scheduler(
    config: ServerConfig,
    api: Api,
    registry: CollectorRegistry,
    grpc_address: str,
    stack: AsyncExitStack,
) -> str:
    if _further_frontends(config) == 0:
        return grpc_address
    methods = wrap(api.scheduler_methods, RpcMetrics(registry, name="reapi_internal_rpc"))
    server = await stack.enter_async_context(RpcServer(methods, listen=_INTERNAL_LISTEN))
    return _address(_INTERNAL_LISTEN, server.port)


def _frontend_config(
    config: ServerConfig, grpc_address: str, scheduler: str | None
) -> ServerConfig:
    server = {"listen": grpc_address, "roles": ("frontend",)}
    shards = () if "scheduler" in config.server.roles else config.scheduler.shards
    schedulers = {"endpoint": scheduler, "shards": shards}
    return config.model_copy(
        update={
            "server": config.server.model_copy(update=server),
            "scheduler": config.scheduler.model_copy(update=schedulers),
        }
    )


def _executor_if_wanted(
    config: ServerConfig, grpc_address: str, scheduler: str | None, own_token: str | None
) -> AbstractAsyncContextManager[object]:
    """The executor of this server: blobs that are not stored directly go through this server's
    port, if it serves them."""
    if "executor" not in config.server.roles:
        return nullcontext()
    frontend = config.executor.frontend_endpoint
    is_direct = config.executor.storage == "direct"
    if not is_direct and frontend is None and "frontend" in config.server.roles:
        frontend = grpc_address
    return executor_child(
        config.model_copy(
            update={
                "scheduler": config.scheduler.model_copy(update={"endpoint": scheduler}),
                "executor": config.executor.model_copy(update={"frontend_endpoint": frontend}),
            }
        ),
        own_token,
    )


def _address(listen: str, port: int) -> str:
    return f"{listen.rpartition(':')[0]}:{port}"
