"""Sockets of an address to listen on."""

import socket

BACKLOG = 1024
"""Connections that the system keeps until they are accepted; asyncio asks for it once more."""


def listen_on(address: str, *, shares_port: bool) -> list[socket.socket]:
    """Listening sockets for "HOST:PORT" or "[::1]:PORT": one for each address of the host.

    All have the same port, also when port 0 lets the system choose. "[::]" takes IPv4 as well.
    Raises OSError when that cannot be, and ValueError for what is no address.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    found = socket.getaddrinfo(
        host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in found:
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shares_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            chosen = where[1] or sockets[0].getsockname()[1]
            one.bind((where[0], chosen, *where[2:]))
            one.listen(BACKLOG)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets
