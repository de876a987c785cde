"""Execute: from an action digest to the end of its operation, over broken streams and restarts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from google.longrunning import operations_pb2

from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import NotFound, ReapiError, Unavailable
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecuteRequest,
    WaitExecutionRequest,
)

from .channel import Channel
from .methods import EXECUTE, WAIT_EXECUTION
from .model import Operation
from .operations import cancel_operation, operation_of

_MOST_EXECUTES = 3
"""How often an operation that the server forgot is started anew."""

_CANCEL_SECONDS = 3.0


async def execute(
    channel: Channel,
    instance_name: str,
    action_digest: Digest,
    *,
    skip_cache_lookup: bool = False,
    priority: int = 0,
) -> AsyncGenerator[Operation, None]:
    """Runs an action: yields each state of its operation, the last one done.

    A stream that breaks is taken up again by WaitExecution, and by Execute when the server has
    forgotten the operation. Leaving early or being cancelled cancels the operation at the server,
    which takes some seconds at most. Errors before the operation exists are raised; later ones
    are in the status of the response.
    """
    request = ExecuteRequest(
        instance_name=instance_name,
        action_digest=action_digest.to_message(),
        digest_function=action_digest.function.name,
        skip_cache_lookup=skip_cache_lookup,
        inline_stdout=True,
        inline_stderr=True,
    )
    if priority:
        request.execution_policy.priority = priority
    execution = _Execution(channel, request, action_digest.function)
    try:
        while execution.operation is None or not execution.operation.is_done:
            async with aclosing(execution.states()) as states:
                async for operation in states:
                    yield operation
    except (asyncio.CancelledError, GeneratorExit):
        await execution.cancel()
        raise


class _Execution:
    """One action on its way; `operation` is its last known state."""

    def __init__(self, channel: Channel, request: ExecuteRequest, function: DigestFunction) -> None:
        self._channel = channel
        self._request = request
        self._function = function
        self._retries = channel.retries()
        self._executes = 0
        self.operation: Operation | None = None

    async def states(self) -> AsyncGenerator[Operation, None]:
        """What one stream says; returns after a failure that another stream may mend."""
        try:
            async with aclosing(self._stream()) as messages:
                async for message in messages:
                    operation = operation_of(message, self._function)
                    # A server that says the same again and again does not come further (EX15).
                    if self.operation is None or operation.stage != self.operation.stage:
                        self._retries.progressed()
                    self.operation = operation
                    yield operation
                    if operation.is_done:
                        return
            raise Unavailable("the server ended the stream before the operation was done")
        except NotFound:
            if self.operation is None or self._executes == _MOST_EXECUTES:
                raise
            self.operation = None
        except ReapiError as error:
            await self._retries.wait(error)

    async def _stream(self) -> AsyncGenerator[operations_pb2.Operation, None]:
        if self.operation is not None:
            wait = WaitExecutionRequest(name=self.operation.name)
            stream = self._channel.server_stream(WAIT_EXECUTION, wait)
        else:
            self._executes += 1
            stream = self._channel.server_stream(EXECUTE, self._request)
        async with aclosing(stream):
            first = await self._first_of(stream)
            if first is not None:
                yield first
                async for message in stream:
                    yield message

    async def _first_of(
        self, stream: AsyncGenerator[operations_pb2.Operation, None]
    ) -> operations_pb2.Operation | None:
        """The first message. It has the name, without which nothing can be cancelled at the
        server: so being cancelled meanwhile waits a little for it."""
        first = asyncio.ensure_future(anext(stream, None))
        try:
            return await asyncio.shield(first)
        except asyncio.CancelledError:
            with suppress(ReapiError, TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    message = await first
                    if message is not None:
                        self.operation = operation_of(message, self._function)
            raise

    async def cancel(self) -> None:
        """Cancels at the server what is not done. Bounded in time; a failure changes nothing."""
        if self.operation is None or self.operation.is_done:
            return
        with suppress(ReapiError, TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS):
                await cancel_operation(self._channel, self.operation.name)
