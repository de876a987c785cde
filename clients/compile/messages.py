"""The messages between a stub and the daemon.

A stub sends one request, the daemon answers with one reply, perhaps after a WORKING; integers are
32 bits in network order. Request: magic, size of the rest, flags, umask, session, number of
arguments, and then, each with a NUL behind it: the working directory, the arguments, the variables
of the environment. Reply: magic, kind, exit code, sizes of stdout and stderr, stdout, stderr.
`stub.c` and `python_stub.py` are the other side; a change of theirs is a new magic.
"""

import struct
from dataclasses import dataclass

from .model import Invocation

MAGIC = 0x52434331
STDERR_IS_TERMINAL = 1
IS_CONTROL = 2
"""The arguments are a word to the daemon itself, not a call of a compiler."""

FINISHED, LOCAL, WORKING = range(3)

_REQUEST_HEAD = struct.Struct("!IIIIII")
_REPLY_HEAD = struct.Struct("!IIIII")
REPLY_HEAD_BYTES = _REPLY_HEAD.size
_LARGEST_BODY_BYTES = 8 << 20
"""More than the kernel lets arguments and environment of a process have."""
LARGEST_OUTPUT_BYTES = 256 << 20

WORKING_REPLY = _REPLY_HEAD.pack(MAGIC, WORKING, 0, 0, 0)


class MessageError(ValueError):
    """Bytes that no stub of this version sends."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call, and the session (as of getsid) that its stub belongs to."""

    invocation: Invocation
    session: int
    is_control: bool


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What a reply begins with."""

    kind: int
    exit_code: int
    stdout_size: int
    stderr_size: int


class RequestReader:
    """Puts a request together from what arrives."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, received: bytes) -> Request | None:
        """The request once it is whole; raises MessageError as soon as it cannot be one."""
        message: bytes | bytearray = received
        if self._received:
            self._received += received
            message = self._received
        if len(message) >= _REQUEST_HEAD.size:
            size = _size(message)
            if len(message) == size:
                return _decode(message)
            if len(message) > size:
                raise MessageError("more than one request")
        if message is received:
            self._received += received
        return None


def _size(message: bytes | bytearray) -> int:
    magic, body_size, *_ = _REQUEST_HEAD.unpack_from(message)
    if magic != MAGIC:
        raise MessageError("a stub of another version, or none")
    if body_size > _LARGEST_BODY_BYTES:
        raise MessageError(f"a request of {body_size} bytes")
    return _REQUEST_HEAD.size + int(body_size)


def _decode(message: bytes | bytearray) -> Request:
    _, _, flags, umask, session, count = _REQUEST_HEAD.unpack_from(message)
    words = message[_REQUEST_HEAD.size :].decode("utf-8", "surrogateescape").split("\0")
    if not 1 <= count <= len(words) - 2 or words.pop() or not words[0].startswith("/"):
        raise MessageError("a request that is not what its head says")
    variables = words[count + 1 :]
    variables.reverse()  # of two with one name the first counts, as for getenv
    environment = dict([(name, value) for name, _, value in [v.partition("=") for v in variables]])
    shows_colour = bool(flags & STDERR_IS_TERMINAL) and environment.get("TERM", "dumb") != "dumb"
    invocation = Invocation(
        tuple(words[1 : count + 1]), words[0], environment, umask & 0o777, shows_colour
    )
    return Request(invocation, session, bool(flags & IS_CONTROL))


def encode_request(invocation: Invocation, *, flags: int = 0, session: int = 0) -> bytes:
    """A request, as a stub would send it."""
    words = [invocation.working_directory, *invocation.arguments]
    words += [f"{name}={value}" for name, value in invocation.environment.items()]
    body = "".join(word + "\0" for word in words).encode("utf-8", "surrogateescape")
    count = len(invocation.arguments)
    head = _REQUEST_HEAD.pack(MAGIC, len(body), flags, invocation.umask, session, count)
    return head + body


def encode_finished(exit_code: int, stdout: bytes, stderr: bytes) -> bytes:
    """The stub prints this and exits; bounded by LARGEST_OUTPUT_BYTES each."""
    stdout, stderr = stdout[:LARGEST_OUTPUT_BYTES], stderr[:LARGEST_OUTPUT_BYTES]
    head = _REPLY_HEAD.pack(MAGIC, FINISHED, exit_code & 0xFF, len(stdout), len(stderr))
    return head + stdout + stderr


def encode_local(warning: bytes = b"") -> bytes:
    """The stub prints the warning and becomes the compiler."""
    return _REPLY_HEAD.pack(MAGIC, LOCAL, 0, 0, len(warning)) + warning


def decode_reply_head(message: bytes) -> ReplyHead:
    """Of REPLY_HEAD_BYTES; raises MessageError."""
    magic, kind, exit_code, stdout_size, stderr_size = _REPLY_HEAD.unpack(message)
    if magic != MAGIC or max(stdout_size, stderr_size) > LARGEST_OUTPUT_BYTES:
        raise MessageError("a daemon of another version, or none")
    return ReplyHead(kind, exit_code, stdout_size, stderr_size)
