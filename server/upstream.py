"""The servers behind an edge frontend, as one store of blobs and one of results."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from reapi.cas.stores.metrics import MirrorMetrics
from reapi.cas.stores.mirrored import MirroredStore
from reapi.cas.stores.mirrored_results import MirroredResults
from reapi.cas.stores.sharded import Shard, ShardedStore
from reapi.cas.stores.sharded_results import ShardedResults
from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.tls import ClientTls
from reapi.core.interfaces import ActionCache, BlobStore

from .reachability import Reachability
from .upstream_config import UpstreamSection

_PATIENCE_SECONDS = 1.0
"""For a connection that broke; clients know how to wait for longer."""


class Upstream(NamedTuple):
    """What the servers have together, whatever way they do."""

    section: UpstreamSection
    servers: Reachability
    blobs: BlobStore
    shards: Sequence[Shard]
    caches: Sequence[ActionCache]

    def results(self, blobs: BlobStore) -> ActionCache:
        """The results, whose blobs are those of the upstream and may be asked for at `blobs`."""
        if self.section.combine == "mirror":
            return MirroredResults(self.caches)
        if self.section.combine == "shard":
            names = [shard.name for shard in self.shards]
            return ShardedResults(self.shards, dict(zip(names, self.caches, strict=True)), blobs)
        return self.caches[0]

    def problem(self, lost: Sequence[str]) -> str | None:
        """Why there is nothing to serve while these addresses cannot be reached, if so.

        One mirror is enough for all that was stored already; every shard is needed.
        """
        enough = len(self.section.servers) if self.section.combine == "mirror" else 1
        if len(lost) < enough:
            return None
        return f"the upstream at {', '.join(lost)} cannot be reached"


async def open_upstream(
    section: UpstreamSection,
    instance_name: str,
    caller: ContextVar[bytes | None],
    token: str | None,
    tls: ClientTls,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
) -> Upstream:
    """Connections to all servers, closed with `stack`; none needs to be there yet.

    Calls are made in the name of `caller` with `token`, blobs are those of `instance_name`; `tls`
    is for servers of grpcs://.
    """
    # Of two mirrors the other one is asked at once.
    patience_seconds = 0 if section.combine == "mirror" else _PATIENCE_SECONDS
    channels = [
        await stack.enter_async_context(
            Channel(
                server.endpoint,
                tool_name="reapi-edge",
                token=token,
                tls=tls,
                is_invocation=False,
                patience_seconds=patience_seconds,
                request_metadata=caller,
            )
        )
        for server in section.servers
    ]
    shards = [
        Shard(server.shard_name, server.weight, RemoteBlobStore(channel, instance_name))
        for server, channel in zip(section.servers, channels, strict=True)
    ]
    blobs: BlobStore = shards[0].store
    if section.combine == "mirror":
        first, second = (shard.store for shard in shards)
        mirrored = MirroredStore(first, second, MirrorMetrics(registry))
        blobs = await stack.enter_async_context(mirrored)
    elif section.combine == "shard":
        blobs = ShardedStore(shards)
    servers = await stack.enter_async_context(Reachability(channels, "the upstream"))
    return Upstream(
        section, servers, blobs, shards, [RemoteActionCache(channel) for channel in channels]
    )
