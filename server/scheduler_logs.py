"""Logs of operations for the ByteStream of a frontend, from the scheduler here or elsewhere."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

from google.rpc import code_pb2

from reapi.clients.methods import READ_LOG
from reapi.clients.retry import Retries
from reapi.core.digest import Digest, parse_digest, parse_function
from reapi.core.errors import Relayed, Unavailable
from reapi.core.interfaces import Call
from reapi.core.log_name import LogName
from reapi.core.rpc import Method, StreamHandler
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ReadLogRequest, ReadLogResponse

_FOLLOW_SECONDS = 30.0
_GONE = frozenset((code_pb2.UNAVAILABLE, code_pb2.CANCELLED))
"""How streams end whose scheduler goes away."""


class SchedulerLogs:
    """The OperationLogs behind a row of a scheduler's `methods`, or of a forwarder's to it.

    When the scheduler goes away, reading goes on at its offset with the next one, for half a
    minute, as waiting for the operation does.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        method = next(method for method in methods if method.path == READ_LOG.path)
        self._handler = cast(StreamHandler, method.handler)
        self._is_raw = method.request_type is None

    async def read(
        self, name: LogName, offset: int, call: Call
    ) -> AsyncGenerator[bytes | Digest, None]:
        retries = Retries(_FOLLOW_SECONDS)
        while True:
            try:
                async with aclosing(self._read_once(name, offset, call)) as parts:
                    async for part in parts:
                        retries.progressed()
                        if isinstance(part, bytes):
                            offset += len(part)
                        yield part
                return
            except (Unavailable, Relayed) as error:
                if error.code not in _GONE:
                    raise
                await retries.wait(Unavailable(f"the scheduler went away: {error.message}"))

    async def _read_once(
        self, name: LogName, offset: int, call: Call
    ) -> AsyncGenerator[bytes | Digest, None]:
        request = ReadLogRequest(
            name=name.operation_name,
            instance_name=name.instance_name,
            stream=name.stream,
            offset=offset,
        )
        message = request.SerializeToString() if self._is_raw else request
        async with aclosing(self._handler(message, call)) as replies:
            async for reply in replies:
                response = ReadLogResponse.FromString(reply) if isinstance(reply, bytes) else reply
                assert isinstance(response, ReadLogResponse)
                if response.HasField("stored"):
                    function = parse_function(response.digest_function, len(response.stored.hash))
                    yield parse_digest(response.stored, function)
                else:
                    yield response.data
