"""How the address of a peer is written."""

import asyncio
import socket


def address_of(transport: asyncio.BaseTransport) -> str:
    """ "ipv4:127.0.0.1:1234", "ipv6:[::1]:1234" or "unix:"."""
    connected = transport.get_extra_info("socket")
    peer = transport.get_extra_info("peername")
    if connected is None or connected.family == socket.AF_UNIX or not peer:
        return "unix:"
    host, port = peer[:2]
    if connected.family == socket.AF_INET6:
        return f"ipv6:[{host}]:{port}"
    return f"ipv4:{host}:{port}"
