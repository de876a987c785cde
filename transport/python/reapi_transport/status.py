"""The status a call ends with, and the codes that the server itself gives."""

from typing import Final

from .metadata import Pairs

OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
DEADLINE_EXCEEDED: Final = 4
RESOURCE_EXHAUSTED: Final = 8
UNAVAILABLE: Final = 14


class Status(Exception):
    """Raised by a handler to end its call. `code` is a number of gRPC's status codes."""

    def __init__(self, code: int, message: str, trailers: Pairs = ()) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.trailers = trailers
