"""TLS of the server, on the transport of the tests: who is let in, and what a new file changes."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import HEALTH_WATCH
from reapi.clients.port_probe import mistake_about
from reapi.clients.tls import ClientTls
from reapi.core.errors import InvalidArgument, Unavailable
from reapi.core.health import HealthService
from reapi.core.tls import ServerTls, TlsFiles
from tests.certificates import new_key
from tests.tls_files import TlsFolder
from tests.transport import rpc_server


@pytest.fixture
def files(tmp_path: Path) -> TlsFolder:
    return TlsFolder(tmp_path / "tls")


@asynccontextmanager
async def serving(files: TlsFiles) -> AsyncIterator[str]:
    health = HealthService(frozenset())
    async with rpc_server(health.methods(), tls=ServerTls(files)) as server:
        yield server.address


async def is_served(address: str, tls: ClientTls) -> bool:
    async with Channel(f"grpcs://{address}", tls=tls, patience_seconds=0) as channel:
        stream = channel.server_stream(HEALTH_WATCH, health_pb2.HealthCheckRequest())
        try:
            reply = await anext(stream)
        except Unavailable:
            return False
        finally:
            await stream.aclose()
    return bool(reply.status == reply.SERVING)


async def shown_name(address: str, files: TlsFolder) -> str:
    """Of the certificate that the next connection is shown."""
    host, _, port = address.rpartition(":")
    context = files.client().context()
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        seen: ssl.SSLObject = writer.get_extra_info("ssl_object")
        binary = seen.getpeercert(binary_form=True)
        assert binary is not None
        assert seen.selected_alpn_protocol() == "h2"
    finally:
        writer.transport.abort()
    found = x509.load_der_x509_certificate(binary)
    return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def test_a_client_that_trusts_the_authority_is_served_and_another_is_not(
    files: TlsFolder, tmp_path: Path
) -> None:
    stranger = TlsFolder(tmp_path / "stranger").client()
    async with serving(files.server) as address:
        assert await is_served(address, files.client())
        assert not await is_served(address, stranger)
        advice = await mistake_about(f"grpcs://{address}", stranger)
    assert advice is not None
    assert "its certificate is not accepted" in advice
    assert "tls_ca_file" in advice


async def test_nothing_but_TLS_is_spoken_where_there_is_a_certificate(files: TlsFolder) -> None:
    async with serving(files.server) as address:
        async with Channel(address, patience_seconds=0) as channel:
            stream = channel.server_stream(HEALTH_WATCH, health_pb2.HealthCheckRequest())
            with pytest.raises(Unavailable):
                await anext(stream)
        assert await mistake_about(address) == (
            f"TLS is spoken there: write its address as grpcs://{address}"
        )


async def test_where_no_TLS_is_spoken_the_advice_is_to_do_without() -> None:
    async with rpc_server([]) as server:
        assert await mistake_about(f"grpcs://{server.address}") == (
            f"no TLS is spoken there: write its address as grpc://{server.address}"
        )


async def test_with_client_authorities_only_their_clients_are_served(
    files: TlsFolder, tmp_path: Path
) -> None:
    known = files.client(has_certificate=True)
    foreign = TlsFolder(tmp_path / "foreign").client(has_certificate=True)
    foreign = ClientTls(str(files.ca), foreign.certificate_file, foreign.key_file)
    async with serving(files.mutual) as address:
        assert await is_served(address, known)
        assert not await is_served(address, files.client())
        assert not await is_served(address, foreign)
        advice = await mistake_about(f"grpcs://{address}", files.client())
        assert advice is not None
        assert "it asks for a certificate of yours" in advice
        advice = await mistake_about(f"grpcs://{address}", foreign)
        assert advice is not None
        assert "it does not accept the certificate in" in advice


async def test_a_new_certificate_is_shown_without_a_restart(files: TlsFolder) -> None:
    async with serving(files.server) as address:
        assert await shown_name(address, files) == "server"
        renewed = files.pair("renewed")
        for new, old in zip(
            renewed, (files.server.key_file, files.server.certificate_file)[::-1], strict=True
        ):
            new.replace(old)
        assert await shown_name(address, files) == "renewed"
        assert await is_served(address, files.client())


async def test_a_bad_new_pair_is_logged_once_and_the_old_one_holds(
    files: TlsFolder, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(files.server) as address:
        _, other_key = files.pair("other")
        other_key.replace(files.server.key_file)
        for _ in range(2):
            assert await shown_name(address, files) == "server"
        (record,) = (one for one in caplog.records if one.name == "reapi.core.tls")
        assert record.levelname == "ERROR"
        assert "is not that of the certificate" in record.message
        files.server.certificate_file.unlink()
        assert await is_served(address, files.client())
        assert "cannot read tls_certificate_file" in caplog.text


def test_files_that_cannot_be_used_are_named_with_the_reason(files: TlsFolder) -> None:
    server = files.server
    missing = server.key_file.with_name("nowhere.key")
    with pytest.raises(InvalidArgument, match=r"cannot read tls_key_file .*nowhere\.key: No such"):
        ServerTls(TlsFiles(server.certificate_file, missing))
    with pytest.raises(InvalidArgument, match="is not that of the certificate"):
        ServerTls(TlsFiles(server.certificate_file, files.pair("other")[1]))
    with pytest.raises(InvalidArgument, match="do not hold a certificate and its key"):
        ServerTls(TlsFiles(server.key_file, server.key_file))
    with pytest.raises(InvalidArgument, match=r"tls_client_ca_file .* holds no certificates"):
        ServerTls(TlsFiles(server.certificate_file, server.key_file, server.key_file))
    encrypted = server.key_file.with_name("encrypted.key")
    encrypted.write_bytes(
        new_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(InvalidArgument, match="is encrypted"):
        ServerTls(TlsFiles(server.certificate_file, encrypted))


async def test_a_certificate_of_a_client_needs_its_key(files: TlsFolder) -> None:
    half = ClientTls(str(files.ca), str(files.pair("half")[0]))
    with pytest.raises(InvalidArgument, match="belong together"):
        await Channel("grpcs://127.0.0.1:1", tls=half).__aenter__()
