"""Which of the servers that a server depends on can be reached."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Self

from reapi.clients.channel import Channel

logger = logging.getLogger(__name__)


class Reachability:
    """Watches the servers of `channels` inside the context; `what` names them in the log.

    None counts as reachable before it was reached.
    """

    def __init__(self, channels: Sequence[Channel], what: str) -> None:
        self.what = what
        self._channels = channels
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

    @property
    def endpoint(self) -> str:
        """Where they are, for a person."""
        return ", ".join(channel.address for channel in self._channels)

    @property
    def are_several(self) -> bool:
        """None of them goes on with what another one has begun."""
        return False

    async def next_active(self, seconds: float | None = None) -> Channel:
        """To the first that can be reached, else to the first one."""
        return next(
            (channel for channel in self._channels if channel in self._reachable),
            self._channels[0],
        )

    def unreachable(self) -> list[str]:
        """The addresses of those that cannot be reached."""
        return [each.address for each in self._channels if each not in self._reachable]

    async def _watch(self, channel: Channel) -> None:
        async with aclosing(channel.reachability()) as changes:
            async for is_reachable in changes:
                if is_reachable:
                    self._reachable.add(channel)
                    logger.info("%s at %s is there", self.what, channel.address)
                else:
                    self._reachable.discard(channel)
                    logger.warning("%s at %s cannot be reached", self.what, channel.address)
                for listener in self._listeners:
                    listener(self.unreachable())
