"""The leases that a worker answers for, each until its completion is acknowledged."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import NamedTuple

from reapi.core.errors import ResourceExhausted
from reapi.core.uninterrupted import uninterrupted
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import Completion, LeaseKey

from .completion_files import CompletionFiles

_LOG = logging.getLogger(__name__)
_ACKNOWLEDGED_SECONDS = 1.0
"""A completion that is acknowledged sooner is never on disk: a file costs more than an action."""


class HeldLease:
    """One lease: running as long as it has no completion."""

    def __init__(self, key: LeaseKey, completion: Completion | None = None) -> None:
        self.key = key
        self.completion = completion
        self.run: asyncio.Future[ExecuteResponse] | None = None
        self.is_cancelled = False
        self.is_revoked = False
        self.keeping: asyncio.TimerHandle | None = None
        self.is_being_kept = False
        self.is_kept = False

    def cancel(self) -> None:
        """Ends what runs, or keeps it from beginning."""
        self.is_cancelled = True
        if self.run is not None:
            self.run.cancel()


class HeldLeases:
    """By their keys. Completions that are not acknowledged soon are kept in `files`."""

    def __init__(self, files: CompletionFiles) -> None:
        self._files = files
        self._held: dict[_Key, HeldLease] = {}

    def __iter__(self) -> Iterator[HeldLease]:
        return iter(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    @property
    def running(self) -> int:
        """How many have no completion yet."""
        return sum(held.completion is None for held in self._held.values())

    def get(self, key: LeaseKey) -> HeldLease | None:
        return self._held.get(_key(key))

    def add(self, key: LeaseKey) -> HeldLease:
        """One that was not held."""
        held = self._held[_key(key)] = HeldLease(key)
        return held

    def load(self) -> None:
        """Those that earlier lives of this worker had done, and nobody has acknowledged. Blocks."""
        for completion in self._files.load():
            held = self._held[_key(completion.key)] = HeldLease(completion.key, completion)
            held.is_kept = True
        if self._held:
            _LOG.info("%d results of an earlier life are to be delivered", len(self._held))

    def complete(
        self,
        held: HeldLease,
        response: ExecuteResponse,
        start: Callable[[Coroutine[None, None, None]], None],
        *,
        is_away: bool,
    ) -> Completion:
        """The last word about a lease, which `start`s to be kept if it is not acknowledged.

        With `is_away` the scheduler cannot do so now.
        """
        held.completion = Completion(key=held.key, response=response)
        held.keeping = asyncio.get_running_loop().call_later(
            0.0 if is_away else _ACKNOWLEDGED_SECONDS, lambda: start(self._keep_soon(held))
        )
        return held.completion

    def forget(self, key: LeaseKey) -> HeldLease | None:
        """Nobody waits for it any more; returns what was held under that key."""
        held = self._held.pop(_key(key), None)
        if held is not None:
            if held.keeping is not None:
                held.keeping.cancel()
            if not held.is_being_kept:
                self._files.remove(key)
        return held

    def keep_all(self) -> None:
        """Returns when all completions are on disk, as far as there is room. Blocks."""
        for held in self._held.values():
            if held.keeping is not None:
                held.keeping.cancel()
            if held.completion is not None and not held.is_kept:
                self._keep(held.completion)

    async def _keep_soon(self, held: HeldLease) -> None:
        assert held.completion is not None
        held.is_being_kept = True
        try:
            held.is_kept = await uninterrupted(asyncio.to_thread(self._keep, held.completion))
        finally:
            held.is_being_kept = False
        if self._held.get(_key(held.key)) is not held:
            self._files.remove(held.key)

    def _keep(self, completion: Completion) -> bool:
        name = completion.key.operation_name
        try:
            self._files.write(completion)
        except ResourceExhausted as error:
            _LOG.warning("the result of %s would not outlive a restart: %s", name, error.message)
            return False
        _LOG.info("keeping the result of %s until it is taken", name)
        return True


class _Key(NamedTuple):
    operation_name: str
    epoch: int


def _key(key: LeaseKey) -> _Key:
    return _Key(key.operation_name, key.epoch)
