"""A client of HTTP/2 that sends whatever a test wants, byte by byte, and keeps no rules."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9

ACK = END_STREAM = 1
END_HEADERS = 4

PROTOCOL_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 1, 7, 11


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    def __bytes__(self) -> bytes:
        length = struct.pack(">I", len(self.payload))[1:]
        return length + struct.pack(">BBI", self.kind, self.flags, self.stream) + self.payload

    @property
    def error(self) -> int:
        """The error code of RST_STREAM and GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return int(struct.unpack_from(">I", self.payload, at)[0])


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return bytes(Frame(kind, flags, stream, payload))


def message(body: bytes, *, compressed: int = 0) -> bytes:
    """As gRPC frames it."""
    return struct.pack(">BI", compressed, len(body)) + body


def request_headers(path: str, **changed: str | None) -> dict[str, str]:
    """Of a gRPC call. `changed` replaces some, or takes them away; `_` stands for `-`."""
    headers: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    for name, value in changed.items():
        pseudo = f":{name}"
        headers[pseudo if pseudo in headers else name.replace("_", "-")] = value
    return {name: value for name, value in headers.items() if value is not None}


GREETING = PREFACE + frame(SETTINGS) + frame(SETTINGS, flags=ACK)
"""Takes the server's settings for granted before they have come."""


class Http2Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = hpack.Decoder()

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int, *, greeting: bytes | None = None) -> AsyncIterator[Self]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GREETING if greeting is None else greeting)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def drain(self) -> None:
        """Waits until what was sent is mostly gone. OSError when the server has closed."""
        await self._writer.drain()

    @property
    def unsent_bytes(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    @staticmethod
    def headers(
        stream: int, headers: dict[str, str], *, ends: bool = False, end_headers: bool = True
    ) -> bytes:
        block = hpack.Encoder().encode(headers.items(), huffman=False)
        flags = ends * END_STREAM | end_headers * END_HEADERS
        return frame(HEADERS, block, flags=flags, stream=stream)

    def call(self, stream: int, path: str, body: bytes = b"", **changed: str | None) -> bytes:
        """A whole unary call."""
        data = frame(DATA, message(body), flags=END_STREAM, stream=stream)
        return self.headers(stream, request_headers(path, **changed)) + data

    async def next_frame(self) -> Frame | None:
        """None when the server has closed the connection."""
        try:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return Frame(kind, flags, stream, payload)

    async def until(self, kind: int, *, stream: int | None = None) -> Frame:
        """The next frame of a kind; fails when the connection ends before."""
        while (one := await self.next_frame()) is not None:
            if one.kind == HEADERS and kind != HEADERS:
                self.decode(one)
            if one.kind == kind and stream in (None, one.stream):
                return one
        raise AssertionError(f"the connection ended without a frame of kind {kind}")

    async def headers_of(self, stream: int) -> dict[str, str]:
        """The next headers, or trailers, of a stream."""
        while True:
            one = await self.until(HEADERS)
            headers = self.decode(one)
            if one.stream == stream:
                return headers

    def decode(self, one: Frame) -> dict[str, str]:
        return {str(name): str(value) for name, value in self._decoder.decode(one.payload)}

    async def ending(self) -> int | None:
        """The error of the GOAWAY that the connection ends with, None without one."""
        error = None
        while (one := await self.next_frame()) is not None:
            if one.kind == GOAWAY:
                error = one.error
        return error
