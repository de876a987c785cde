"""The worker's stream to the scheduler: opened again and again until the worker leaves.

What goes over it is the business of worker.py.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from reapi.clients.bidirectional_call import BidirectionalCall
from reapi.clients.channel import Channel
from reapi.clients.methods import CONNECT
from reapi.clients.schedulers import Schedulers
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
"""How long the scheduler may take to welcome a worker that leaves, and to end its stream."""

_Call = BidirectionalCall[ConnectRequest, ConnectResponse]


class SchedulerLink:
    """Sends to the scheduler and hands what it says to `handle`, in order.

    `register` makes the first message of each stream.
    """

    def __init__(
        self,
        schedulers: Schedulers,
        register: Callable[[], Register],
        handle: Callable[[ConnectResponse], None],
    ) -> None:
        self._schedulers = schedulers
        self._register = register
        self._handle = handle
        self._call: _Call | None = None
        self._sending = asyncio.Lock()  # a stream takes one message at a time
        self._limit: asyncio.Timeout | None = None
        self._leaving = asyncio.Event()
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    @property
    def is_open(self) -> bool:
        """Whether there is a stream on which the scheduler has welcomed this worker."""
        return self._call is not None

    async def run(self) -> None:
        """Keeps a stream to the active scheduler open until `leave`.

        A lost one is replaced after a growing pause, as soon as a scheduler is active.
        """
        while (channel := await self._active()) is not None:
            try:
                await self._stream(channel)
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
            if self._limit is not None:
                loop = asyncio.get_running_loop()
                self._limit.reschedule(loop.time() + _PARTING_SECONDS)
            if self._call is not None:
                await self._call.done_sending()

    async def _active(self) -> Channel | None:
        """The active scheduler, once there is one; None if the worker leaves before."""
        if self._leaving.is_set():
            return None
        if self._schedulers.active is None:
            _LOG.info("waiting for an active scheduler at %s", self._schedulers.endpoint)
        finding = asyncio.create_task(self._schedulers.next_active())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((finding, leaving), return_when=asyncio.FIRST_COMPLETED)
            return finding.result() if finding.done() else None
        finally:
            finding.cancel()
            leaving.cancel()

    async def _stream(self, channel: Channel) -> None:
        beating: asyncio.Task[None] | None = None
        async with channel.bidirectional(CONNECT) as call:
            try:
                async with asyncio.timeout(None) as self._limit:
                    await call.send(ConnectRequest(register=self._register()))
                    async for response in call:
                        if response.HasField("registered"):
                            self._call = call
                            self._pause_seconds = _FIRST_PAUSE_SECONDS
                            interval = response.registered.heartbeat_interval
                            seconds = interval.ToNanoseconds() / 1e9
                            beating = asyncio.create_task(self._beat(seconds))
                        self._handle(response)
            except TimeoutError:
                _LOG.warning("the scheduler did not answer in time")
            finally:
                self._call = self._limit = None
                if beating is not None:
                    beating.cancel()
                    await asyncio.wait((beating,))

    async def _beat(self, interval_seconds: float) -> None:
        while True:
            await asyncio.sleep(interval_seconds)
            await self.send(ConnectRequest(heartbeat=Heartbeat()))
