"""Reads what the command of an operation prints, while it runs or afterwards."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from reapi.core.digest import DigestFunction, parse_digest
from reapi.core.errors import ReapiError, Unimplemented
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest

from .channel import Channel
from .methods import READ
from .model import LogStream, Operation


async def read_log(
    channel: Channel,
    store: BlobStore,
    operation: Operation,
    stream: LogStream,
    function: DigestFunction,
    *,
    follows: bool,
) -> AsyncGenerator[bytes, None]:
    """What the command has printed, in chunks; with `follows` until the operation ends.

    Raises Unimplemented if the server does not stream the logs of an operation that is not done.
    """
    result = operation.response.result if operation.response else ActionResult()
    raw: bytes = getattr(result, f"{stream}_raw")
    name = operation.stdout_name if stream == "stdout" else operation.stderr_name
    if raw:
        yield raw
    elif result.HasField(f"{stream}_digest"):
        digest = parse_digest(getattr(result, f"{stream}_digest"), function)
        async for chunk in store.read(digest):
            yield chunk
    elif name:
        async with aclosing(follow_log(channel, name)) as chunks:
            async for chunk in chunks:
                if not chunk and not follows:
                    return
                yield chunk
    elif not operation.is_done:
        raise Unimplemented("the server does not tell what an action prints before it has ended")


async def follow_log(
    channel: Channel, resource_name: str, offset: int = 0
) -> AsyncGenerator[bytes, None]:
    """What is printed from `offset` on, until the operation ends; over lost connections.

    Our server sends an empty chunk when all was sent that was printed by then, and now and then
    while nothing more is.
    """
    request = ReadRequest(resource_name=resource_name, read_offset=offset)
    retries = channel.retries()
    while True:
        try:
            async with aclosing(channel.server_stream(READ, request)) as replies:
                async for reply in replies:
                    retries.progressed()
                    request.read_offset += len(reply.data)
                    yield reply.data
            return
        except ReapiError as error:
            await retries.wait(error)
