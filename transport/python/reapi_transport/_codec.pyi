"""HTTP/2 and gRPC framing of one connection, driven by hand: see `connection.py`."""

from typing import Final

from .limits import Limits
from .metadata import Pairs

READABLE: Final[int]
WRITABLE: Final[int]
CANCELLED: Final[int]

class Table:
    """What all connections of a server share: its methods, as (path, streams requests)."""

    def __init__(self, methods: list[tuple[str, bool]], limits: Limits) -> None: ...

class Head:
    """The headers of one call."""

    @property
    def timeout_seconds(self) -> float | None: ...
    def metadata(self) -> dict[str, str | bytes]: ...

Event = tuple[int, int, Head, bytes | None]
"""(stream, row of the method table, headers, the request unless requests stream), or
(stream, READABLE | WRITABLE | CANCELLED, None, None)."""

class Codec:
    """The server's side of one connection. Not for several threads.

    Methods that name a stream do nothing when its call is over: the client may end it at any time.
    """

    def __init__(self, table: Table) -> None: ...
    def receive(self, data: bytes) -> list[Event]:
        """Takes what came from the socket; gives what is to be done now."""

    def events(self) -> list[Event]:
        """What is to be done now; for after `flush`."""

    def flush(self) -> tuple[bytes, bool]:
        """Output for the socket, and whether there is more. Events may follow."""

    @property
    def has_events(self) -> bool: ...
    @property
    def unread_bytes(self) -> int:
        """Input that waits until there is room in the output."""

    @property
    def is_open(self) -> bool:
        """The client has introduced itself as one of HTTP/2."""

    @property
    def is_closed(self) -> bool:
        """The connection ends as soon as the output is written."""

    def next_request(self, stream: int) -> bytes | bool | None:
        """A message; True: ask again at READABLE; False: the end; None: the call is over."""

    def reply(self, stream: int, message: bytes, trailing: Pairs | None = None) -> None:
        """The one reply of a call, and its end. ValueError when `trailing` cannot be sent."""

    def send(self, stream: int, message: bytes) -> bool:
        """One of several replies. False asks to wait for WRITABLE before the next."""

    def begin_reply(self, stream: int, metadata: Pairs) -> None:
        """Sends leading metadata now. ValueError when it cannot be sent."""

    def finish(self, stream: int, code: int, message: str, trailing: Pairs | None = None) -> None:
        """Ends a call. ValueError when `trailing` cannot be sent."""

    def ping(self) -> None:
        """Asks the client for a sign of life."""

    def drain(self) -> None:
        """Asks the client to call elsewhere; closes when the running calls have ended."""

    def abort(self) -> None:
        """Ends the connection at once."""
