"""The open streams to workers, and what the scheduler says on them."""

import asyncio
from collections import deque

from google.protobuf.duration_pb2 import Duration

from reapi.core.errors import FailedPrecondition, ReapiError
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    CancelLease,
    CompletionReceived,
    ConnectResponse,
    Registered,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import LeaseKey as LeaseKeyMessage

from .model import LeaseKey


class WorkerLink:
    """The sending half of one stream. What waits to be sent is bounded by the worker's slots."""

    def __init__(self, worker_id: str, session_id: str) -> None:
        self.worker_id = worker_id
        self.session_id = session_id
        self.last_heard = 0
        """In microseconds, as the dispatcher tells the time."""
        self._outbox: deque[ConnectResponse] = deque()
        self._wake = asyncio.Event()
        self._error: BaseException | None = None
        self._is_closed = False

    def send(self, message: ConnectResponse) -> None:
        self._outbox.append(message)
        self._wake.set()

    def close(self, error: BaseException | None = None) -> None:
        """Ends the stream after what waits has been sent; with `error` as its status, if any."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._wake.set()

    async def next(self) -> ConnectResponse | None:
        """The next message to send; None at the end; raises what it was closed with."""
        while not self._outbox:
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._outbox.popleft()


class WorkerLinks:
    """At most one open stream per worker: a newer one replaces the older."""

    def __init__(self, heartbeat_seconds: float) -> None:
        self._links: dict[str, WorkerLink] = {}
        self._heartbeat = Duration()
        self._heartbeat.FromMicroseconds(round(heartbeat_seconds * 1_000_000))

    def open(self, link: WorkerLink) -> None:
        older = self._links.get(link.worker_id)
        self._links[link.worker_id] = link
        if older is not None:
            older.close()

    def close_all(self, error: ReapiError) -> None:
        """Ends all streams, with `error` as their status."""
        for link in self._links.values():
            link.close(error)

    def close(self, link: WorkerLink) -> bool:
        """Forgets a stream that has ended; False if a newer one took its place already."""
        if self._links.get(link.worker_id) is not link:
            return False
        del self._links[link.worker_id]
        return True

    def last_heard(self, worker_id: str) -> int:
        """When the worker spoke last on its open stream; 0 if it has none."""
        link = self._links.get(worker_id)
        return 0 if link is None else link.last_heard

    def welcome(self, worker_id: str, revoked: tuple[LeaseKey, ...]) -> None:
        registered = Registered(
            heartbeat_interval=self._heartbeat, revoked=[key_message(key) for key in revoked]
        )
        self.send(worker_id, ConnectResponse(registered=registered))

    def refuse(self, worker_id: str, session_id: str, message: str) -> None:
        link = self._links.get(worker_id)
        if link is not None and link.session_id == session_id:
            link.close(FailedPrecondition(message))

    def revoke(self, worker_id: str, key: LeaseKey) -> None:
        self.send(worker_id, ConnectResponse(cancel=CancelLease(key=key_message(key))))

    def acknowledge(self, worker_id: str, key: LeaseKey) -> None:
        received = CompletionReceived(key=key_message(key))
        self.send(worker_id, ConnectResponse(completion_received=received))

    def send(self, worker_id: str, message: ConnectResponse) -> None:
        """To a worker that is away nothing is sent: it is told all it must know on its return."""
        link = self._links.get(worker_id)
        if link is not None:
            link.send(message)


def key_message(key: LeaseKey) -> LeaseKeyMessage:
    return LeaseKeyMessage(operation_name=key[0], epoch=key[1])
