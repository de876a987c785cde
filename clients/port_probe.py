"""What listens where no gRPC server answers, for somebody who has mistaken one port for another."""

import asyncio
import ssl
from contextlib import suppress

from reapi.core.errors import InvalidArgument

from .address import Address, parse_address
from .tls import SYSTEM_TLS, ClientTls

_SECONDS = 3.0
_QUESTION = b"GET / HTTP/1.0\r\n\r\n"


async def mistake_about(server: str, tls: ClientTls = SYSTEM_TLS) -> str | None:
    """What to do about the address, if it is that of something else, or about TLS; None where
    nobody knows."""
    address = parse_address(server)
    if address.is_socket:
        return None
    if address.is_encrypted:
        return await _mistake_about_tls(address, tls)
    if await _speaks_tls(address):
        return f"TLS is spoken there: write its address as grpcs://{address.target}"
    if (await _answer(address)).startswith(b"HTTP/"):
        return (
            "that is an HTTP port, not the gRPC one: a server has both, 8080 and 8980 unless its "
            "settings say otherwise"
        )
    return None


async def _speaks_tls(address: Address) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing secret is said
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
            writer.transport.abort()
        return True
    return False


async def _mistake_about_tls(address: Address, tls: ClientTls) -> str | None:
    """What a handshake of our own ends with, since gRPC does not say it."""
    try:
        context = tls.context()
    except InvalidArgument as error:
        return error.message
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return (
            f"its certificate is not accepted ({error.verify_message}): set tls_ca_file "
            "(REAPI_TLS_CA_FILE) to the authority that signed it, and write the server by a name "
            "that the certificate has"
        )
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            return f"no TLS is spoken there: write its address as grpc://{address.target}"
        return f"TLS fails there: {error.reason or error}"
    except (OSError, TimeoutError):
        return None
    return None if await _greets(reader, writer) else _refusal(tls)


async def _greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the server begins to talk, as it does unless it refuses the client's certificate:
    that it does only after the handshake."""
    try:
        async with asyncio.timeout(_SECONDS):
            return bool(await reader.read(1))
    except TimeoutError:
        return True  # nobody knows what it waits for
    except OSError:
        return False
    finally:
        writer.transport.abort()


def _refusal(tls: ClientTls) -> str:
    if tls.certificate_file is None:
        return (
            "it asks for a certificate of yours: set tls_client_certificate_file and "
            "tls_client_key_file"
        )
    return f"it does not accept the certificate in {tls.certificate_file}"


async def _answer(address: Address) -> bytes:
    """The first bytes that are said to a browser."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(_QUESTION)
                return await reader.read(len(_QUESTION))
            finally:
                writer.transport.abort()
    return b""
