"""What listens where no gRPC server answers, for somebody who has mistaken one port for another."""

import asyncio
import ssl
from contextlib import suppress

from .channel import parse_address

_SECONDS = 3.0
_QUESTION = b"GET / HTTP/1.0\r\n\r\n"


async def mistake_about(server: str) -> str | None:
    """What to do about the address, if it is that of something else; None where nobody knows."""
    host, _, port = parse_address(server).rpartition(":")
    host = host.strip("[]")
    if await _speaks_tls(host, int(port)):
        return (
            "TLS is spoken there, and this client speaks none: use the address of the server's "
            "plain gRPC port, or of a tunnel to it"
        )
    if (await _answer(host, int(port))).startswith(b"HTTP/"):
        return (
            "that is an HTTP port, not the gRPC one: a server has both, 8080 and 8980 unless its "
            "settings say otherwise"
        )
    return None


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing secret is said
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
        return True
    return False


async def _answer(host: str, port: int) -> bytes:
    """The first bytes that are said to a browser."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_QUESTION)
                return await reader.read(len(_QUESTION))
            finally:
                writer.transport.abort()
    return b""
