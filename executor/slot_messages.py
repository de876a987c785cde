"""JSON objects on the control socket of a slot process, each behind its length as four bytes.

It imports nothing but light parts of the standard library, as slot_process.py says.
"""

import json
import socket
import struct
from typing import Any


def read_message(control: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other side is gone."""
    header = _read_exactly(control, 4)
    body = _read_exactly(control, struct.unpack("!I", header)[0]) if header else None
    return json.loads(body) if body else None


def frame(message: dict[str, Any]) -> bytes:
    """A message as it stands on the socket."""
    body = json.dumps(message).encode()
    return struct.pack("!I", len(body)) + body


def _read_exactly(control: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = control.recv(size - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)
