"""Hostile and broken peers of the native transport: each is stopped, and no other client notices.

Bounds of memory are generous: what would grow without bounds exceeds them many times.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
)

from .process import InteropProcess
from .raw_http2 import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    call_headers,
    data,
    message,
    raw_connection,
    raw_socket,
    window_update,
)
from .service import SERVICE, message_of, plan_of
from .transports import NATIVE, has_native

pytestmark = pytest.mark.skipif(not has_native(), reason="reapi_transport is not installed")

UNARY, EXPAND, COLLECT, CONVERSE = (
    SERVICE + name for name in ("Unary", "Expand", "Collect", "Converse")
)
MOST_KIB = 96 << 10
FLOOD = 100_000
INITIAL_WINDOW_SIZE = SettingsFrame.INITIAL_WINDOW_SIZE
LARGEST_FRAME = 16_384


@pytest.fixture(scope="module")
def victim() -> Iterator[InteropProcess]:
    with InteropProcess(NATIVE) as running:
        yield running


@pytest.fixture(scope="module")
def impatient() -> Iterator[InteropProcess]:
    with InteropProcess(NATIVE, is_impatient=True) as running:
        yield running


@asynccontextmanager
async def unharmed(server: InteropProcess) -> AsyncIterator[None]:
    """Another client calls all the while, and is answered; memory stays within its bound."""
    before = server.resident_kib()
    count = 0
    is_over = False

    async def call_on(channel: grpc.aio.Channel) -> None:
        nonlocal count
        unary = channel.unary_unary(UNARY)
        while not is_over or count < 3:
            reply = await unary(message_of({"text": str(count)}), timeout=30)
            assert plan_of(reply) == {"text": str(count)}
            count += 1

    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(server.target, options=options) as channel,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(call_on(channel))
        yield
        is_over = True
    assert server.resident_kib() - before < MOST_KIB


async def test_rapid_reset_ends_the_connection(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        for stream in range(1, 2 * FLOOD, 2):
            opened = connection.headers(stream, call_headers(EXPAND), "END_HEADERS")
            if not await connection.send(opened, RstStreamFrame(stream, error_code=8)):
                break
        assert (await connection.end()).goaway == ENHANCE_YOUR_CALM


async def test_calls_that_are_reset_while_they_run_end_the_connection(
    victim: InteropProcess,
) -> None:
    request = message(message_of({"wait": "reset"}))
    async with unharmed(victim), raw_connection(victim.port) as connection:
        for stream in range(1, 2 * FLOOD, 2):
            opened = connection.headers(stream, call_headers(UNARY), "END_HEADERS")
            body = data(stream, request, "END_STREAM")
            if not await connection.send(opened, body, RstStreamFrame(stream, error_code=8)):
                break
        assert (await connection.end()).goaway == ENHANCE_YOUR_CALM


async def test_headers_without_an_end_end_the_connection(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, call_headers(UNARY)))
        # A literal field, never indexed, whose name and value are not huffman-coded.
        field = b"\x10" + b"\x04name" + b"\x7f\x80\x7d" + b"v" * 16_127
        await connection.flood(ContinuationFrame(1, field).serialize(), 5_000)
        assert (await connection.end()).goaway in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)


async def test_empty_continuations_without_an_end_end_the_connection(
    victim: InteropProcess,
) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, call_headers(UNARY)))
        await connection.flood(ContinuationFrame(1, b"").serialize(), FLOOD)
        assert (await connection.end()).goaway in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)


async def test_headers_that_unpack_to_very_many_bytes_are_refused(
    victim: InteropProcess,
) -> None:
    """One entry of 4,000 bytes in the table, and 16,000 times a byte that stands for it."""
    async with unharmed(victim), raw_connection(victim.port) as connection:
        for stream in range(1, 200, 2):
            first = connection.headers(stream, [*call_headers(UNARY), ("x-a", "a" * 4_000)])
            index = 0x80 | 62  # the entry that was added last
            bomb = ContinuationFrame(stream, bytes((index,)) * 16_000, flags=["END_HEADERS"])
            if not await connection.send(first, bomb):
                break
        assert (await connection.end()).goaway == ENHANCE_YOUR_CALM


async def test_headers_that_are_no_hpack_end_the_connection(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(HeadersFrame(1, b"\xff" * 40, flags=["END_HEADERS"]))
        assert (await connection.end()).goaway in (COMPRESSION_ERROR, PROTOCOL_ERROR)


async def test_metadata_above_the_limit_is_refused_and_the_connection_goes_on(
    victim: InteropProcess,
) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        many = [(f"x-{number}", "v" * 1_000) for number in range(20)]
        pairs = [*call_headers(UNARY), *many]
        block = connection.headers(1, pairs).data
        rest = [block[at : at + 9_000] for at in range(0, len(block), 9_000)]
        frames = [HeadersFrame(1, rest[0], flags=["END_STREAM"])]
        frames += [ContinuationFrame(1, part) for part in rest[1:]]
        frames[-1].flags.add("END_HEADERS")
        await connection.send(*frames)
        answer = await connection.answers(1)
        assert isinstance(answer, dict)
        assert answer.get("grpc-status") == "8" or answer[":status"] == "431"
        assert await connection.is_alive()


async def test_streams_above_the_limit_are_refused(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        frame = await connection.read_frame()
        assert isinstance(frame, SettingsFrame)
        most = frame.settings[SettingsFrame.MAX_CONCURRENT_STREAMS]
        last = 2 * most + 1
        for stream in range(1, last + 1, 2):
            await connection.send(connection.headers(stream, call_headers(COLLECT), "END_HEADERS"))
        assert await connection.answers(last) == REFUSED_STREAM
        assert await connection.is_alive()


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"flooding"),
        SettingsFrame(0, settings={INITIAL_WINDOW_SIZE: 65_535}),
        SettingsFrame(0),
    ],
    ids=["ping", "settings", "empty settings"],
)
async def test_a_flood_of_control_frames_ends_the_connection(
    victim: InteropProcess, frame: PingFrame | SettingsFrame
) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.flood(frame.serialize() * 100, FLOOD // 100)
        assert (await connection.end()).goaway == ENHANCE_YOUR_CALM


async def test_a_flood_whose_answers_nobody_reads_ends_the_connection(
    victim: InteropProcess,
) -> None:
    """The bytes of the answers must not be gathered."""
    async with unharmed(victim), raw_connection(victim.port, is_deaf=True) as connection:
        part = PingFrame(0, b"flooding").serialize() * 1_000
        async with asyncio.timeout(30):
            await connection.flood(part, 2_000)
        assert (await connection.end()).goaway in (ENHANCE_YOUR_CALM, None)


@pytest.mark.parametrize("kind", ["priority", "empty data"])
async def test_frames_that_do_nothing_end_the_connection(victim: InteropProcess, kind: str) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, call_headers(COLLECT), "END_HEADERS"))
        frame = {
            "priority": PriorityFrame(1, depends_on=3, stream_weight=1),
            "empty data": data(1, b""),
        }[kind]
        await connection.flood(frame.serialize() * 100, 5 * FLOOD // 100)
        assert not await connection.is_alive()
        assert connection.heard.goaway == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "said",
    [
        b"\0" * 1_000,
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        PREFACE[:-1] + b"!",
        b"\x16\x03\x01" * 99,
    ],
    ids=["zeros", "HTTP/1.1", "almost", "TLS"],
)
async def test_garbage_in_place_of_the_preface_ends_the_connection(
    victim: InteropProcess, said: bytes
) -> None:
    async with unharmed(victim), raw_socket(victim.port) as connection:
        await connection.send(said)
        await connection.hang_up()


async def test_garbage_after_the_preface_ends_the_connection(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_socket(victim.port) as connection:
        await connection.send(PREFACE, bytes(range(1, 255)) * 100)
        assert (await connection.end()).goaway in (PROTOCOL_ERROR, FRAME_SIZE_ERROR)


async def test_a_frame_above_the_largest_size_ends_the_connection(
    victim: InteropProcess,
) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, call_headers(COLLECT), "END_HEADERS"))
        await connection.send(data(1, b"d" * (2 << 20)))
        assert (await connection.end()).goaway == FRAME_SIZE_ERROR


async def test_small_window_updates_gather_nothing(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, call_headers(COLLECT), "END_HEADERS"))
        await connection.flood(window_update(1, 1).serialize() * 100, 5 * FLOOD // 100)


async def test_data_beyond_the_window_is_refused(victim: InteropProcess) -> None:
    """A stream that nobody reads: the server must not take more than it offered."""
    async with unharmed(victim), raw_connection(victim.port) as connection:
        opened = connection.headers(1, call_headers(CONVERSE), "END_HEADERS")
        await connection.send(opened, data(1, message(message_of({"wait": "window"}))))
        frame = data(1, message(b"d" * (LARGEST_FRAME - 5))).serialize()
        await connection.flood(frame, (64 << 20) // LARGEST_FRAME)
        answer = connection.heard
        while answer.goaway is None and answer.reset(1) is None:
            if await connection.read_frame() is None:
                break
        assert FLOW_CONTROL_ERROR in (answer.goaway, answer.reset(1))


@pytest.mark.parametrize("stream", [0, 1])
async def test_a_window_that_overflows_is_an_error(victim: InteropProcess, stream: int) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, call_headers(COLLECT), "END_HEADERS"))
        most = (1 << 31) - 1
        await connection.send(window_update(stream, most), window_update(stream, most))
        if stream:
            assert await connection.answers(1) == FLOW_CONTROL_ERROR
            assert await connection.is_alive()
        else:
            assert (await connection.end()).goaway == FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\0\0", "13"),
        (b"\0\0\0\0\x09short", "13"),
        (b"\0\xff\xff\xff\xff", "8"),
        (message(b"", flag=2), "13"),
        (message(b"not gzip", flag=1), "13"),
        (b"", "13"),
        (message(b"") * 2, "13"),
    ],
    ids=[
        "half a prefix",
        "half a message",
        "four GiB announced",
        "an unknown flag",
        "compressed by nothing",
        "no message",
        "two messages",
    ],
)
async def test_a_broken_request_of_a_unary_call_is_refused(
    victim: InteropProcess, body: bytes, code: str
) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        opened = connection.headers(1, call_headers(UNARY), "END_HEADERS")
        await connection.send(opened, data(1, body, "END_STREAM"))
        answer = await connection.answers(1)
        assert isinstance(answer, dict)
        assert answer["grpc-status"] in (code, "12" if code == "13" else code)
        assert await connection.is_alive()


@pytest.mark.parametrize(
    "packed",
    [b"not gzip at all", gzip.compress(b"")[:-5], gzip.compress(b"a") + b"more"],
    ids=["no gzip", "cut off", "followed by more"],
)
async def test_a_message_that_is_no_gzip_is_refused(victim: InteropProcess, packed: bytes) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        head = call_headers(UNARY, ("grpc-encoding", "gzip"))
        opened = connection.headers(1, head, "END_HEADERS")
        await connection.send(opened, data(1, message(packed, flag=1), "END_STREAM"))
        answer = await connection.answers(1)
        assert isinstance(answer, dict)
        assert answer["grpc-status"] == "13"
        assert await connection.is_alive()


async def test_a_message_that_unpacks_to_very_many_bytes_is_refused(
    victim: InteropProcess,
) -> None:
    bomb = gzip.compress(b"\0" * (512 << 20), 9)
    async with unharmed(victim), raw_connection(victim.port) as connection:
        assert await connection.is_alive()  # its window has been opened
        head = call_headers(UNARY, ("grpc-encoding", "gzip"))
        await connection.send(connection.headers(1, head, "END_HEADERS"))
        framed = message(bomb, flag=1)
        for at in range(0, len(framed), LARGEST_FRAME):
            await connection.send(data(1, framed[at : at + LARGEST_FRAME]))
        await connection.send(data(1, b"", "END_STREAM"))
        answer = await connection.answers(1)
        assert isinstance(answer, dict)
        assert answer["grpc-status"] == "8"
        assert await connection.is_alive()


@pytest.mark.parametrize(
    "pairs",
    [
        [*call_headers(UNARY), ("Upper", "case")],
        [*call_headers(UNARY), ("connection", "close")],
        [*call_headers(UNARY), (":late", "pseudo")],
        [(":method", "POST"), ("te", "trailers")],
        [("te", "trailers")],
    ],
    ids=["upper case", "connection", "pseudo", "no path", "no method"],
)
async def test_malformed_headers_reset_the_stream_or_end_the_connection(
    victim: InteropProcess, pairs: list[tuple[str, str]]
) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, pairs, "END_HEADERS"))
        while connection.heard.goaway is None and connection.heard.reset(1) is None:
            assert await connection.read_frame() is not None
        assert PROTOCOL_ERROR in (connection.heard.goaway, connection.heard.reset(1))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((":method", "GET"), {"405", "400", "200"}),
        (("content-type", "text/html"), {"415"}),
    ],
)
async def test_what_is_no_grpc_call_is_refused(
    victim: InteropProcess, change: tuple[str, str], status: set[str]
) -> None:
    pairs = [change if name == change[0] else (name, value) for name, value in call_headers(UNARY)]
    async with unharmed(victim), raw_connection(victim.port) as connection:
        await connection.send(connection.headers(1, pairs, "END_HEADERS", "END_STREAM"))
        answer = await connection.answers(1)
        assert isinstance(answer, dict)
        assert answer[":status"] in status
        assert answer.get("grpc-status") != "0"
        assert await connection.is_alive()


async def test_frames_of_streams_that_cannot_be_end_the_connection(
    victim: InteropProcess,
) -> None:
    for frame in (data(1, b"idle"), HeadersFrame(2, b"", flags=["END_HEADERS"])):
        async with unharmed(victim), raw_connection(victim.port) as connection:
            await connection.send(frame)
            assert (await connection.end()).goaway == PROTOCOL_ERROR


async def test_data_after_the_end_of_a_stream_is_an_error(victim: InteropProcess) -> None:
    async with unharmed(victim), raw_connection(victim.port) as connection:
        opened = connection.headers(1, call_headers(UNARY), "END_HEADERS")
        body = message(message_of({"wait": "closed"}))
        await connection.send(opened, data(1, body, "END_STREAM"), data(1, b"more"))
        while connection.heard.goaway is None and connection.heard.reset(1) is None:
            assert await connection.read_frame() is not None
        ending = {connection.heard.goaway, connection.heard.reset(1)}
        assert ending & {STREAM_CLOSED, PROTOCOL_ERROR}


async def test_a_reader_that_stops_holds_up_its_own_replies_only(
    victim: InteropProcess,
) -> None:
    """Two hundred streams of 20 MiB each, and a window for not one byte of them."""
    request = message(message_of({"replies": [64 << 10] * 320}))
    no_window = {INITIAL_WINDOW_SIZE: 0}
    async with unharmed(victim), raw_connection(victim.port, no_window) as connection:
        assert await connection.is_alive()  # its window has been opened
        for stream in range(1, 400, 2):
            opened = connection.headers(stream, call_headers(EXPAND), "END_HEADERS")
            await connection.send(opened, data(stream, request, "END_STREAM"))
        assert await connection.is_alive()


async def test_connections_that_stop_anywhere_are_closed(impatient: InteropProcess) -> None:
    """Silence in the preface, before the settings, in headers, and on an idle connection."""
    block = b"\0\1\0" + bytes((1, 0)) + b"\0\0\0\1" + b"half of a header block"
    beginnings = [b"", PREFACE[:10], PREFACE, PREFACE + b"\0\0\0\4\0\0\0\0\0" + block]

    async def stop_after(said: bytes) -> None:
        async with raw_socket(impatient.port) as connection:
            await connection.send(said)
            await connection.end()

    async def answer_no_ping() -> None:
        async with raw_connection(impatient.port) as connection:
            await connection.end()

    async with unharmed(impatient), asyncio.TaskGroup() as group:
        for said in beginnings:
            group.create_task(stop_after(said))
        group.create_task(answer_no_ping())


async def test_a_preface_that_comes_byte_by_byte_has_no_more_time(
    impatient: InteropProcess,
) -> None:
    async with unharmed(impatient), raw_socket(impatient.port) as connection:
        ending = asyncio.create_task(connection.end())
        for byte in PREFACE * 100:
            if not await connection.send(bytes((byte,))):
                break
            done, _ = await asyncio.wait((ending,), timeout=0.2)
            if done:
                break
        await ending


async def test_a_quiet_client_that_answers_pings_is_kept(impatient: InteropProcess) -> None:
    async with raw_connection(impatient.port) as connection:
        answered = 0
        while answered < 3:
            frame = await connection.read_frame()
            assert frame is not None
            assert not isinstance(frame, GoAwayFrame)
            if isinstance(frame, PingFrame):
                await connection.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
                answered += 1
        assert await connection.is_alive()


async def test_very_many_connections_that_say_nothing_are_all_closed(
    impatient: InteropProcess,
) -> None:
    async def open_one() -> None:
        async with raw_socket(impatient.port) as connection:
            await connection.end()

    async with unharmed(impatient), asyncio.TaskGroup() as group:
        for _ in range(500):
            group.create_task(open_one())
