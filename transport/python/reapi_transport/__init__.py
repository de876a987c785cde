"""A gRPC server for asyncio: HTTP/2 and framing in Rust, everything else in Python."""

from .call import Call
from .limits import Limits
from .method import Method, StreamHandler, UnaryHandler
from .server import Server, serve
from .status import Status

__all__ = [
    "Call",
    "Limits",
    "Method",
    "Server",
    "Status",
    "StreamHandler",
    "UnaryHandler",
    "serve",
]
