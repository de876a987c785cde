"""Ports for servers that tests start at a known address, some of them again and again."""

import random
import socket
from contextlib import suppress
from pathlib import Path

_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_random = random.SystemRandom()  # Hypothesis seeds the other one


def lasting_port() -> int:
    """Nobody listens on it on the loopback interface, and no socket gets it by chance.

    The system would give a port of its own choice to anybody's connection while the server is
    down: even to a client that tries to reach that server, and so would reach itself.
    """
    highest = max(int(_GIVEN_OUT.read_text().split()[0]), _LOWEST + 10_000)
    while True:
        port = _random.randrange(_LOWEST, highest)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
