"""Where a server listens, and TLS."""

import asyncio
import socket
import ssl

import grpc
import grpc.aio
import pytest
from reapi_transport import Call, Method

from tests.certificates import certificate, new_key, private_pem
from tests.unit.transport import methods


async def test_a_unix_socket_is_served(serve, stack, tmp_path):
    path = tmp_path / "socket"
    seen = []

    async def handler(request: bytes, call: Call) -> bytes:
        seen.append(call.peer)
        return request

    row = Method("/test/Handler", False, False, handler)
    server = await serve(row, address=f"unix:{path}")
    # Of itself C-core names the path as the authority, which is none.
    options = [("grpc.default_authority", "localhost")]
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{path}", options))
    assert await channel.unary_unary(row.path)(b"x") == b"x"
    assert seen == ["unix:"]
    assert server.port == 0


async def test_ipv6_is_served(serve, stack):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = await serve(*methods.ALL, address="[::1]:0")
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"[::1]:{server.port}"))
    assert await channel.unary_unary("/test/Echo")(b"x") == b"x"


async def test_every_address_takes_ipv4_too(serve, connect):
    try:
        server = await serve(*methods.ALL, address="[::]:0")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert await (await connect(server)).unary_unary("/test/Echo")(b"x") == b"x"


async def test_a_port_in_use_is_an_error_unless_it_is_shared(serve):
    server = await serve(*methods.ALL)
    with pytest.raises(OSError, match="in use"):
        await serve(*methods.ALL, address=f"127.0.0.1:{server.port}")
    first = await serve(*methods.ALL, shares_port=True)
    await serve(*methods.ALL, address=f"127.0.0.1:{first.port}", shares_port=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:http"])
async def test_what_is_no_address_is_refused(serve, address):
    with pytest.raises(ValueError, match="invalid literal"):
        await serve(*methods.ALL, address=address)


async def test_a_method_has_one_handler(serve):
    with pytest.raises(ValueError, match="/test/Echo"):
        await serve(methods.ECHO, methods.ECHO)


class Identities:
    """An authority with a server and a client that it vouches for."""

    def __init__(self, directory) -> None:
        self._directory = directory
        self.authority = new_key()
        self.authority_pem = certificate("authority", self.authority, self.authority)
        self.renew()

    def renew(self) -> None:
        self.key = new_key()
        self.pem = certificate("server", self.key, self.authority)
        (self._directory / "certificate").write_bytes(self.pem)
        (self._directory / "key").write_bytes(private_pem(self.key))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._directory / "certificate", self._directory / "key")
        return context

    def mutual_context(self) -> ssl.SSLContext:
        context = self.context()
        context.load_verify_locations(cadata=self.authority_pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def identities(tmp_path) -> Identities:
    return Identities(tmp_path)


async def test_tls_is_served_and_large_messages_pass(serve, stack, identities):
    server = await serve(*methods.ALL, tls=identities.context)
    credentials = grpc.ssl_channel_credentials(identities.authority_pem)
    channel = await stack.enter_async_context(
        grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials)
    )
    request = bytes(3 << 20)
    assert await channel.unary_unary("/test/Echo")(request) == request


async def test_a_client_certificate_says_who_calls(serve, stack, identities):
    seen = []

    async def handler(request: bytes, call: Call) -> bytes:
        seen.append(call.peer_certificate)
        return b""

    row = Method("/test/Handler", False, False, handler)
    server = await serve(row, tls=identities.mutual_context)
    key = new_key()
    credentials = grpc.ssl_channel_credentials(
        identities.authority_pem, private_pem(key), certificate("alice", key, identities.authority)
    )
    channel = await stack.enter_async_context(
        grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials)
    )
    await channel.unary_unary(row.path)(b"")
    assert "alice" in str(seen[0]["subject"])


async def test_a_client_without_a_certificate_is_refused(serve, stack, identities):
    server = await serve(*methods.ALL, tls=identities.mutual_context)
    credentials = grpc.ssl_channel_credentials(identities.authority_pem)
    channel = await stack.enter_async_context(
        grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials)
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test/Echo")(b"")
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def shown_certificate(port: int, protocols: list[str]) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    taken = await reader.read(1)
    writer.transport.abort()
    return shown if taken else None


async def test_a_new_certificate_is_shown_to_new_connections(serve, identities):
    server = await serve(*methods.ALL, tls=identities.context)
    before = await shown_certificate(server.port, ["h2"])
    identities.renew()
    assert before is not None
    assert await shown_certificate(server.port, ["h2"]) == ssl.PEM_cert_to_DER_cert(
        identities.pem.decode()
    )


async def test_a_client_that_does_not_ask_for_http2_is_refused(serve, identities):
    server = await serve(*methods.ALL, tls=identities.context)
    assert await shown_certificate(server.port, ["http/1.1"]) is None
