"""Which of several schedulers is active, as their health says it the moment it changes."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Self

from grpc_health.v1 import health_pb2

from reapi.core.errors import ReapiError, Unavailable, Unimplemented
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .address import Address, parse_address
from .channel import Channel
from .methods import HEALTH_WATCH
from .tls import SYSTEM_TLS, ClientTls

logger = logging.getLogger(__name__)

_EXECUTION = re_pb2.DESCRIPTOR.services_by_name["Execution"].full_name
_PAUSE_SECONDS = 0.2
_ASKED_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 30.0
_LOOK_AGAIN_SOON_SECONDS = 1.0
"""While nobody is active: a pod that was replaced has another address."""


class Schedulers:
    """Use it as an async context manager; inside, it watches all of them.

    `endpoint` is an address as clients/address.py has it, or several separated by commas. A name
    that has several addresses stands for as many schedulers. The one whose Execution service was
    the last to begin to serve is the active one: so one that is frozen is left as soon as another
    one takes over, and the calls that it has not answered end as Unavailable. A server without
    health is active while it can be reached.
    """

    what = "the scheduler"

    def __init__(
        self,
        endpoint: str,
        *,
        tool_name: str,
        token: str | None = None,
        tls: ClientTls = SYSTEM_TLS,
    ) -> None:
        self.endpoint = endpoint
        self._endpoints = [parse_address(one.strip()) for one in endpoint.split(",")]
        self._tool_name = tool_name
        self._token = token
        self._tls = tls
        self._candidates: dict[str, _Candidate] = {}
        self._serving: set[Channel] = set()
        self._latest: Channel | None = None
        self.active: Channel | None = None
        """To the active one; None when none is known to be."""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._look()
        self._looking = asyncio.create_task(self._look_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        await asyncio.wait([self._looking])
        for candidate in self._candidates.values():
            await candidate.close()

    @property
    def are_several(self) -> bool:
        """Whether one can take over from another."""
        return len(self._candidates) > 1

    async def next_active(self, seconds: float | None = None) -> Channel:
        """Waits for an active one. Raises Unavailable when there is none for so long; after 0 s,
        when all have been asked."""
        if seconds == 0:
            await self._all_asked()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.active is None:
                    await self._changed.wait()
        if self.active is None:
            raise Unavailable(f"the scheduler at {self.endpoint} is not available")
        return self.active

    async def _all_asked(self) -> None:
        asked = [asyncio.create_task(one.asked.wait()) for one in self._candidates.values()]
        if asked:
            try:
                await asyncio.wait(asked, timeout=_ASKED_SECONDS)
            finally:
                for one in asked:
                    one.cancel()

    async def changes(self) -> AsyncGenerator[Channel | None, None]:
        """The active one now, and whenever it is another one."""
        while True:
            changed, active = self._changed, self.active
            yield active
            while self.active is active:
                await changed.wait()
                changed = self._changed

    def _heard(self, channel: Channel, is_serving: bool) -> None:
        if is_serving == (channel in self._serving):
            return
        if is_serving:
            self._serving.add(channel)
            self.active = channel
            if self._latest not in (None, channel):
                self._latest.abandon()
            self._latest = channel
        else:
            self._serving.discard(channel)
            if channel is self.active:
                self.active = None
                self._ask_again()
        self._changed.set()
        self._changed = asyncio.Event()

    def _ask_again(self) -> None:
        """Those that said that they serve before the last active one did so may be frozen."""
        for candidate in self._candidates.values():
            if candidate.channel in self._serving:
                candidate.again.set()

    async def _look_for_ever(self) -> None:
        """Names tell nobody that they have other addresses."""
        while True:
            seconds = _LOOK_AGAIN_SOON_SECONDS if self.active is None else _LOOK_AGAIN_SECONDS
            changed = self._changed
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()
            await self._look()

    async def _look(self) -> None:
        found: dict[str, Address] = {}
        for endpoint in self._endpoints:
            found |= {str(address): endpoint for address in await _addresses(endpoint)}
        for address in found.keys() - self._candidates.keys():
            channel = Channel(
                address,
                tool_name=self._tool_name,
                token=self._token,
                tls=self._tls,
                server_name=found[address].host,
                is_invocation=False,
            )
            self._candidates[address] = _Candidate(channel, self._heard)
        for address in self._candidates.keys() - found.keys():
            if found and self._candidates[address].channel is not self.active:
                await self._candidates.pop(address).close()


class _Candidate:
    """One scheduler that is watched until it is closed."""

    def __init__(self, channel: Channel, heard: Callable[[Channel, bool], None]) -> None:
        self.channel = channel
        self.asked = asyncio.Event()
        """Set once it has answered, or could not be reached."""
        self.again = asyncio.Event()
        """To be set when its last answer does not count any more."""
        self._tell = heard
        self._watching = asyncio.create_task(self._watch_for_ever())

    async def close(self) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])

    async def _watch_for_ever(self) -> None:
        async with self.channel as channel:
            try:
                while True:
                    await self._watch_until_asked_again()
                    self._heard(False)
                    # A server that ends, or has no health for another reason.
                    await asyncio.sleep(_PAUSE_SECONDS)
                    await self._reached()
            finally:
                channel.abandon()
                self._heard(False)

    def _heard(self, is_serving: bool) -> None:
        self._tell(self.channel, is_serving)
        self.asked.set()

    async def _watch_until_asked_again(self) -> None:
        self.again.clear()
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self.again.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _watch(self) -> None:
        try:
            await self._watch_health()
        except Unimplemented:
            await self._watch_reachability()
        except ReapiError as error:
            logger.debug("no health of %s: %s", self.channel.address, error.message)
        except Exception:
            logger.exception("cannot watch the health of %s", self.channel.address)

    async def _watch_health(self) -> None:
        request = health_pb2.HealthCheckRequest(service=_EXECUTION)
        async with aclosing(self.channel.server_stream(HEALTH_WATCH, request)) as states:
            async for state in states:
                self._heard(state.status == state.SERVING)

    async def _watch_reachability(self) -> None:
        """Until it is lost: another server may come in its place."""
        async with aclosing(self.channel.reachability()) as changes:
            async for is_reachable in changes:
                if not is_reachable:
                    return
                self._heard(True)

    async def _reached(self) -> None:
        async with aclosing(self.channel.reachability()) as changes:
            async for is_reachable in changes:
                if is_reachable:
                    return


async def _addresses(endpoint: Address) -> list[Address]:
    """With an address of IP in place of the name, for each that it has now."""
    if endpoint.is_socket:
        return [endpoint]
    loop = asyncio.get_running_loop()
    try:
        port = str(endpoint.port)
        found = await loop.getaddrinfo(endpoint.host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        logger.warning("cannot find the address of %s: %s", endpoint, error)
        return []
    pairs = [(str(address[0]), int(address[1])) for *_, address in found]
    targets = [f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}" for ip, number in pairs]
    return [Address(target, endpoint.is_encrypted) for target in targets]
