"""The limits of one slot in force: what its process is told, and what is said of a breach."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reapi.core.uninterrupted import uninterrupted

from .limits import CPU, MEMORY, Limits, resource_limits, size_text
from .run_outcome import KILLED_EXIT_CODE, ProcessUsage, RunOutcome
from .slot_cgroup import SlotCgroup

_FILE_TOO_LARGE_EXIT_CODE = 128 + signal.SIGXFSZ


class Enforcement:
    """For one command at a time: `prepare` before it runs, `explained` afterwards.

    `cgroup` is the slot's, where there is one.
    """

    def __init__(self, limits: Limits, cgroup: SlotCgroup | None, *, has_own_uid: bool) -> None:
        self.limits = limits
        self._cgroup = cgroup
        self._has_own_uid = has_own_uid

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that `begin` names, which the slot process inherits."""
        return self._cgroup.descriptors if self._cgroup else ()

    def begin(self) -> dict[str, Any]:
        """A slot process is about to start: what it is told, see its `main`."""
        cgroup = self._cgroup
        if cgroup:
            cgroup.allow_processes()  # the one before may have died while it allowed none
        return {
            "rlimits": resource_limits(
                self.limits, cgroup.controllers if cgroup else (), has_own_uid=self._has_own_uid
            ),
            "cgroups": cgroup.entrances if cgroup else [],
            "out_of_memory": cgroup.out_of_memory if cgroup else None,
            "processes": cgroup.processes if cgroup else None,
        }

    def kill(self) -> None:
        """Whatever runs in the slot is dead afterwards, as far as a cgroup tells what that is."""
        if self._cgroup:
            self._cgroup.kill()

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed for memory since `prepare`."""
        return self._cgroup is not None and self._cgroup.ran_out_of_memory()

    async def prepare(self, booked: Mapping[str, int]) -> None:
        """A command is about to run that has booked so much of resources."""
        cgroup = self._cgroup
        if cgroup is None:
            return
        amounts = booked.get(MEMORY, 0), booked.get(CPU, 0)
        if cgroup.needs_change(*amounts):
            await uninterrupted(asyncio.to_thread(cgroup.change, *amounts))
        cgroup.start()

    def explained(self, outcome: RunOutcome, breach: str) -> RunOutcome:
        """With the peak of memory, and with the limit that was met.

        `breach` says what else it used too much of, and was killed for if that was noticed in time.
        """
        cgroup = self._cgroup
        outcome = replace(outcome, usage=self._measured(outcome))
        if outcome.ended_by == "memory":
            assert cgroup is not None, "nobody else tells of it"
            limit = f" of {size_text(cgroup.memory_bytes)}" if cgroup.memory_bytes else ""
            message = f"the action used more than its memory limit{limit} and was killed"
            return replace(outcome, exit_code=KILLED_EXIT_CODE, message=message)
        if outcome.ended_by in ("killed", "exit") and breach:
            return replace(outcome, ended_by="limit", message=breach)
        return replace(outcome, message="; ".join(self._notes(outcome)))

    def _measured(self, outcome: RunOutcome) -> ProcessUsage:
        """With what the cgroup has counted, of which nobody who waits for processes knows."""
        cgroup, usage = self._cgroup, outcome.usage
        if cgroup is None:
            return replace(usage, peak_memory_bytes=usage.largest_process_bytes)
        peak_bytes = max(usage.largest_process_bytes, cgroup.peak_bytes())
        if outcome.ended_by == "exit":
            return replace(usage, peak_memory_bytes=peak_bytes)
        # Who is killed with its pid namespace is waited for by nobody.
        user, system = cgroup.seconds()
        return replace(
            usage,
            peak_memory_bytes=peak_bytes,
            user_seconds=max(usage.user_seconds, user),
            system_seconds=max(usage.system_seconds, system),
        )

    def _notes(self, outcome: RunOutcome) -> list[str]:
        """On limits that let the command go on, and may be why it failed."""
        notes = []
        if outcome.met_processes:
            notes.append(f"the action met its limit of {self.limits.processes} processes")
        if outcome.exit_code == _FILE_TOO_LARGE_EXIT_CODE:
            most = size_text(self.limits.file_size_bytes)
            notes.append(f"the action wrote to a file beyond its limit of {most}")
        return notes
