"""The daemon's side of the conversation with stubs: a call, its answer, and what is remembered.

A hit is read, answered and written in one turn of the event loop. All else is a task of its
connection, which ends with it.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any, cast

from reapi.core.errors import InvalidArgument

from .build_warnings import BuildWarnings
from .engine_interface import Engine
from .journal import Journal, entry_of
from .local_slots import LocalSlots
from .messages import (
    WORKING_REPLY,
    MessageError,
    Request,
    RequestReader,
    encode_finished,
    encode_local,
)
from .model import Answer, Finished, Invocation, Local
from .outcome import Outcome, OutcomeKind
from .statistics import Statistics

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 2.0
_MISTAKE_EXIT_CODE = 1


class Daemon:
    """What all connections share. For one event loop; use `connection` as a protocol factory.

    `stop` is called when a client asks for it.
    """

    def __init__(
        self,
        engine: Engine,
        slots: LocalSlots,
        statistics: Statistics,
        journal: Journal,
        *,
        facts: dict[str, Any],
        stop: Callable[[], None],
    ) -> None:
        self.engine = engine
        self.slots = slots
        self.warnings = BuildWarnings()
        self._statistics = statistics
        self._journal = journal
        self._facts = facts
        self._stop = stop
        self._flush_timer: asyncio.TimerHandle | None = None
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.last_use = time.monotonic()

    def connection(self) -> "Connection":
        """A protocol for a stub that has come."""
        return Connection(self)

    def add(self, connection: "Connection") -> None:
        """A stub has come."""
        self._connections.add(connection)
        self._empty.clear()

    def discard(self, connection: "Connection") -> None:
        """A stub has gone."""
        self._connections.discard(connection)
        self.last_use = time.monotonic()
        if not self._connections:
            self._empty.set()

    @property
    def is_idle(self) -> bool:
        """No stub is here."""
        return not self._connections

    async def wait_until_idle(self) -> None:
        """Waits for all calls to end, those that run here included."""
        await self._empty.wait()

    def remember(
        self, invocation: Invocation, outcome: Outcome, begin: float, exit_code: int | None
    ) -> None:
        """Counts a call that has ended now, and writes of it soon."""
        seconds = time.monotonic() - begin
        self._statistics.count(outcome, seconds)
        at = time.time() - seconds
        self._journal.note(
            entry_of(invocation, outcome, at=at, begin=begin, seconds=seconds, exit_code=exit_code)
        )
        if self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what is remembered; a disk that takes nothing is no reason to fail a compile."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        for file in (self._journal, self._statistics):
            try:
                file.flush()
            except OSError:
                _log.warning("cannot write statistics or journal", exc_info=True)

    def control(self, word: str) -> dict[str, Any]:
        """Does what a client of this user asks of the daemon itself."""
        self.flush()
        if word == "stop":
            self._stop()
        return self._facts | {
            "pid": os.getpid(),
            "connections": len(self._connections) - 1,
            "local_slots": self.slots.count,
            "local_running": self.slots.taken,
            "local_waiting": self.slots.waiting,
        }


class Connection(asyncio.Protocol):
    """A call of a stub. Its loss ends the work on it, and frees its slot."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._reader: RequestReader | None = RequestReader()
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self._has_slot = False
        self._running_here: tuple[Invocation, Outcome] | None = None
        self._begin = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stub has come."""
        self._transport = cast(asyncio.Transport, transport)
        self._begin = time.monotonic()
        self._daemon.add(self)

    def data_received(self, data: bytes) -> None:
        """Answers a request that is whole, at once if that is possible."""
        if self._reader is None:
            _log.warning("a stub said more than one request")
            self._transport.abort()
            return
        try:
            request = self._reader.feed(data)
        except MessageError as error:
            _log.warning("not a request: %s", error)
            self._transport.abort()
            return
        if request is not None:
            self._reader = None
            self._handle(request)

    def connection_lost(self, error: Exception | None) -> None:
        """The stub, or the compiler that it became, has ended."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            # What was begun at the server is cancelled there before this daemon may end.
            self._task.add_done_callback(lambda _: self._daemon.discard(self))
        else:
            self._daemon.discard(self)
        if self._has_slot:
            self._daemon.slots.give_back()
        if self._running_here is not None:
            invocation, outcome = self._running_here
            self._daemon.remember(invocation, outcome, self._begin, None)

    def _handle(self, request: Request) -> None:
        if request.is_control:
            facts = self._daemon.control(request.invocation.arguments[0])
            self._transport.write(encode_finished(0, json.dumps(facts).encode(), b""))
            return
        self._daemon.warnings.note_call(request.session, self._begin)
        try:
            answer = self._daemon.engine.answer_now(request.invocation)
        except Exception as error:
            answer = _answer_to(error)
        if answer is None or not self._reply_now(request, answer):
            self._transport.write(WORKING_REPLY)
            self._task = asyncio.get_running_loop().create_task(self._reply(request, answer))

    async def _reply(self, request: Request, answer: Answer | None) -> None:
        if answer is None:
            try:
                answer = await self._daemon.engine.answer(request.invocation)
            except Exception as error:
                answer = _answer_to(error)
        if not self._reply_now(request, answer):
            await self._daemon.slots.take()
            self._has_slot = True
            self._reply_now(request, answer)

    def _reply_now(self, request: Request, answer: Answer) -> bool:
        """Replies, unless the answer has to wait for a slot."""
        if isinstance(answer, Local) and answer.is_work and not self._has_slot:
            self._has_slot = self._daemon.slots.take_now()
            if not self._has_slot:
                return False
        outcome = answer.outcome
        if outcome is None and isinstance(answer, Local):
            outcome = Outcome(OutcomeKind.LOCAL, reason=answer.reason)
        warning = b""
        if outcome is not None and outcome.trouble:
            now = time.monotonic()
            is_made_here = outcome.kind is OutcomeKind.FALLBACK
            trouble = f"{outcome.trouble}: compiling here" if is_made_here else outcome.trouble
            warning = self._daemon.warnings.line(request.session, trouble, now)
        if isinstance(answer, Finished):
            reply = encode_finished(answer.exit_code, answer.stdout, warning + answer.stderr)
            self._transport.write(reply)
            if outcome is not None:
                self._daemon.remember(request.invocation, outcome, self._begin, answer.exit_code)
        else:
            self._transport.write(encode_local(warning))
            if outcome is not None:
                self._running_here = (request.invocation, outcome)
        return True


def _answer_to(error: Exception) -> Answer:
    if isinstance(error, InvalidArgument):
        return Finished(_MISTAKE_EXIT_CODE, stderr=f"reapi-cc: {error.message}\n".encode())
    _log.error("a call failed by a fault of this program", exc_info=error)
    trouble = f"a fault of reapi-cc ({type(error).__name__}: {error})".replace("\n", " ")
    outcome = Outcome(
        OutcomeKind.FALLBACK, reason="a fault of reapi-cc", failure="internal", trouble=trouble
    )
    return Local("a fault of reapi-cc", outcome=outcome)
