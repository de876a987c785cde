"""One server from start to end: compose, say that it is ready, drain, close."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from reapi.core.listening import address_in_use, refuse_port_in_use
from reapi.core.rpc import RpcServer

from .compose import Api, compose
from .config import ServerConfig
from .executor_process import executor_child
from .executor_role import run_executor
from .frontend_process import FrontendProcesses
from .http import make_app, serve_http
from .lifecycle import stop_signals
from .listener import Listener
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
    has_joined = asyncio.Event()

    def why_not_ready() -> str | None:
        if stop.is_set():
            return "draining"
        return None if has_joined.is_set() else "no scheduler has welcomed it yet"

    app = make_app(ServerMetrics(registry).exposition, why_not_ready)
    async with serve_http(app, config.server.http_listen) as http_port:

        def joined() -> None:
            has_joined.set()
            address = address_in_use(config.server.http_listen, http_port)
            print(f"ready http={address}", flush=True)

        await run_executor(config, stop, joined, registry, make_own_token(config.auth))


async def _serve_api(config: ServerConfig, stop: asyncio.Event) -> None:
    if "executor" in config.server.roles and config.executor.sandbox in ("bubblewrap", "required"):
        await probe_sandbox(config)  # the executor itself could only end again and again
    registry = make_registry()
    listener = Listener(config.server, registry)
    own_token = make_own_token(config.auth)
    async with AsyncExitStack() as stack:
        api = await compose(config, registry, stack, own_token=own_token)
        rpc = await stack.enter_async_context(_public_server(config, api, listener))
        inside = await _inside(config, api, listener, rpc.address, stack)
        frontends = FrontendProcesses(
            _frontend_config(config, rpc.address, inside.scheduler),
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
        async with _executor_if_wanted(config, inside, own_token):
            http_address = address_in_use(config.server.http_listen, http_port)
            served = f"grpc={rpc.address} http={http_address} transport={listener.transport}"
            print(f"ready {served}", flush=True)
            await stop.wait()
            api.health.stop_serving()
            frontends.stop_serving()
        await api.resign()
        async with asyncio.TaskGroup() as group:
            group.create_task(frontends.drain())
            group.create_task(rpc.drain(config.server.drain_seconds))


def _further_frontends(config: ServerConfig) -> int:
    return config.server.processes - 1 if "frontend" in config.server.roles else 0


def _public_server(config: ServerConfig, api: Api, listener: Listener) -> RpcServer:
    shares_port = _further_frontends(config) > 0
    if shares_port:
        refuse_port_in_use(config.server.listen)
    return listener.public(api.methods, shares_port=shares_port)


@dataclass(frozen=True)
class _Inside:
    """Where the children of this process find the rest of the server."""

    frontend: str
    scheduler: str | None
    """None when there is none."""


async def _inside(
    config: ServerConfig, api: Api, listener: Listener, public: str, stack: AsyncExitStack
) -> _Inside:
    """Behind a shared port it may be any frontend that answers, so the scheduler has an address of
    its own.

    Where callers speak TLS, all is served once more on a socket that only this user can reach: the
    certificate need not be one of this machine's, and no child needs one. While this scheduler
    stands by, the active one is at one of the addresses in the configuration.
    """
    has_children = _further_frontends(config) > 0 or "executor" in config.server.roles
    frontend = scheduler = public
    if listener.has_tls and has_children:
        folder = stack.enter_context(TemporaryDirectory(prefix="reapi-"))
        server = listener.internal(api.methods, f"unix:{folder}/server")
        frontend = scheduler = (await stack.enter_async_context(server)).address
    elif _further_frontends(config) > 0 and "scheduler" in config.server.roles:
        server = listener.internal(api.scheduler_methods, _INTERNAL_LISTEN)
        scheduler = (await stack.enter_async_context(server)).address
    if "scheduler" not in config.server.roles:
        return _Inside(frontend, config.scheduler.endpoint)
    others = config.scheduler.endpoint if config.storage.is_shared else None
    return _Inside(frontend, scheduler if others is None else f"{scheduler},{others}")


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
    config: ServerConfig, inside: _Inside, own_token: str | None
) -> AbstractAsyncContextManager[object]:
    """The executor of this server: blobs that are not stored directly go through its frontend, if
    it has one."""
    if "executor" not in config.server.roles:
        return nullcontext()
    frontend = config.executor.frontend_endpoint
    is_direct = config.executor.storage == "direct"
    if not is_direct and frontend is None and "frontend" in config.server.roles:
        frontend = inside.frontend
    return executor_child(
        config.model_copy(
            update={
                "scheduler": config.scheduler.model_copy(update={"endpoint": inside.scheduler}),
                "executor": config.executor.model_copy(update={"frontend_endpoint": frontend}),
            }
        ),
        own_token,
    )
