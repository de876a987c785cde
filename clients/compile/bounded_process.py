"""A process of this machine whose output is read, and that never outlives its asker."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from reapi.core.errors import FailedPrecondition, ResourceExhausted
from reapi.core.uninterrupted import uninterrupted

from .model import Finished

_CHUNK_BYTES = 1 << 16
_WITH_UMASK = 'umask "$0"; exec "$@"'
"""By a shell, since the event loop cannot, and what it could run between fork and exec is unsafe in
a process with threads."""

_DEPTH = "REAPI_CC_DEPTH"
"""Tells a stub that is called by a compiler, which is a script then, to stay out of it: that would
wait for a slot that its caller holds."""

_SIGNALLED = 128


async def run_process(
    argv: Sequence[str],
    working_directory: str,
    environment: Mapping[str, str],
    *,
    largest_output_bytes: int,
    umask: int | None = None,
) -> Finished:
    """Runs a program without input to its end; `largest_output_bytes` bounds each of its streams.

    A signal that ended it is 128 and its number, as shells have it. Without `umask` it has ours.

    Cancelling kills it and all that it started in its session. Raises FailedPrecondition if it
    cannot be started, ResourceExhausted, with the same end, if it prints more.
    """
    command = argv if umask is None else ["/bin/sh", "-c", _WITH_UMASK, f"{umask:o}", *argv]
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            cwd=working_directory,
            env={**environment, _DEPTH: "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    try:
        process = await uninterrupted(starting)
    except OSError as error:
        raise FailedPrecondition(f"cannot run {argv[0]}: {error}") from error
    except asyncio.CancelledError:
        if starting.exception() is None:
            await _kill(starting.result())
        raise
    assert process.stdout is not None
    assert process.stderr is not None
    is_over = False
    try:
        async with asyncio.TaskGroup() as readers:
            stdout = readers.create_task(_read(process.stdout, largest_output_bytes))
            stderr = readers.create_task(_read(process.stderr, largest_output_bytes))
        exit_code = await process.wait()
        is_over = True
    except* ResourceExhausted as errors:
        raise ResourceExhausted(
            f"{argv[0]} prints more than {largest_output_bytes} bytes"
        ) from errors
    finally:
        if not is_over:
            await _kill(process)
    if exit_code < 0:
        exit_code = _SIGNALLED - exit_code
    return Finished(exit_code, stdout.result(), stderr.result())


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Ends all that is in its process group, which may be there though the process is not.

    What it printed is read to its end: asyncio sees no end of a process before that of its streams,
    and none of a stream that paused because nobody read it.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await uninterrupted(_drain(process))


async def _drain(process: asyncio.subprocess.Process) -> None:
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(_CHUNK_BYTES):
            pass
    await process.wait()


async def _read(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    content = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        content += chunk
        if len(content) > most_bytes:
            raise ResourceExhausted
    return bytes(content)
