"""What a client may ask of the server: every bound in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server and of each of its connections; what goes beyond is refused, or waits.

    The memory of a connection that does its worst is about the sum of its buffers: its window,
    unfinished requests, unread replies, and one reply for each stream.
    """

    # Messages and headers; beyond: RESOURCE_EXHAUSTED.
    largest_request_bytes: int = 64 << 20
    largest_reply_bytes: int = 64 << 20
    largest_metadata_bytes: int = 16 << 10
    refused_metadata_bytes: int = 32 << 10  # beyond: HTTP 431, or the end of the connection

    # Calls and connections.
    concurrent_streams: int = 10_000  # of a connection, announced to the client
    concurrent_calls: int = 50_000  # of the server, handlers of cancelled calls too
    connections: int = 10_000  # beyond: closed at once
    calls_at_a_time: int = 128  # begun before the event loop gets its turn

    # Buffers.
    stream_window_bytes: int = 2 << 20  # of a request stream that its handler does not read
    connection_window_bytes: int = 32 << 20  # of all such streams of a connection
    unfinished_requests_bytes: int = 256 << 20  # of a connection: messages that came in part
    stream_replies_bytes: int = 256 << 10  # beyond: the handler waits at its next reply
    connection_replies_bytes: int = 64 << 20  # unread replies; beyond: new calls are refused

    # Time.
    handshake_seconds: float = 20.0  # of TLS, and then of HTTP/2
    keepalive_seconds: float = 60.0  # of silence before a ping
    keepalive_timeout_seconds: float = 20.0  # of silence after it, before the connection is closed
    connection_age_seconds: float | None = None  # after which the client is asked to call anew
    connection_age_grace_seconds: float = 60.0  # for calls that run then

    # Frames that cost the client nothing (PING, SETTINGS, RST_STREAM ...); beyond: closed.
    control_frames: int = 1_000  # at once
    control_frames_per_second: int = 100
