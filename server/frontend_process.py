"""Further frontends as child processes: they share the port of the first one and its storage.

Python serves one call at a time per process, so a machine with more processors serves more calls
with more processes. The first process keeps the scheduler; these pass its services on to it.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self

import uvloop

from reapi.core.errors import ReapiError

from .child_process import ChildProcess
from .compose import compose
from .config import ServerConfig
from .lifecycle import stop_signals
from .listener import Listener
from .logs import set_up_logs
from .metrics import make_registry, snapshot
from .parent_process import Handler, ParentProcess

logger = logging.getLogger(__name__)

_MARGIN_SECONDS = 2.0
"""A frontend ends by itself after the grace time; this is for closing what it holds."""


class FrontendProcesses:
    """The further frontends of a server, running inside the context; those that die are replaced.

    `config` is theirs: it names the port that is in use, and the scheduler. Leaving the context
    lets all of them drain at once.
    """

    def __init__(self, config: ServerConfig, count: int, own_token: str | None) -> None:
        self.children: Sequence[ChildProcess] = [
            ChildProcess(
                f"frontend {member}",
                __name__,
                config,
                str(member),
                own_token=own_token,
                grace_seconds=config.server.drain_seconds + _MARGIN_SECONDS,
            )
            for member in range(1, count + 1)
        ]

    async def __aenter__(self) -> Self:
        for child in self.children:
            await child.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()

    async def drain(self) -> None:
        """Lets the running calls of all of them end, at once, and waits for the processes."""
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(child.__aexit__())

    async def first_ready(self) -> None:
        """Returns when all serve; Unavailable when one of them could not begin."""
        for child in self.children:
            await child.first_ready()

    def why_not_ready(self) -> str | None:
        """In words for a person; None while all serve."""
        count = 1 + len(self.children)
        serving = 1 + sum(child.is_ready for child in self.children)
        return None if serving == count else f"{serving} of {count} processes serve"

    def stop_serving(self) -> None:
        """Their health is NOT_SERVING from now on; they serve nevertheless."""
        for child in self.children:
            child.tell("stop serving")


async def _serve(member: int) -> None:
    """Serves until a signal, then drains. Ends at once, with all calls, when the parent is gone."""
    with stop_signals() as stop:
        async with ParentProcess.connected() as parent, AsyncExitStack() as stack:
            config = parent.config
            registry = make_registry()
            handlers: dict[str, Handler] = {"metrics": lambda: snapshot(registry)}
            hearing = asyncio.create_task(_listen(parent, handlers))
            stack.callback(hearing.cancel)
            listener = Listener(config.server, registry)
            api = await compose(config, registry, stack, member=member, own_token=parent.own_token)
            rpc = await stack.enter_async_context(listener.public(api.methods, shares_port=True))
            handlers["stop serving"] = api.health.stop_serving
            parent.say_ready()
            await stop.wait()
            api.health.stop_serving()
            await rpc.drain(config.server.drain_seconds)


async def _listen(parent: ParentProcess, handlers: Mapping[str, Handler]) -> None:
    """Without the parent, or the ability to hear it, there is nothing to be done here."""
    try:
        await parent.listen(handlers)
    except Exception:
        logger.exception("cannot understand the first process")
    os._exit(1)


def main() -> None:
    """Runs the frontend whose number is the argument, and which the parent describes."""
    set_up_logs()
    try:
        uvloop.run(_serve(int(sys.argv[1])))
    except ReapiError as error:
        logger.error("cannot serve: %s", error.message)
        sys.exit(1)


if __name__ == "__main__":
    main()
