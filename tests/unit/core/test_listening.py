"""Sockets in the file system as addresses: how they are written, taken and left behind."""

import socket
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import HEALTH_WATCH
from reapi.core.errors import InvalidArgument, Unavailable
from reapi.core.health import HealthService
from reapi.core.listening import address_in_use, socket_path
from tests.transport import rpc_server


def test_a_socket_is_written_with_one_slash_or_with_three() -> None:
    assert socket_path("unix:/run/reapi") == Path("/run/reapi")
    assert socket_path("unix:///run/reapi") == Path("/run/reapi")


@pytest.mark.parametrize("address", ["unix:", "unix:run", "unix://run/x", "unix:/" + "x" * 107])
def test_a_path_that_no_socket_can_have_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument, match="socket"):
        socket_path(address)


def test_the_address_in_use_has_the_port_that_was_found() -> None:
    assert address_in_use("[::1]:0", 8) == "[::1]:8"
    assert address_in_use("unix:/x", 0) == "unix:/x"


async def test_calls_are_served_on_a_socket_which_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "server"
    health = HealthService(frozenset())
    async with rpc_server(health.methods(), listen=f"unix:{path}") as server:
        assert server.address == f"unix:{path}"
        assert server.port == 0
        async with Channel(server.address) as channel:
            stream = channel.server_stream(HEALTH_WATCH, health_pb2.HealthCheckRequest())
            reply = await anext(stream)
            await stream.aclose()
        assert reply.status == reply.SERVING
    assert not path.exists()


async def test_a_socket_where_somebody_answers_is_not_taken(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/server"
    async with rpc_server([], listen=listen):
        with pytest.raises(Unavailable, match="is the socket in use"):
            await rpc_server([], listen=listen).__aenter__()
        assert (tmp_path / "server").is_socket()


async def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "server"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with rpc_server([], listen=f"unix:{path}"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))


async def test_a_file_in_the_place_of_the_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "server"
    path.write_text("precious")
    with pytest.raises(Unavailable, match="it is no socket"):
        await rpc_server([], listen=f"unix:{path}").__aenter__()
    assert path.read_text() == "precious"
