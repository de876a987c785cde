"""The worker's stream to the scheduler: opened again and again until the worker leaves.

What goes over it is the business of worker.py.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from reapi.clients.channel import BidirectionalCall, Channel
from reapi.clients.methods import CONNECT
from reapi.core.errors import ReapiError
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    ConnectRequest,
    ConnectResponse,
    Heartbeat,
    Register,
)

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_PARTING_SECONDS = 5.0
"""How long the scheduler may take to end a stream that we have ended."""

_Call = BidirectionalCall[ConnectRequest, ConnectResponse]


class SchedulerLink:
    """Sends to the scheduler and hands what it says to `handle`, in order.

    `register` makes the first message of each stream.
    """

    def __init__(
        self,
        channel: Channel,
        register: Callable[[], Register],
        handle: Callable[[ConnectResponse], None],
    ) -> None:
        self._channel = channel
        self._register = register
        self._handle = handle
        self._call: _Call | None = None
        self._sending = asyncio.Lock()  # a stream takes one message at a time
        self._limit: asyncio.Timeout | None = None
        self._leaving = asyncio.Event()
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    async def run(self) -> None:
        """Keeps a stream open until `leave`; a lost one is replaced after a growing pause."""
        while not self._leaving.is_set():
            try:
                await self._stream()
                _LOG.info("the stream to the scheduler has ended")
            except ReapiError as error:
                _LOG.warning("no stream to the scheduler: %s", error.message)
            # Not all workers are to come back in the same moment.
            pause_seconds = self._pause_seconds * random.uniform(0.5, 1.0)
            self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._leaving.wait()

    async def send(self, request: ConnectRequest) -> None:
        """Sends if there is a stream; what must not be lost is sent again on the next one."""
        async with self._sending:
            if self._call is None:
                return
            try:
                await self._call.send(request)
            except ReapiError as error:
                _LOG.debug("not sent, the stream is over: %s", error.message)

    async def leave(self) -> None:
        """Ends the stream, and so `run`, after what was sent before."""
        self._leaving.set()
        async with self._sending:
            if self._call is not None and self._limit is not None:
                loop = asyncio.get_running_loop()
                self._limit.reschedule(loop.time() + _PARTING_SECONDS)
                await self._call.done_sending()

    async def _stream(self) -> None:
        beating: asyncio.Task[None] | None = None
        async with self._channel.bidirectional(CONNECT) as call:
            await call.send(ConnectRequest(register=self._register()))
            try:
                async with asyncio.timeout(None) as self._limit:
                    async for response in call:
                        if response.HasField("registered"):
                            self._call = call
                            self._pause_seconds = _FIRST_PAUSE_SECONDS
                            interval = response.registered.heartbeat_interval
                            seconds = interval.ToNanoseconds() / 1e9
                            beating = asyncio.create_task(self._beat(seconds))
                        self._handle(response)
            except TimeoutError:
                _LOG.warning("the scheduler did not end the stream")
            finally:
                self._call = None
                if beating is not None:
                    beating.cancel()
                    await asyncio.wait((beating,))

    async def _beat(self, interval_seconds: float) -> None:
        while True:
            await asyncio.sleep(interval_seconds)
            await self.send(ConnectRequest(heartbeat=Heartbeat()))
