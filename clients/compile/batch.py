"""All calls of a compilation database: looked up, uploaded in bulk, compiled, with one account."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest
from reapi.core.errors import ReapiError

from .bounded_process import run_process
from .engines import Engines
from .local_slots import LocalSlots
from .miss import Miss
from .model import Answer, Finished, Invocation, Local
from .outcome import OutcomeKind
from .remote_run import Prepared
from .service import Service

_LOOKED_UP_AT_ONCE = 32
_LARGEST_TEXT_BYTES = 64 << 20
_HITS = (OutcomeKind.HIT_LOCAL, OutcomeKind.HIT_REMOTE)


@dataclass(slots=True)
class Failure:
    """A call that failed, with what its compiler said."""

    invocation: Invocation
    source: str
    finished: Finished


@dataclass(slots=True)
class Account:
    """How far all calls are, and what it took. `slot_seconds` are those of executors."""

    total: int
    price_per_slot_hour: float = 0.0
    queued: int = 0
    running: int = 0
    done: int = 0
    hits: int = 0
    made: int = 0
    here: int = 0
    slot_seconds: float = 0.0
    uploaded_blobs: int = 0
    uploaded_bytes: int = 0
    upload_seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    troubles: dict[str, int] = field(default_factory=dict)

    @property
    def remaining(self) -> int:
        """Calls that nobody has begun to compile."""
        return self.total - self.done - self.running - self.queued

    @property
    def cost(self) -> float:
        """Of the executors, at the price that is configured."""
        return self.slot_seconds / 3600 * self.price_per_slot_hour

    @property
    def hit_rate(self) -> float:
        """Part of those done that a cache answered."""
        return self.hits / self.done if self.done else 0.0


class Batch:
    """Answers all calls, `at_once` at a time. `report` is called at each change of `account`,
    `said` with the source and the end of each call.

    Without `keeps_going` nothing is begun after a call has failed.
    """

    def __init__(
        self,
        engines: Engines,
        slots: LocalSlots,
        *,
        at_once: int,
        keeps_going: bool,
        price_per_slot_hour: float,
        report: Callable[[Account], None],
        said: Callable[[str, Finished], None],
    ) -> None:
        self._engines = engines
        self._slots = slots
        self._at_once = at_once
        self._keeps_going = keeps_going
        self._report = report
        self._said = said
        self.account = Account(0, price_per_slot_hour)

    async def run(self, invocations: Sequence[Invocation]) -> Account:
        """Returns when all are done, or when what is not to be begun any more is left.

        Cancelling ends what was begun, remotely too.
        """
        self.account.total = len(invocations)
        found = await map_bounded(self._look_up, invocations, at_once=_LOOKED_UP_AT_ONCE)
        jobs = [job for job in found if job is not None]
        await self._upload(jobs)
        await map_bounded(self._make, jobs, at_once=self._at_once)
        return self.account

    async def _look_up(self, invocation: Invocation) -> "_Job | None":
        """What is still to be done for a call."""
        engine = self._engines.of(invocation)
        found = await engine.find(invocation)
        if not isinstance(found, Miss):
            await self._settle(invocation, found)
            return None
        ready = await engine.prepare(found) if engine.is_remote(found) else None
        self.account.queued += 1
        self._report(self.account)
        return _Job(invocation, found, ready)

    async def _upload(self, jobs: "Sequence[_Job]") -> None:
        """All that the actions need and the server lacks, before the first of them runs."""
        blobs: dict[Service, dict[Digest, bytes]] = {}
        files: dict[Service, dict[Digest, str]] = {}
        for job in jobs:
            if isinstance(job.ready, Prepared) and job.miss.service is not None:
                blobs.setdefault(job.miss.service, {}).update(job.ready.action.blobs)
                files.setdefault(job.miss.service, {}).update(job.ready.action.files)
        begun = time.monotonic()
        for service in blobs:
            with suppress(ReapiError):  # each call says by itself what that means for it
                count, size = await service.upload(blobs[service], files[service])
                self.account.uploaded_blobs += count
                self.account.uploaded_bytes += size
        self.account.upload_seconds = time.monotonic() - begun
        self._report(self.account)

    async def _make(self, job: "_Job") -> None:
        account = self.account
        account.queued -= 1
        if account.failures and not self._keeps_going:
            return
        account.running += 1
        self._report(account)
        try:
            answer = await self._engines.of(job.invocation).make(job.miss, job.ready)
            await self._settle(job.invocation, answer)
        finally:
            account.running -= 1
        self._report(account)

    async def _settle(self, invocation: Invocation, answer: Answer) -> None:
        """Counts an answer; what is to run here does."""
        account = self.account
        outcome = answer.outcome
        if isinstance(answer, Local):
            account.here += 1
            async with self._slots.slot():
                answer = await run_process(
                    invocation.arguments,
                    invocation.working_directory,
                    invocation.environment,
                    largest_output_bytes=_LARGEST_TEXT_BYTES,
                    umask=invocation.umask,
                )
        elif outcome is not None and outcome.kind in _HITS:
            account.hits += 1
        else:
            account.made += 1
        if outcome is not None:
            account.slot_seconds += outcome.slot_seconds
            if outcome.trouble:
                account.troubles[outcome.trouble] = account.troubles.get(outcome.trouble, 0) + 1
        account.done += 1
        source = outcome.source if outcome is not None else ""
        if answer.exit_code:
            account.failures.append(Failure(invocation, source, answer))
        self._said(source or invocation.arguments[-1], answer)
        self._report(account)


@dataclass(frozen=True, slots=True)
class _Job:
    invocation: Invocation
    miss: Miss
    ready: Prepared | Local | None
