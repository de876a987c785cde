"""Hands on what a command prints while it runs, and the rest of it when its result is there."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

from reapi.core.errors import ReapiError

from .channel import Channel
from .logs import follow_log
from .model import LogStream, Operation, Output, RunResult, Stage

_LOG = logging.getLogger(__name__)
_WATCH_AFTER_SECONDS = 0.1
"""What ends sooner costs no calls but its own."""

_TAIL_SECONDS = 5.0

OnOutput = Callable[[Output], None]


class _Given:
    """What was handed on of one stream."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.hasher = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self.hasher.update(data)

    def is_start_of(self, whole: bytes) -> bool:
        start = memoryview(whole)[: self.size_bytes]
        return hashlib.sha256(start).digest() == self.hasher.digest()


class LiveOutput:
    """Gives `on_output` each byte once and in order; does nothing without it. See `live_output`."""

    def __init__(
        self, channel: Channel, on_output: OnOutput | None, tasks: asyncio.TaskGroup
    ) -> None:
        self._channel = channel
        self._on_output = on_output
        self._group = tasks
        self._tasks: list[asyncio.Task[None]] = []
        self._watched = ""
        self._given: dict[LogStream, _Given] = {"stdout": _Given(), "stderr": _Given()}

    def watch(self, operation: Operation) -> None:
        """A state of the operation: as soon as it is executing, its logs are followed."""
        is_watched = operation.name == self._watched
        if self._on_output is None or is_watched or operation.stage is not Stage.EXECUTING:
            return
        self.stop()
        self._watched = operation.name
        names: dict[LogStream, str] = {
            "stdout": operation.stdout_name,
            "stderr": operation.stderr_name,
        }
        self._tasks = [
            self._group.create_task(self._follow(stream, name))
            for stream, name in names.items()
            if name
        ]

    async def tail(self) -> None:
        """Waits, for some seconds at most, for the end of the logs of an operation that has failed:
        there is no result with all of it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TAIL_SECONDS)

    def finish(self, result: RunResult) -> None:
        """Gives what of the result was not given yet."""
        self.stop()
        if self._on_output is None:
            return
        for stream, given in self._given.items():
            whole = result.stdout if stream == "stdout" else result.stderr
            if not given.is_start_of(whole):
                self._on_output(Output(stream, whole, is_anew=True))
            elif len(whole) > given.size_bytes:
                self._on_output(Output(stream, whole[given.size_bytes :]))

    def stop(self) -> None:
        """Follows no more."""
        for task in self._tasks:
            task.cancel()

    async def _follow(self, stream: LogStream, name: str) -> None:
        assert self._on_output is not None
        await asyncio.sleep(_WATCH_AFTER_SECONDS)
        given = self._given[stream]
        try:
            async with aclosing(follow_log(self._channel, name, given.size_bytes)) as chunks:
                async for chunk in chunks:
                    if chunk:
                        given.add(chunk)
                        self._on_output(Output(stream, chunk))
        except ReapiError as error:
            # The command goes on all the same, and its result will have everything.
            _LOG.debug("cannot follow %s: %s", name, error.message)


@asynccontextmanager
async def live_output(
    channel: Channel, on_output: OnOutput | None
) -> AsyncGenerator[LiveOutput, None]:
    """Around a run. What `on_output` raises ends the block, and is raised."""
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            live = LiveOutput(channel, on_output, group)
            try:
                yield live
            except Exception as error:
                # It must not come out of the group as one of several.
                failure = error
            finally:
                live.stop()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    if failure is not None:
        raise failure
