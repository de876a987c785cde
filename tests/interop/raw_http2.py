"""A connection on which a test sends whatever bytes it likes, and reads what the server says.

Frames are built and parsed by hyperframe and hpack; nothing here keeps to the protocol by itself.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11

END_DEADLINE_SECONDS = 40
_HEADER_BYTES = 9


@dataclass
class Heard:
    """What the server has said by now."""

    frames: list[Frame] = field(default_factory=list)

    @property
    def goaway(self) -> int | None:
        """The code of its last GOAWAY, if there was one."""
        codes = [frame.error_code for frame in self.frames if isinstance(frame, GoAwayFrame)]
        return codes[-1] if codes else None

    def reset(self, stream: int) -> int | None:
        """The code with which it ended a stream, if it did."""
        for frame in self.frames:
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return frame.error_code
        return None


class RawConnection:
    """Both directions of a socket. Unless it `is_deaf` it takes what the server says at once.

    Not a StreamReader: that forgets what has come when the connection breaks afterwards.
    """

    def __init__(self, connection: socket.socket, *, is_deaf: bool) -> None:
        self._socket = connection
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._received = bytearray()
        self._is_over = False
        self._changed = asyncio.Event()
        self._reading = None if is_deaf else asyncio.create_task(self._read())
        self.heard = Heard()

    async def close(self) -> None:
        """Without waiting for the server."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))
        self._socket.close()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_over:
            try:
                received = await loop.sock_recv(self._socket, 1 << 16)
            except OSError:
                received = b""
            self._received += received
            self._is_over = not received
            self._changed.set()

    async def _take(self, count: int) -> bytes | None:
        """So many bytes; None when the server has hung up before."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        while len(self._received) < count:
            if self._is_over:
                return None
            self._changed.clear()
            await self._changed.wait()
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    async def send(self, *parts: bytes | Frame) -> bool:
        """False when the server has hung up."""
        content = b"".join(part.serialize() if isinstance(part, Frame) else part for part in parts)
        await asyncio.sleep(0)  # a socket with room would not let the others have their turn
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, content)
        except OSError:
            return False
        return True

    async def flood(self, part: bytes, times: int) -> None:
        """The same again and again, until the server hangs up."""
        for _ in range(times):
            if not await self.send(part):
                return

    def headers(
        self,
        stream: int,
        pairs: Sequence[tuple[str, str]],
        *flags: str,
    ) -> HeadersFrame:
        """A block of headers."""
        return HeadersFrame(stream, self._encoder.encode(pairs), flags=flags)

    async def read_frame(self) -> Frame | None:
        """The next one; None when the server has hung up."""
        head = await self._take(_HEADER_BYTES)
        if head is None:
            return None
        frame, length = Frame.parse_frame_header(memoryview(head))
        body = await self._take(length)
        if body is None:
            return None
        frame.parse_body(memoryview(body))
        self.heard.frames.append(frame)
        return frame

    async def hang_up(self) -> None:
        """Waits until the server has hung up, whatever it says before, frames or not."""
        async with asyncio.timeout(END_DEADLINE_SECONDS):
            while await self._take(1) is not None:
                continue

    async def end(self) -> Heard:
        """All that it says until it hangs up, which it has to."""
        async with asyncio.timeout(END_DEADLINE_SECONDS):
            while await self.read_frame() is not None:
                continue
        return self.heard

    async def answers(self, stream: int) -> dict[str, str] | int:
        """The headers and trailers of a stream that ends, or the code of its reset."""
        found: dict[str, str] = {}
        async with asyncio.timeout(END_DEADLINE_SECONDS):
            while frame := await self.read_frame():
                if isinstance(frame, HeadersFrame):
                    pairs = self._decoder.decode(frame.data)
                    if frame.stream_id == stream:
                        found.update(pairs)
                if frame.stream_id != stream:
                    continue
                if isinstance(frame, RstStreamFrame):
                    return found or frame.error_code
                if "END_STREAM" in frame.flags:
                    return found
        raise AssertionError(f"the connection ended: {self.heard}")

    async def is_alive(self) -> bool:
        """Whether the server still answers a ping."""
        await self.send(PingFrame(0, b"isalive?"))
        async with asyncio.timeout(END_DEADLINE_SECONDS):
            while frame := await self.read_frame():
                if isinstance(frame, PingFrame) and frame.opaque_data == b"isalive?":
                    return True
        return False


def call_headers(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Those of an ordinary call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


def message(data: bytes, *, flag: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return bytes((flag,)) + len(data).to_bytes(4, "big") + data


def data(stream: int, content: bytes, *flags: str) -> DataFrame:
    return DataFrame(stream, content, flags=flags)


def window_update(stream: int, increment: int) -> WindowUpdateFrame:
    return WindowUpdateFrame(stream, window_increment=increment)


@asynccontextmanager
async def raw_socket(port: int, *, is_deaf: bool = False) -> AsyncIterator[RawConnection]:
    """A connection on which nothing has been said yet."""
    with socket.socket() as plain:
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        connection = RawConnection(plain, is_deaf=is_deaf)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def raw_connection(
    port: int, settings: dict[int, int] | None = None, *, is_deaf: bool = False
) -> AsyncIterator[RawConnection]:
    """A connection whose preface and settings have been sent."""
    async with raw_socket(port, is_deaf=is_deaf) as connection:
        acknowledged = SettingsFrame(0, flags=["ACK"])
        await connection.send(PREFACE, SettingsFrame(0, settings=settings or {}), acknowledged)
        yield connection
