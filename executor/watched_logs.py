"""Sends what running commands print to those who watch: the worker's half of ReadLog.

What is printed stands in files without names (LogFile), which cost nothing while nobody watches;
pipes would cost every action a copy of each byte. Nothing tells of the growth of such a file, since
inotify wants a name: so while somebody waits for more, and only then, sizes are looked at.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from reapi.protos.reapi.worker.v1.worker_pb2 import (
    ConnectRequest,
    LeaseKey,
    LogChunk,
    LogStream,
    ReadLog,
)

from .runner import LogFile, Runner

CHUNK_BYTES = 64 << 10
"""Completions wait behind chunks on the same stream: a larger one would hold them up."""

_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 10.0
"""After which a question is answered without data: perhaps nobody is there to ask again."""

_Lease = tuple[str, int]
_Place = tuple[_Lease, LogStream, int]


@dataclass(frozen=True, slots=True)
class _Asked:
    request: ReadLog
    until: float


class WatchedLogs:
    """Answers each ReadLog once, by `send`: at once if a whole chunk is there, else after a moment,
    so that many short lines are few messages. Not more than is asked for is ever on its way, and
    nothing beyond `log_size_bytes`, which is what is kept of a log.
    """

    def __init__(self, send: Callable[[ConnectRequest], None], log_size_bytes: int) -> None:
        self._send = send
        self._log_size_bytes = log_size_bytes
        self._running: dict[_Lease, Runner] = {}
        self._asked: dict[_Place, _Asked] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, key: LeaseKey, runner: Runner) -> None:
        """The command of a lease starts to run; what is asked of it waited for that."""
        self._running[_lease(key)] = runner

    def end(self, key: LeaseKey) -> None:
        """The logs are stored by now, or lost, and their files are for the next command."""
        lease = _lease(key)
        self._running.pop(lease, None)
        for place in [place for place in self._asked if place[0] == lease]:
            self.refuse(self._asked.pop(place).request)

    def ask(self, request: ReadLog) -> None:
        """The scheduler wants to know more of a lease that is held here."""
        place = _place(request)
        log = self._log(place)
        if request.offset >= self._log_size_bytes:
            self.refuse(request)
        elif request.at_once or (
            log is not None and self._size(log) - request.offset >= CHUNK_BYTES
        ):
            self._asked.pop(place, None)
            self._answer(request, log)
        else:
            until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
            self._asked[place] = _Asked(request, until)
            self._look_soon()

    def refuse(self, request: ReadLog) -> None:
        """There is nothing to be read here, or nothing more."""
        self._send(_chunk(request, is_all=True, is_over=True))

    def close(self) -> None:
        """Nobody can be answered any more."""
        self._asked.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look_soon(self) -> None:
        if self._timer is None and self._asked:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for place, asked in list(self._asked.items()):
            log = self._log(place)
            has_more = log is not None and self._size(log) > asked.request.offset
            if has_more or now >= asked.until:
                del self._asked[place]
                self._answer(asked.request, log)
        self._look_soon()

    def _log(self, place: _Place) -> LogFile | None:
        lease, stream, _ = place
        runner = self._running.get(lease)
        if runner is None:
            return None
        return runner.stdout if stream == LogStream.LOG_STREAM_STDOUT else runner.stderr

    def _size(self, log: LogFile) -> int:
        return min(log.size_bytes, self._log_size_bytes)

    def _answer(self, request: ReadLog, log: LogFile | None) -> None:
        size = 0 if log is None else self._size(log)
        wanted = min(CHUNK_BYTES, size - request.offset)
        data = log.read(wanted, request.offset) if log is not None and wanted > 0 else b""
        is_all = request.offset + len(data) >= size
        self._send(_chunk(request, data=data, is_all=is_all))


def _lease(key: LeaseKey) -> _Lease:
    return key.operation_name, key.epoch


def _place(request: ReadLog) -> _Place:
    return _lease(request.key), request.stream, request.offset


def _chunk(request: ReadLog, **fields: object) -> ConnectRequest:
    chunk = LogChunk(
        key=request.key,
        stream=request.stream,
        offset=request.offset,
        **fields,  # type: ignore[arg-type]  # those of LogChunk
    )
    return ConnectRequest(log_chunk=chunk)
