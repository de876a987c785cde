"""The address of a server as users write it: where it is, and whether TLS is spoken there."""

from dataclasses import dataclass

from reapi.core.errors import InvalidArgument
from reapi.core.listening import socket_path

_ENCRYPTED = "grpcs"
_SCHEMES = ("grpc", _ENCRYPTED)


@dataclass(frozen=True, slots=True)
class Address:
    """`target` is HOST:PORT or unix:/PATH, as gRPC takes it."""

    target: str
    is_encrypted: bool = False

    def __str__(self) -> str:
        return f"{_ENCRYPTED}://{self.target}" if self.is_encrypted else self.target

    @property
    def is_socket(self) -> bool:
        """Whether it is in the file system of this machine."""
        return socket_path(self.target) is not None

    @property
    def host(self) -> str:
        """A name or an address of IP without brackets; not of a socket."""
        return self.target.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Not of a socket."""
        return int(self.target.rpartition(":")[2])


def parse_address(server: str) -> Address:
    """What a user writes: `grpc://HOST:PORT` or HOST:PORT, `grpcs://HOST:PORT` for TLS, or
    `unix:/PATH`. Raises InvalidArgument."""
    path = socket_path(server)
    if path is not None:
        return Address(f"unix:{path}")
    scheme, separator, rest = server.rpartition("://")
    if separator and scheme not in _SCHEMES:
        raise InvalidArgument(
            f"server {server!r}: write it as grpc://HOST:PORT, as grpcs://HOST:PORT for TLS, or as "
            "unix:/PATH"
        )
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        written = f"{scheme or 'grpc'}://HOST:PORT"
        raise InvalidArgument(f"server {server!r} has no port: write it as {written}")
    return Address(rest, is_encrypted=scheme == _ENCRYPTED)
