"""A world whose scheduler dies between any two writes of its journal, and goes on from what is
there. The journal is the real one; only the database is a fake."""

from collections.abc import Callable
from random import Random

from reapi.scheduler.commands import Command, FinishOperations
from reapi.scheduler.events import Enqueue, Event, LeaseCompleted, Restarted
from reapi.scheduler.invariants import check_invariants
from reapi.scheduler.journal import Journal
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue
from tests.fakes.memory_journal import MemoryJournal
from tests.simulation.world import World

Crashes = Callable[[int], bool]
"""Whether the scheduler dies after so many events of a history, from 1."""


class Crash(Exception):
    """The process is gone, in the midst of whatever it did."""


class CrashingWorld(World):
    """What a commit makes durable is told to clients then, and not before, as the dispatcher does.

    `acknowledged` are the operations whose names clients know, `told` is how they ended. Commits
    take in one event or several; which ones does not depend on the crashes.
    """

    def __init__(self, seed: int, crashes: Crashes) -> None:
        super().__init__(seed, Queue())
        self.acknowledged: set[str] = set()
        self.told: dict[str, bytes] = {}
        self.crashed = 0
        self._crashes = crashes
        self._handled = 0
        self._commits = Random(seed)
        self._interval = self._commits.choice((1, 8, 1_000))
        self._named: list[str] = []
        self._results: list[tuple[str, bytes]] = []
        self.store = MemoryJournal()
        self._journal = self._open()

    async def run(self, steps: int) -> None:
        """A history with its crashes, and then without any until all has ended."""
        await self._start()
        for _ in range(steps):
            try:
                self.step()
            except Crash:
                self.crashed += 1
                self._lose_memory()
                await self._start()
        self._crashes = lambda _: False
        self.settle()
        check_invariants(self.queue)
        self._commit()
        assert self.told.keys() >= self.acknowledged, "an operation never ended for its client"

    def note(self, event: Event, commands: list[Command]) -> None:
        super().note(event, commands)
        self._handled += 1
        self._journal.append(event, self.now, commands)
        if isinstance(event, Enqueue):
            self._named.append(event.operation_name)
        for command in commands:
            if isinstance(command, FinishOperations):
                result = _result(event, command)
                for name in command.operation_names:
                    self._journal.finish(name, "", self.now, result)
                    self._results.append((name, result))
        self._journal.fold(self.queue, self.now)
        if self._commits.random() < 0.5:
            self._commit()
        if self._crashes(self._handled):
            raise Crash

    def _commit(self) -> None:
        self.store.flush()
        self.acknowledged.update(self._named)
        self._named.clear()
        for name, result in self._results:
            assert self.told.setdefault(name, result) == result, f"{name} ended in two ways"
        self._results.clear()

    def _lose_memory(self) -> None:
        self._named.clear()
        self._results.clear()
        self.broken.clear()
        for worker in self.workers:
            worker.is_connected = False
        self.store = self.store.survivor()
        self._journal = self._open()

    async def _start(self) -> None:
        """What the dispatcher does before it serves anybody; it awaits the commit."""
        self.queue = (await self._journal.recover(Policy())).queue
        check_invariants(self.queue)
        live, finished = set(self.queue.operations), set(self.store.finished_rows)
        assert not live & finished, "an operation goes on that has ended"
        assert live | finished == self.acknowledged, "an operation was lost, or came from nowhere"
        for name, result in self.told.items():
            assert self.store.finished_rows[name].operation == result
        self.alive, self.ended = live, finished
        crashes, self._crashes = self._crashes, lambda _: False
        self.apply(Restarted())
        self._crashes = crashes
        self._commit()

    def _open(self) -> Journal:
        return Journal(
            self.store,
            finished_retention=1 << 60,
            max_finished=1 << 60,
            snapshot_interval=self._interval,
        )


def _result(event: Event, command: FinishOperations) -> bytes:
    """Who found it, or what the core itself decided."""
    if command.outcome is not None:
        return repr(command.outcome).encode()
    assert isinstance(event, LeaseCompleted)
    return f"{event.worker_id} {event.epoch}".encode()
