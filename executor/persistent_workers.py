"""The persistent worker of one slot: started when an action can use one, kept for the next.

A slot has at most one, and only while its actions have the same key: any other action ends it, for
a process of one action must not see another's. So what a worker remembers is seen only by actions
of the same instance, tool, command line and environment.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Literal, TypeAlias

from reapi.protos.reapi.executor.v1.worker_protocol_pb2 import WorkRequest

from .persistent_worker import PersistentWorker, WorkerFailed
from .run_outcome import KILLED_EXIT_CODE, ProcessUsage, RunOutcome
from .work_request import WarmKey

_UNKNOWN_USAGE = ProcessUsage(0.0, 0.0, 0, 0, 0, 0)
"""One process does the work of many actions, and nobody counts for each."""

_MOST_FAILURES = 3
_REMEMBERED_FAILURES = 100


Identity: TypeAlias = tuple[WarmKey, int]
"""What must be equal for two actions to use one worker: the second number is of their place."""


class PersistentWorkers:
    """Not for two tasks at once. `idle_seconds` after its last action a worker is ended."""

    def __init__(self, idle_seconds: float) -> None:
        self.idle_seconds = idle_seconds
        self._failures: OrderedDict[WarmKey, int] = OrderedDict()
        self._stack = AsyncExitStack()
        self._worker: PersistentWorker | None = None
        self._reaper: asyncio.Task[None] | None = None
        self._identity: Identity | None = None

    async def run(
        self,
        identity: Identity,
        make_worker: Callable[[], AbstractAsyncContextManager[PersistentWorker]],
        request: WorkRequest,
        timeout_seconds: float,
    ) -> tuple[RunOutcome, str]:
        """How the unit of work ended and what it said; after a timeout the worker is over.

        `make_worker` is called when there is none of this identity. Raises WorkerFailed: the
        action is then to be run as if there were no worker. Cancelling it ends the worker.
        """
        key, _ = identity
        if self._failures.get(key, 0) >= _MOST_FAILURES:
            raise WorkerFailed(f"{_MOST_FAILURES} workers of this kind have failed")
        await self._stop_reaper()
        worker = self._worker
        if self._identity != identity or worker is None or not worker.is_alive:
            await self.end()
            worker = self._worker = await self._stack.enter_async_context(make_worker())
            self._identity = identity
        started_ns, started = time.time_ns(), time.monotonic()
        ended_by: Literal["exit", "timeout"] = "exit"
        exit_code, output = 0, ""
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await worker.work(request)
        except TimeoutError:
            await self.end()
            ended_by, exit_code = "timeout", KILLED_EXIT_CODE
        except BaseException as error:
            await self.end()
            if isinstance(error, WorkerFailed):
                self._count_failure(key)
            raise
        else:
            exit_code, output = response.exit_code, response.output
            self._failures.pop(key, None)
            self._reaper = asyncio.create_task(self._reap())
        outcome = RunOutcome(
            ended_by,
            exit_code,
            started_ns,
            time.time_ns(),
            time.monotonic() - started,
            usage=_UNKNOWN_USAGE,
        )
        return outcome, output

    @property
    def client_key(self) -> str | None:
        """Of the worker that is warm now, if one is."""
        return self._identity[0].client_key if self._identity else None

    async def end(self) -> None:
        """Ends the worker, if there is one; no process of it is left then."""
        await self._stop_reaper()
        await self._end_worker()

    def _count_failure(self, key: WarmKey) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        self._failures.move_to_end(key)
        if len(self._failures) > _REMEMBERED_FAILURES:
            self._failures.popitem(last=False)

    async def _end_worker(self) -> None:
        self._worker = None
        self._identity = None
        await self._stack.aclose()

    async def _reap(self) -> None:
        await asyncio.sleep(self.idle_seconds)
        await self._end_worker()

    async def _stop_reaper(self) -> None:
        """Returns when no reaper is at work; one that has begun comes to its end first."""
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.cancel()
            await asyncio.wait((reaper,))
