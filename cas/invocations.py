"""Which invocations are at work, by the tool_invocation_id that their calls carry."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from reapi.core.errors import ReapiError
from reapi.core.interfaces import Call
from reapi.core.request_metadata import parse_request_metadata, request_metadata_header
from reapi.core.rpc import Method

from .state.interface import MOST_INVOCATIONS, Invocation, InvocationTable

logger = logging.getLogger(__name__)

_NOTE_EVERY_SECONDS = 60
_KNOWN_HEADERS = 4096
_LONGEST_KNOWN_HEADER_BYTES = 1024
_LONGEST_ID_CHARACTERS = 200


class Invocations:
    """Notes who calls, coarsely and beside the calls.

    An invocation lives while it calls at least every `idle_seconds`, and `longest_seconds` at most;
    one that goes on after that counts as another one.
    """

    def __init__(
        self,
        table: InvocationTable,
        now: Callable[[], int],
        *,
        idle_seconds: int,
        longest_seconds: int,
    ) -> None:
        self._table = table
        self._now = now
        self._idle_seconds = idle_seconds
        self._longest_seconds = longest_seconds
        self._ids: dict[bytes, str] = {}
        self._noted: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self._writing: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Writes what was noted last."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))

    def watched(self, methods: Sequence[Method]) -> list[Method]:
        """The same methods; calls of them are noted when they begin."""
        return [replace(method, handler=self._noting(method.handler)) for method in methods]

    def _noting(self, handler: Callable[[Any, Call], Any]) -> Callable[[Any, Call], Any]:
        def noting(request: Any, call: Call) -> Any:
            self.note(call)
            return handler(request, call)

        return noting

    def note(self, call: Call) -> None:
        """The invocation of this call is alive. Does not wait, and never fails."""
        header = request_metadata_header(call)
        if header is None:
            return
        invocation_id = self._ids.get(header)
        if invocation_id is None:
            invocation_id = self._read_id(header)
        if not invocation_id:
            return
        now = self._now()
        if now - self._noted.get(invocation_id, -_NOTE_EVERY_SECONDS) < _NOTE_EVERY_SECONDS:
            return
        if len(self._noted) >= MOST_INVOCATIONS:
            self._noted.clear()
        self._noted[invocation_id] = self._pending[invocation_id] = now
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_pending())

    def _read_id(self, header: bytes) -> str:
        metadata = parse_request_metadata(header)
        invocation_id = metadata.tool_invocation_id if metadata is not None else ""
        invocation_id = invocation_id[:_LONGEST_ID_CHARACTERS]
        if len(header) <= _LONGEST_KNOWN_HEADER_BYTES:
            if len(self._ids) >= _KNOWN_HEADERS:
                self._ids.clear()
            self._ids[header] = invocation_id
        return invocation_id

    async def _write_pending(self) -> None:
        try:
            while self._pending:
                pending, self._pending = self._pending, {}
                await self._table.note(pending, self._longest_seconds)
        except ReapiError:
            self._noted.clear()  # the next calls try again
            logger.exception("cannot note invocations; their blobs stay for the retention time")
        finally:
            self._writing = None

    async def live(self) -> Sequence[Invocation]:
        """Those of all processes, in the order they began in."""
        now = self._now()
        seen_since = now - self._idle_seconds - _NOTE_EVERY_SECONDS
        return await self._table.live(seen_since, now - self._longest_seconds)

    async def unpin(self, invocation_ids: Sequence[str]) -> Sequence[str]:
        """See InvocationTable."""
        return await self._table.unpin(invocation_ids)
