"""Calls that are made to a server on each transport, and what their client sees of them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

CALL_DEADLINE_SECONDS = 30
MOST_AT_ONCE = 12
FREE = ("x-", "grpc-status-details-bin")
"""How the names of metadata begin that are compared; others are the transports' own."""


@dataclass(frozen=True)
class Trial:
    """A call as a client makes it. It is cancelled after `replies_read` replies, unless None.

    The words of a status are not compared where they are `in_own_words` of the transport.
    """

    path: str
    requests: list[bytes]
    metadata: list[tuple[str, str | bytes]] = field(default_factory=list)
    compression: grpc.Compression | None = None
    replies_read: int | None = None
    in_own_words: bool = False


@dataclass(frozen=True)
class Outcome:
    """All that a client sees of a call; of one that it cancels, the replies before that."""

    replies: list[bytes]
    code: grpc.StatusCode | None
    details: str | None
    initial: list[tuple[str, str | bytes]]
    trailing: list[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Pair:
    """A channel to a server on each transport, and threads to call both at the same time."""

    first: grpc.Channel
    second: grpc.Channel
    threads: ThreadPoolExecutor

    def outcomes(self, trials: Sequence[Trial]) -> list[list[Outcome]]:
        """Of all trials at once, on each."""
        running = [
            [self.threads.submit(outcome_of, trial, channel) for trial in trials]
            for channel in (self.first, self.second)
        ]
        return [[outcome.result() for outcome in outcomes] for outcomes in running]


@contextmanager
def channels(first: str, second: str) -> Iterator[Pair]:
    """To the servers at two addresses."""
    options = [("grpc.max_receive_message_length", -1)]
    with (
        grpc.insecure_channel(first, options) as one,
        grpc.insecure_channel(second, options) as other,
        ThreadPoolExecutor(2 * MOST_AT_ONCE) as threads,
    ):
        yield Pair(one, other, threads)


def outcome_of(trial: Trial, channel: grpc.Channel) -> Outcome:
    """Makes the call, with all that may go wrong.

    The client is not that of grpc.aio, which makes up a status when a call ends while it writes.
    """
    call = channel.stream_stream(trial.path)(
        iter(trial.requests),
        timeout=CALL_DEADLINE_SECONDS,
        metadata=trial.metadata,
        compression=trial.compression,
    )
    replies: list[bytes] = []
    with suppress(grpc.RpcError):
        while len(replies) != trial.replies_read:
            reply = next(call, None)
            if reply is None:
                break
            replies.append(reply)
    if len(replies) == trial.replies_read:
        call.cancel()
        return Outcome(replies, None, None, [], [])  # the rest is a matter of luck
    return Outcome(
        replies,
        call.code(),
        None if trial.in_own_words else call.details(),
        _free(call.initial_metadata()),
        _free(call.trailing_metadata()),
    )


def _free(metadata: Any) -> list[tuple[str, str | bytes]]:
    """In the order of their names: gRPC keeps that of the values of one name only."""
    free = [(name, value) for name, value in metadata or () if name.startswith(FREE)]
    return sorted(free, key=lambda pair: pair[0])
