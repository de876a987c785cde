"""What a server says that it can do."""

import time
from collections.abc import Sequence

from reapi.core.digest import DigestFunction as Function
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    DigestFunction,
    GetCapabilitiesRequest,
    ServerCapabilities,
)
from reapi.protos.build.bazel.semver.semver_pb2 import SemVer

from .channel import Channel
from .methods import GET_CAPABILITIES
from .model import ServerStatus

DEFAULT_BATCH_BYTES = 4_000_000
"""What fits into gRPC's default message limit; assumed of servers that name no limit (CAP7)."""


async def get_capabilities(
    channel: Channel, instance_name: str, *, timeout: float | None = 10.0
) -> ServerCapabilities:
    """What an instance can do. Servers refuse the name of one that they do not have (G6)."""
    request = GetCapabilitiesRequest(instance_name=instance_name)
    return await channel.unary(GET_CAPABILITIES, request, timeout=timeout)


async def check_digest_function(
    channel: Channel, instance_name: str, function: Function
) -> ServerCapabilities:
    """What an instance can do; InvalidArgument when it does not announce `function`.

    A server that announces none at all is left to speak for itself.
    """
    capabilities = await get_capabilities(channel, instance_name)
    announced = _digest_functions(capabilities)
    if announced and function.number not in announced:
        names = ", ".join(_function_name(number) for number in announced)
        raise InvalidArgument(
            f"{channel.address} does not serve digest function {function.name} "
            f"for instance {instance_name!r}; it serves {names}: set digest_function to one of them"
        )
    return capabilities


def _digest_functions(capabilities: ServerCapabilities) -> Sequence[DigestFunction.Value]:
    """Of the cache; of execution where that is all that an endpoint has (CAP2)."""
    if capabilities.HasField("cache_capabilities"):
        return capabilities.cache_capabilities.digest_functions
    execution = capabilities.execution_capabilities
    singular = [execution.digest_function] if execution.digest_function else []
    return execution.digest_functions or singular


def max_batch_bytes(capabilities: ServerCapabilities) -> int:
    """How many bytes of blobs and their digests one batch call may have."""
    announced = capabilities.cache_capabilities.max_batch_total_size_bytes
    return min(announced, DEFAULT_BATCH_BYTES) if announced > 0 else DEFAULT_BATCH_BYTES


async def get_status(
    channel: Channel, instance_name: str, *, timeout: float | None = 10.0
) -> ServerStatus:
    """The capabilities of an instance as values, with the time that a warm question takes."""
    capabilities = await get_capabilities(channel, instance_name, timeout=timeout)
    started = time.perf_counter()
    await get_capabilities(channel, instance_name, timeout=timeout)
    latency = time.perf_counter() - started
    cache = capabilities.cache_capabilities
    return ServerStatus(
        server=channel.address,
        instance_name=instance_name,
        low_api_version=_version(capabilities.low_api_version),
        high_api_version=_version(capabilities.high_api_version),
        digest_functions=[_function_name(number) for number in _digest_functions(capabilities)],
        max_batch_total_size_bytes=cache.max_batch_total_size_bytes,
        can_update_action_cache=cache.action_cache_update_capabilities.update_enabled,
        can_execute=capabilities.execution_capabilities.exec_enabled,
        latency_seconds=latency,
    )


def _version(version: SemVer) -> str:
    return f"{version.major}.{version.minor}"


def _function_name(number: DigestFunction.Value) -> str:
    """Its name; the number of a function newer than this client."""
    names = {value: name for name, value in DigestFunction.Value.items()}
    return names.get(number, str(number))
