"""Which of the servers that a server depends on can be reached."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Self

from grpc_health.v1 import health_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import WATCH_HEALTH
from reapi.core.errors import ReapiError, Unimplemented

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Reachability:
    """Watches the servers of `channels` inside the context; `what` names them in the log.

    None counts as reachable before it was reached, nor one that says of `service` that it does not
    serve it (grpc.health.v1).
    """

    def __init__(self, channels: Sequence[Channel], what: str, service: str | None = None) -> None:
        self.what = what
        self._channels = channels
        self._service = service
        self._reachable: set[Channel] = set()
        self._listeners: list[Callable[[Sequence[str]], None]] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._watchers = [asyncio.create_task(self._watch(channel)) for channel in self._channels]
        return self

    async def __aexit__(self, *_: object) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.wait(self._watchers)

    def add_listener(self, listener: Callable[[Sequence[str]], None]) -> None:
        """Calls it with `unreachable()`, now and after each change."""
        self._listeners.append(listener)
        listener(self.unreachable())

    def first(self) -> Channel:
        """The first that can be reached, else the first one."""
        return next(
            (channel for channel in self._channels if channel in self._reachable),
            self._channels[0],
        )

    def unreachable(self) -> list[str]:
        """The addresses of those that cannot be reached."""
        return [each.address for each in self._channels if each not in self._reachable]

    async def _watch(self, channel: Channel) -> None:
        following: asyncio.Task[None] | None = None
        async with aclosing(channel.reachability()) as changes, asyncio.TaskGroup() as group:
            async for is_reachable in changes:
                if following is not None:
                    following.cancel()
                if not is_reachable:
                    logger.warning("%s at %s cannot be reached", self.what, channel.address)
                    self._set(channel, False)
                    continue
                logger.info("%s at %s is there", self.what, channel.address)
                if self._service is None:
                    self._set(channel, True)
                else:
                    following = group.create_task(self._follow(channel, self._service))

    async def _follow(self, channel: Channel, service: str) -> None:
        """Believes what a server that can be reached says of itself."""
        request = health_pb2.HealthCheckRequest(service=service)
        serving = health_pb2.HealthCheckResponse.SERVING
        while True:
            try:
                async with aclosing(channel.server_stream(WATCH_HEALTH, request)) as replies:
                    async for reply in replies:
                        self._set(channel, reply.status == serving)
            except Unimplemented:
                self._set(channel, True)  # as far as anybody can tell
                return
            except ReapiError as error:
                logger.info("cannot watch the health of %s: %s", self.what, error.message)
            await asyncio.sleep(_RETRY_SECONDS)  # nothing tells when it would answer again

    def _set(self, channel: Channel, is_reachable: bool) -> None:
        if is_reachable:
            self._reachable.add(channel)
        else:
            self._reachable.discard(channel)
        for listener in self._listeners:
            listener(self.unreachable())
