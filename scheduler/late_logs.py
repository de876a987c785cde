"""Operations that have ended before their worker could say what was printed.

The end of a cancelled operation is told at once, while its worker still kills the command and
stores what that has printed. Its completion is too late for the result, but not for the logs.
"""

import asyncio
from collections.abc import Sequence

from .commands import Command, FinishOperations, RevokeLease, WelcomeWorker
from .model import LeaseKey

_PATIENCE_SECONDS = 30.0


class LateLogs:
    """Bounded by the slots of the fleet, for a lease keeps its slot until its worker has spoken,
    and by time: a worker may be lost."""

    def __init__(self) -> None:
        self._names: dict[LeaseKey, tuple[str, ...]] = {}
        self._told: dict[str, asyncio.Event] = {}

    def note(self, commands: Sequence[Command]) -> None:
        """The core has commanded this: of operations that it ends, it revokes the leases first."""
        revoked: list[LeaseKey] = []
        for command in commands:
            if type(command) is RevokeLease:
                revoked.append((command.execution_id, command.epoch))
            elif type(command) is FinishOperations:
                if command.outcome is not None:
                    for key in revoked:
                        self._expect(key, command.operation_names)
                revoked = []
            elif type(command) is WelcomeWorker:
                # What it is told to drop on its return it does not speak of again.
                for key in command.revoked:
                    self.told(key)

    def _expect(self, key: LeaseKey, names: tuple[str, ...]) -> None:
        self._names[key] = names
        for name in names:
            self._told.setdefault(name, asyncio.Event())
        asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self.told, key)

    def operations(self, key: LeaseKey) -> tuple[str, ...]:
        """Those that ended while this lease ran, if its worker has not spoken since."""
        return self._names.get(key, ())

    def told(self, key: LeaseKey) -> None:
        """The worker has spoken, and what it said is where readers find it; or it never will."""
        for name in self._names.pop(key, ()):
            told = self._told.pop(name, None)
            if told is not None:
                told.set()

    async def wait(self, name: str) -> None:
        """Returns when nothing more is expected of the workers of an operation, in bounded time."""
        told = self._told.get(name)
        if told is not None:
            await told.wait()
