"""Ends a stream whose client stays connected and says no more (reliability B8)."""

from asyncio import timeout
from collections.abc import AsyncIterator

from reapi.core.errors import DeadlineExceeded


class PromptMessages:
    """The messages of one call. Waiting for one for longer than `idle_seconds` is
    DeadlineExceeded; the time between two calls for the next is ours and does not count."""

    def __init__(self, messages: AsyncIterator[bytes], idle_seconds: float) -> None:
        self._messages = messages
        self._idle_seconds = idle_seconds

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            async with timeout(self._idle_seconds):
                return await anext(self._messages)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"nothing came for {self._idle_seconds:g} seconds; what came before is kept: "
                "ask QueryWriteStatus where to go on"
            ) from error
