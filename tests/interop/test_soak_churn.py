"""Minutes of connections that come and go in every way there is: memory levels off."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import grpc.aio
import pytest
from hyperframe.frame import PingFrame, RstStreamFrame

from .process import InteropProcess
from .raw_http2 import (
    PREFACE,
    call_headers,
    data,
    message,
    raw_connection,
    raw_socket,
)
from .service import SERVICE, Plan, message_of, plan_of
from .transports import NATIVE, has_native

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not has_native(), reason="reapi_transport is not installed"),
]

ROUNDS, ROUND_SECONDS = 18, 8
CLIENTS = 8
MOST_GROWTH = 1.05
"""Of the most in the last third of the samples over the least in the third before that."""

CALL_DEADLINE_SECONDS = 30

Visit = Callable[[InteropProcess, Random], Awaitable[None]]


@asynccontextmanager
async def new_channel(server: InteropProcess) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        yield channel


async def ask(channel: grpc.aio.Channel, plan: Plan) -> Plan:
    reply = channel.unary_unary(SERVICE + "Unary")(message_of(plan), timeout=CALL_DEADLINE_SECONDS)
    return plan_of(await reply)


async def call_and_leave(server: InteropProcess, random: Random) -> None:
    async with new_channel(server) as channel:
        for _ in range(random.randrange(1, 20)):
            plan: Plan = {"size": random.randrange(50_000), "text": "t" * random.randrange(50_000)}
            assert len((await ask(channel, plan)).get("text", "")) == plan["size"]


async def cancel_calls(server: InteropProcess, random: Random) -> None:
    async with new_channel(server) as channel:
        expand = channel.unary_stream(SERVICE + "Expand")
        plan = message_of({"replies": [10_000] * 200, "wait": "never"})
        calls = [expand(plan) for _ in range(20)]
        for call in random.sample(calls, 15):
            await call.read()
            call.cancel()


async def leave_calls_running(server: InteropProcess, random: Random) -> None:
    """The socket is closed below them, some with replies that nobody has read."""
    async with raw_connection(server.port) as connection:
        plan = message(message_of({"replies": [30_000] * random.randrange(10), "wait": "never"}))
        for stream in range(1, 41, 2):
            opened = connection.headers(stream, call_headers(SERVICE + "Expand"), "END_HEADERS")
            await connection.send(opened, data(stream, plan, "END_STREAM"))
        assert await connection.is_alive()


async def reset_calls(server: InteropProcess, random: Random) -> None:
    async with raw_connection(server.port) as connection:
        for stream in range(1, 2 * random.randrange(1, 200), 2):
            opened = connection.headers(stream, call_headers(SERVICE + "Collect"), "END_HEADERS")
            await connection.send(opened, data(stream, b"\0\0\0"), RstStreamFrame(stream, 8))
        assert await connection.is_alive()


async def stop_halfway(server: InteropProcess, random: Random) -> None:
    said = PREFACE + PingFrame(0, b"halfway!").serialize()
    async with raw_socket(server.port) as connection:
        await connection.send(said[: random.randrange(len(said))])


async def send_garbage(server: InteropProcess, random: Random) -> None:
    async with raw_connection(server.port) as connection:
        await connection.send(random.randbytes(5_000))


VISITS: tuple[Visit, ...] = (
    call_and_leave,
    cancel_calls,
    leave_calls_running,
    reset_calls,
    stop_halfway,
    send_garbage,
)


async def visit_until(end: float, server: InteropProcess, random: Random) -> int:
    """How many times."""
    count = 0
    while time.monotonic() < end:
        await random.choice(VISITS)(server, random)
        count += 1
    return count


async def resident_kib(server: InteropProcess) -> int:
    """When nobody else is there, and all is collected."""
    async with new_channel(server) as channel:
        return int((await ask(channel, {"tell": ["resident_kib"]}))["resident_kib"])


async def test_memory_levels_off_under_connections_that_come_and_go(
    record_property: Callable[[str, object], None],
) -> None:
    clients = [Random(seed) for seed in range(CLIENTS)]
    samples, visits = [], 0
    with InteropProcess(NATIVE) as server:
        for _ in range(ROUNDS):
            end = time.monotonic() + ROUND_SECONDS
            visits += sum(
                await asyncio.gather(*(visit_until(end, server, random) for random in clients))
            )
            samples.append(await resident_kib(server))
    mib = " ".join(str(sample >> 10) for sample in samples)
    record_property("measured", f"{visits} visits; MiB: {mib}")
    third = ROUNDS // 3
    before, after = samples[third : 2 * third], samples[2 * third :]
    assert max(after) < MOST_GROWTH * min(before)
