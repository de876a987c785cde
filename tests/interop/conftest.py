"""The interop service on each transport, in a process of its own, and the clients that call it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import certificate, new_key, private_pem
from tests.go_programs import build_go

from .process import InteropProcess
from .transports import GRPC_AIO, NATIVE, has_native

HERE = Path(__file__).parent

TRANSPORTS = [
    GRPC_AIO,
    pytest.param(
        NATIVE,
        marks=pytest.mark.skipif(not has_native(), reason="reapi_transport is not installed"),
    ),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes and takes seconds."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Which transport serves."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def interop(transport: str) -> Iterator[InteropProcess]:
    """One server for all tests of a process; a test that could harm it starts its own."""
    with InteropProcess(transport) as running:
        yield running


@pytest.fixture(scope="session")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """server.pem, client.pem and authority.pem, with a key beside each of the first two."""
    folder = tmp_path_factory.mktemp("tls")
    authority = new_key()
    (folder / "authority.pem").write_bytes(certificate("authority", authority, authority))
    for name in ("server", "client"):
        key = new_key()
        (folder / f"{name}.pem").write_bytes(certificate(name, key, authority))
        (folder / f"{name}.key").write_bytes(private_pem(key))
    return folder


@pytest.fixture(scope="session")
def tls_server(transport: str, tls_folder: Path) -> Iterator[InteropProcess]:
    """The same over TLS."""
    with InteropProcess(transport, tls_folder) as running:
        yield running


@pytest.fixture(scope="session")
def mtls_server(transport: str, tls_folder: Path) -> Iterator[InteropProcess]:
    """The same over TLS, only for clients with a certificate."""
    with InteropProcess(transport, tls_folder, asks_clients=True) as running:
        yield running


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program of this folder."""
    return build_go(HERE / "go", tmp_path_factory.mktemp("go") / "interop-client")
