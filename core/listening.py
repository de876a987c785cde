"""Addresses that a server listens on: HOST:PORT, or unix:/PATH for a socket in the file system."""

import os
import socket
import stat
from pathlib import Path
from typing import Self

from .errors import InvalidArgument, Unavailable

_UNIX = "unix:"
_LONGEST_PATH_BYTES = 107
"""What the kernel has room for in the address of a socket."""


def socket_path(address: str) -> Path | None:
    """The path of `unix:/PATH` or `unix:///PATH`; None for an address of another kind.

    Raises InvalidArgument for a path that no socket can have.
    """
    if not address.startswith(_UNIX):
        return None
    path = address.removeprefix(_UNIX)
    if path.startswith("//"):
        path = path[2:]
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise InvalidArgument(f"{address!r}: write a socket as unix:/PATH, with an absolute path")
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise InvalidArgument(
            f"{address!r}: the path of a socket has {_LONGEST_PATH_BYTES} bytes at most"
        )
    return Path(path)


def address_in_use(listen: str, port: int) -> str:
    """Where a server that was to listen on `listen` is found: port 0 gives way to the real one."""
    return listen if listen.startswith(_UNIX) else f"{listen.rpartition(':')[0]}:{port}"


def cannot_listen(listen: str) -> Unavailable:
    """The error of an address that somebody else listens on, or that is not ours to take."""
    what = "socket" if listen.startswith(_UNIX) else "port"
    return Unavailable(f"cannot listen on {listen}: is the {what} in use?")


def refuse_port_in_use(listen: str) -> None:
    """Raises Unavailable when somebody listens on HOST:PORT; call it before sharing the port.

    A port that is shared from the start would be shared with any other process of the same user,
    such as a second server by mistake, and each would get some of the connections. Of two servers
    that start in the same instant neither is refused.
    """
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # Connections that were closed lately do not matter, as to gRPC.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except (OSError, ValueError) as error:
        raise cannot_listen(listen) from error


class SocketFile:
    """The file of a listening socket, from before the server binds it until after it has ended.

    One that a dead server left is removed on entry; Unavailable when a living one answers there, or
    when something else is at the path. Removed on exit, unless another server has it by then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return self
        except OSError as error:
            raise self._refusal() from error
        if not stat.S_ISSOCK(found.st_mode):
            raise Unavailable(f"cannot listen on {_UNIX}{self._path}: it is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(os.fspath(self._path))
            except ConnectionRefusedError:
                self._path.unlink(missing_ok=True)
                return self
            except OSError as error:
                raise self._refusal() from error
        raise self._refusal()

    def bound(self) -> None:
        """The server has made the file: it is ours to remove."""
        found = self._path.lstat()
        self._identity = found.st_dev, found.st_ino

    def __exit__(self, *_: object) -> None:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) == self._identity:
            self._path.unlink(missing_ok=True)

    def _refusal(self) -> Unavailable:
        return cannot_listen(f"{_UNIX}{self._path}")
