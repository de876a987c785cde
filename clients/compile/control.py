"""A word to the daemon of this user, from a process that can wait for the answer."""

import json
import os
import socket
from typing import Any

from .messages import (
    FINISHED,
    IS_CONTROL,
    REPLY_HEAD_BYTES,
    MessageError,
    decode_reply_head,
    encode_request,
)
from .model import Invocation

_ANSWER_SECONDS = 10.0


def ask_daemon(socket_path: str, word: str) -> dict[str, Any] | None:
    """Facts about the daemon, which has flushed its files; None: none runs, or it is not ours.

    `stop` lets it end after the calls that are under way. Raises TimeoutError.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(socket_path)
            connection.sendall(encode_request(Invocation((word,), os.sep, {}), flags=IS_CONTROL))
            head = decode_reply_head(_receive(connection, REPLY_HEAD_BYTES))
            facts = json.loads(_receive(connection, head.stdout_size))
        except TimeoutError:
            raise
        except (OSError, MessageError, ValueError):
            return None
    return facts if head.kind == FINISHED and isinstance(facts, dict) else None


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise MessageError("the daemon has gone")
        received += part
    return bytes(received)
