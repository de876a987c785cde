"""A stream is waited for, but not for ever (reliability B8)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reapi.cas.prompt_messages import PromptMessages
from reapi.core.errors import DeadlineExceeded


async def silent_after(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message
    await asyncio.get_running_loop().create_future()


async def test_reliability_B8_a_silent_stream_ends_with_its_time() -> None:
    messages = PromptMessages(silent_after(b"one", b"two"), 0.001)
    assert [await anext(messages), await anext(messages)] == [b"one", b"two"]
    with pytest.raises(DeadlineExceeded, match="QueryWriteStatus"):
        await anext(messages)


async def test_the_time_of_whoever_takes_the_messages_does_not_count() -> None:
    async def two() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    messages = PromptMessages(two(), 0.001)
    received = []
    async for message in messages:
        received.append(message)
        await asyncio.sleep(0.005)
    assert received == [b"one", b"two"]


async def test_cancelling_is_no_deadline() -> None:
    waiting = asyncio.create_task(anext(PromptMessages(silent_after(), 600)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
