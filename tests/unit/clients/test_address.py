"""How the address of a server is written."""

import pytest

from reapi.clients.address import Address, parse_address
from reapi.core.errors import InvalidArgument


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("host:80", Address("host:80")),
        ("grpc://host:80", Address("host:80")),
        ("grpcs://host:443", Address("host:443", is_encrypted=True)),
        ("grpcs://[::1]:443", Address("[::1]:443", is_encrypted=True)),
        ("unix:/run/reapi", Address("unix:/run/reapi")),
        ("unix:///run/reapi", Address("unix:/run/reapi")),
    ],
)
def test_an_address_says_where_the_server_is_and_whether_it_speaks_tls(
    written: str, address: Address
) -> None:
    assert parse_address(written) == address
    assert parse_address(str(address)) == address


def test_host_and_port_are_those_of_a_socket_of_ip() -> None:
    address = parse_address("grpcs://[::1]:443")
    assert (address.host, address.port) == ("::1", 443)
    assert not address.is_socket
    assert parse_address("unix:/run/reapi").is_socket


@pytest.mark.parametrize("written", ["https://host:1", "grpcs://host", "unix:run", "host:1:x"])
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_address(written)
