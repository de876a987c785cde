"""The executor as the child process of an all-in-one server.

A command that is being compiled must never stall serving, so even on one machine the executor has
its own interpreter. The child reads its settings from stdin and ends when stdin does: a parent that
is killed takes it along.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from .compose import run_executor
from .config import ServerConfig
from .lifecycle import stop_signals
from .logs import set_up_logs

logger = logging.getLogger(__name__)

_RESTART_SECONDS = 1.0


@asynccontextmanager
async def executor_child(config: ServerConfig) -> AsyncIterator[None]:
    """Keeps an executor process running inside the context; one that dies is started again.

    Leaving the context lets it drain and waits for it.
    """
    supervisor = asyncio.create_task(_supervise(config))
    try:
        yield
    finally:
        supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor


async def _supervise(config: ServerConfig) -> None:
    while True:
        with _started(config) as process:
            try:
                await _ended(process)
            except asyncio.CancelledError:
                await _end(process, config.server.drain_seconds)
                raise
        logger.error("the executor ended with status %s; starting another", process.returncode)
        await asyncio.sleep(_RESTART_SECONDS)


def _started(config: ServerConfig) -> subprocess.Popen[bytes]:
    """A child with its settings. Not asyncio's own way, which forks: gRPC's threads mind that."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        # Ctrl-C in a terminal is for the parent, which then lets the child drain.
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(config.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    return process


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Waits for the end of the process without a thread."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Lets what runs finish, for a while; a killed action is found in the journal again."""
    process.terminate()
    try:
        async with asyncio.timeout(grace_seconds):
            await _ended(process)
    except TimeoutError:
        logger.warning("the executor still runs after %g s; killing it", grace_seconds)
        process.kill()
    process.wait()


async def _run_until_told(config: ServerConfig) -> None:
    """Drains at a signal. Ends at once when the parent is gone: nobody would take the results."""
    loop = asyncio.get_running_loop()
    with stop_signals() as stop:
        executor = asyncio.create_task(
            run_executor(config, stop, lambda: logger.info("the executor has joined"))
        )

        def abandoned() -> None:
            loop.remove_reader(sys.stdin)
            executor.cancel()

        loop.add_reader(sys.stdin, abandoned)
        with contextlib.suppress(asyncio.CancelledError):
            await executor
        loop.remove_reader(sys.stdin)


def main() -> None:
    """Runs the executor that stdin describes."""
    set_up_logs()
    config = ServerConfig.model_validate_json(sys.stdin.buffer.readline())
    uvloop.run(_run_until_told(config))


if __name__ == "__main__":
    main()
