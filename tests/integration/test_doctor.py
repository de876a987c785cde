"""`reapi-cli doctor` against real servers: each misconfiguration is one clear sentence."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.channel import Channel
from reapi.clients.doctor import Check, Doctor
from reapi.clients.methods import LIST_RESULTS
from reapi.clients.settings import Settings
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.server.http import make_app, serve_http
from tests.certificates import certificate, new_key, private_pem
from tests.integration.system import System, open_system
from tests.integration.test_access import auth, token_of
from tests.ports import lasting_port


async def examine(server: str, *, read_only: bool = False, **settings: Any) -> dict[str, Check]:
    doctor = Doctor(Settings(server=server, **settings), read_only=read_only)
    return {check.name: check async for check in doctor.examine()}


def names(checks: dict[str, Check], *, is_ok: bool) -> Sequence[str]:
    return [name for name, check in checks.items() if check.is_ok is is_ok]


def token_file(folder: Path, role: str) -> str:
    file = folder / f"{role}.token"
    file.write_text(token_of(role))
    return str(file)


@pytest.fixture
async def guarded(open_path: Path) -> AsyncIterator[System]:
    async with open_system(open_path, auth=auth(open_path)) as system, system.worker():
        yield system


async def test_all_is_well(system: System) -> None:
    checks = await examine(system.address)
    assert names(checks, is_ok=True) == ["server", "blobs", "results", "execution"]
    assert not any(check.advice for check in checks.values())


async def test_a_writer_of_a_server_that_asks_is_well(guarded: System, open_path: Path) -> None:
    checks = await examine(guarded.address, token_file=token_file(open_path, "writer"))
    assert names(checks, is_ok=True) == ["server", "blobs", "results", "execution"]


async def test_a_reader_who_is_to_store_results_is_told_what_to_set(
    guarded: System, open_path: Path
) -> None:
    checks = await examine(guarded.address, token_file=token_file(open_path, "reader"))
    assert names(checks, is_ok=True) == ["server"]
    assert checks["results"].message == (
        "this client may not store results: what it compiles, everybody compiles again"
    )
    assert "read_only = true under [compile]" in checks["results"].advice
    assert "reader (reader) may not store blobs" in checks["blobs"].message
    assert "read_only = true" in checks["blobs"].advice
    assert "this client may not have actions executed" in checks["execution"].message


async def test_a_reader_who_is_to_read_only_is_well_and_stores_nothing(
    guarded: System, open_path: Path
) -> None:
    file = token_file(open_path, "reader")
    checks = await examine(guarded.address, read_only=True, token_file=file)
    assert names(checks, is_ok=True) == ["server", "blobs", "results"]
    async with Channel(guarded.address, token=token_of("operator")) as channel:
        replies = channel.server_stream(LIST_RESULTS, admin_pb2.ListResultsRequest())
        assert [reply async for reply in replies] == []


async def test_a_runner_is_told_that_its_results_are_not_shared(
    guarded: System, open_path: Path
) -> None:
    checks = await examine(guarded.address, token_file=token_file(open_path, "runner"))
    assert names(checks, is_ok=False) == ["results"]


async def test_a_token_that_is_not_known_or_not_shown_is_told(
    guarded: System, open_path: Path
) -> None:
    file = open_path / "mine.token"
    file.write_text("a token of another server")
    checks = await examine(guarded.address, token_file=str(file))
    assert list(checks) == ["server"]
    assert "not one of this server's" in checks["server"].message
    assert checks["server"].advice.startswith(f"the token in {file} was shown")
    checks = await examine(guarded.address)
    assert list(checks) == ["server"]
    assert checks["server"].advice.startswith("no token was shown: set REAPI_TOKEN_FILE")


@pytest.mark.parametrize(
    ("instance_name", "words"),
    [
        ("mian", "no instance 'mian' here; this server has '', 'buck2', 'main'"),
        ("buck2", "it does not serve digest function SHA256, but BLAKE3"),
    ],
)
async def test_a_wrong_instance_is_told_with_what_there_is(
    idle_system: System, instance_name: str, words: str
) -> None:
    checks = await examine(idle_system.address, instance_name=instance_name)
    assert list(checks) == ["server"]
    assert words in checks["server"].message
    assert "set instance_name (REAPI_INSTANCE)" in checks["server"].advice


async def test_a_server_without_a_worker_is_told(idle_system: System) -> None:
    checks = await examine(idle_system.address)
    assert names(checks, is_ok=False) == ["execution"]
    assert checks["execution"].message.startswith("no worker has joined this server")
    assert "reapi-cli workers" in checks["execution"].advice


async def test_a_server_that_only_caches_is_told(open_path: Path) -> None:
    server = {"listen": "127.0.0.1:0", "roles": ("frontend",)}
    async with open_system(open_path, server=server, instances={}) as system:
        checks = await examine(system.address)
    assert names(checks, is_ok=False) == ["execution"]
    assert "this server does not execute actions" in checks["execution"].message


async def test_a_full_store_is_told(open_path: Path) -> None:
    async with open_system(open_path, storage={"max_size_bytes": 1000}) as system:
        checks = await examine(system.address)
    assert not checks["blobs"].is_ok
    assert "storage.max_size_bytes" in checks["blobs"].advice


async def test_a_port_that_nobody_listens_on_is_told() -> None:
    checks = await examine(f"127.0.0.1:{lasting_port()}")
    assert list(checks) == ["server"]
    assert "Connection refused" in checks["server"].message
    assert checks["server"].advice.startswith("the address is that of --server, REAPI_SERVER")


async def test_the_http_port_is_told_from_the_grpc_port() -> None:
    async def nothing() -> bytes:
        return b""

    app = make_app(nothing, lambda: None)
    async with serve_http(app, "127.0.0.1:0") as port:
        checks = await examine(f"127.0.0.1:{port}")
    assert checks["server"].advice.startswith("that is an HTTP port, not the gRPC one")


@asynccontextmanager
async def tls_server(folder: Path) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = new_key()
    file = folder / "server.pem"
    file.write_bytes(private_pem(key) + certificate("server", key, key))
    context.load_cert_chain(file)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_port_that_speaks_tls_is_told(tmp_path: Path) -> None:
    async with tls_server(tmp_path) as port:
        checks = await examine(f"127.0.0.1:{port}")
    assert checks["server"].advice.startswith("TLS is spoken there")


async def test_a_port_of_something_else_is_not_guessed_about() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        checks = await examine(f"127.0.0.1:{port}")
    assert checks["server"].advice.startswith("the address is that of")
