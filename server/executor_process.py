"""The executor as the child process of an all-in-one server.

A command that is being compiled must never stall serving, so even on one machine the executor has
its own interpreter.
"""

import asyncio
import contextlib
import logging

import uvloop
from prometheus_client import CollectorRegistry

from .child_process import ChildProcess
from .config import ServerConfig
from .executor_role import run_executor
from .lifecycle import stop_signals
from .logs import set_up_logs
from .parent_process import ParentProcess

logger = logging.getLogger(__name__)


def executor_child(config: ServerConfig, own_token: str | None) -> ChildProcess:
    """An executor process, whose actions may end when it drains; a killed one is tried again."""
    return ChildProcess(
        "the executor",
        __name__,
        config,
        own_token=own_token,
        grace_seconds=config.server.drain_seconds,
    )


async def _run_until_told() -> None:
    """Drains at a signal. Ends at once when the parent is gone: nobody would take the results."""
    with stop_signals() as stop:
        async with ParentProcess.connected() as parent:
            executor = asyncio.create_task(
                run_executor(
                    parent.config, stop, parent.say_ready, CollectorRegistry(), parent.own_token
                )
            )
            listener = asyncio.create_task(parent.listen({}))
            listener.add_done_callback(lambda _: executor.cancel())
            with contextlib.suppress(asyncio.CancelledError):
                await executor
            listener.cancel()


def main() -> None:
    """Runs the executor that the parent describes."""
    set_up_logs()
    uvloop.run(_run_until_told())


if __name__ == "__main__":
    main()
