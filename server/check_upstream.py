"""`reapi-server check`, of the servers behind an edge frontend."""

import asyncio
from collections.abc import Iterator

from reapi.clients.capabilities import get_status
from reapi.clients.channel import Channel
from reapi.clients.model import ServerStatus
from reapi.clients.tls import ClientTls
from reapi.core.errors import InvalidArgument, ReapiError
from reapi.core.finding import Finding

from .config import ServerConfig

_TIMEOUT_SECONDS = 5.0


def check_upstream(config: ServerConfig) -> Iterator[Finding]:
    """Whether each server answers for all instances that are served here, and takes results."""
    if config.upstream is None:
        return
    names = set(config.server.instance_names)
    if config.upstream.instance_name is not None:
        names.add(config.upstream.instance_name)
    for server in config.upstream.servers:
        name = f"upstream {server.endpoint}"
        try:
            token = config.auth.read_token()
            tls = config.connections.tls()
            statuses = asyncio.run(_ask(server.endpoint, sorted(names), token, tls))
        except InvalidArgument as error:
            advice = "serve the same server.instance_names here and there"
            yield Finding(name, "failed", error.message, advice)
        except ReapiError as error:
            advice = "start it, or correct upstream.servers"
            yield Finding(name, "failed", error.message, advice)
        else:
            yield _finding(name, statuses)


async def _ask(
    endpoint: str, instance_names: list[str], token: str | None, tls: ClientTls
) -> list[ServerStatus]:
    channel = Channel(
        endpoint,
        tool_name="reapi-check",
        token=token,
        tls=tls,
        is_invocation=False,
        patience_seconds=0,
    )
    async with channel:
        return [
            await get_status(channel, name, timeout=_TIMEOUT_SECONDS) for name in instance_names
        ]


def _finding(name: str, statuses: list[ServerStatus]) -> Finding:
    milliseconds = 1000 * statuses[0].latency_seconds
    text = f"answers in {milliseconds:.1f} ms"
    if all(status.can_update_action_cache for status in statuses):
        return Finding(name, "ok", text)
    return Finding(
        name,
        "warning",
        f"{text}, and takes no results from clients",
        "allow updates of its action cache, unless only its own executors are to write there",
    )
