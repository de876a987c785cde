"""Runs a plan: hashes and uploads what it needs, runs jobs as they become ready, downloads."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reapi.clients.file_digests import FileDigests
from reapi.clients.model import Activity, Progress, RunProgress
from reapi.clients.run import in_stoppable_thread
from reapi.core.errors import InvalidArgument, ReapiError

from .allowance import Allowance, fair_limit
from .artifacts import chosen, joined, to_download
from .job_run import JobRun, OnActivity, Setting
from .local_inputs import LocalInputs, read_local_inputs
from .outcome import JobOutcome, PlanOutcome, State
from .plan import Job, Plan
from .remote import Remote
from .schedule import Schedule

_NOTHING = Progress(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """How many actions of the plan are where; `remaining` ones are not on the server yet."""

    queued: int
    running: int
    done: int
    remaining: int
    cached: int


class Watcher(Protocol):
    """Told how a plan goes on, in its event loop; what it raises ends the run."""

    def transfer(self, progress: RunProgress) -> None:
        """Inputs are hashed or uploaded, or outputs downloaded."""

    def uploaded(self, progress: Progress, seconds: float) -> None:
        """All inputs are on the server: what had to be sent, and how long it took."""

    def progress(self, progress: PlanProgress) -> None:
        """An action began, ended, or is executed now."""

    def ended(self, outcome: JobOutcome) -> None:
        """A job ended, or was stopped before it began."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is run. `root` is the checkout; `most_at_once` goes before what plans say."""

    root: Path
    cache_path: Path | None
    fails_fast: bool = False
    skip_cache_lookup: bool = False
    most_at_once: int | None = None


async def run_plan(
    remote: Remote, plan: Plan, options: RunOptions, watcher: Watcher
) -> PlanOutcome:
    """Runs a plan to its end, whatever comes of its jobs.

    Raises NotFound and InvalidArgument, before anything runs, for inputs that do not exist or
    cannot be read. Being cancelled cancels what runs at the server.
    """
    return await _PlanRun(remote, plan, options, watcher).run()


class _PlanRun:
    def __init__(self, remote: Remote, plan: Plan, options: RunOptions, watcher: Watcher) -> None:
        self._remote = remote
        self._plan = plan
        self._options = options
        self._watcher = watcher
        self._outcomes = {job: JobOutcome(job) for job in plan.jobs}
        self._schedule = Schedule(plan.jobs, fails_fast=options.fails_fast)
        self._artifacts = {job: joined(()) for job in plan.jobs}
        self._activities: Counter[Activity] = Counter()
        self._done = 0
        self._cached = 0
        self._allowances = {
            repository: Allowance(self._limit_of(repository))
            for repository in {job.repository for job in plan.jobs}
        }

    async def run(self) -> PlanOutcome:
        loop = asyncio.get_running_loop()
        began = loop.time()
        local = await self._read_inputs()
        sending = loop.time()
        sent = await self._remote.upload({}, local.files, self._transfer(Activity.UPLOADING))
        self._watcher.uploaded(sent, loop.time() - sending)
        async with asyncio.TaskGroup() as group:
            self._start(group, self._setting(local), self._schedule.start())
        received, error = await self._download()
        return PlanOutcome(
            jobs=list(self._outcomes.values()),
            left_out=self._plan.left_out,
            seconds=loop.time() - began,
            uploaded_blobs=sent.blobs_done,
            uploaded_bytes=sent.bytes_done,
            downloaded_blobs=received.blobs_done,
            downloaded_bytes=received.bytes_done,
            error=error,
        )

    async def _read_inputs(self) -> LocalInputs:
        self._watcher.transfer(RunProgress(Activity.HASHING))

        def read(is_stopped: Callable[[], bool]) -> LocalInputs:
            with FileDigests(self._options.cache_path, self._remote.function) as digests:
                return read_local_inputs(self._options.root, self._plan.jobs, digests, is_stopped)

        return await in_stoppable_thread(read)

    def _setting(self, local: LocalInputs) -> Setting:
        return Setting(
            self._remote,
            local,
            self._schedule,
            self._artifacts,
            skip_cache_lookup=self._options.skip_cache_lookup,
        )

    def _start(self, group: asyncio.TaskGroup, setting: Setting, jobs: list[Job]) -> None:
        for job in jobs:
            group.create_task(self._run_job(group, setting, job))

    async def _run_job(self, group: asyncio.TaskGroup, setting: Setting, job: Job) -> None:
        outcome = self._outcomes[job]
        await JobRun(outcome, setting, self._allowances[job.repository]).run(self._activity)
        self._cached += outcome.cached
        ready, stopped = self._schedule.end(job, outcome.state)
        self._watcher.ended(outcome)
        for other in stopped:
            self._outcomes[other].state = State.STOPPED
            self._done += len(other.commands)
            self._watcher.ended(self._outcomes[other])
        self._tell()
        self._start(group, setting, ready)

    def _activity(self) -> OnActivity:
        """Counts what one action does; it is to be told the end of it, too."""
        now: Activity | None = None

        def change(activity: Activity | None) -> None:
            nonlocal now
            if now is not None:
                self._activities[now] -= 1
            if activity is None:
                self._done += 1
            else:
                self._activities[activity] += 1
            now = activity
            self._tell()

        return change

    def _tell(self) -> None:
        queued = self._activities[Activity.QUEUED]
        running = self._activities[Activity.EXECUTING]
        remaining = self._plan.actions - self._done - queued - running
        self._watcher.progress(PlanProgress(queued, running, self._done, remaining, self._cached))

    def _limit_of(self, repository: str) -> Callable[[], Awaitable[int]]:
        fixed = self._options.most_at_once or self._plan.most_at_once.get(repository)

        async def limit() -> int:
            if fixed is not None:
                return fixed
            slots, queued = await self._remote.slots_and_queue()
            return fair_limit(slots, others_wait=queued > self._activities[Activity.QUEUED])

        return limit

    def _transfer(self, activity: Activity) -> Callable[[Progress], None]:
        return lambda progress: self._watcher.transfer(RunProgress(activity, progress))

    async def _download(self) -> tuple[Progress, str]:
        """What came of what the plan says, and what went wrong with it.

        Of a job that failed what there is: a report of tests says most when they fail.
        """
        try:
            entries = to_download(
                joined(
                    chosen(
                        self._artifacts[job],
                        job.download,
                        may_lack=outcome.state is not State.SUCCEEDED,
                    )
                    for job, outcome in self._outcomes.items()
                )
            )
        except InvalidArgument as error:
            return _NOTHING, f"cannot download: {error.message}"
        if not (entries.files or entries.symlinks or entries.directories):
            return _NOTHING, ""
        try:
            return await self._remote.download(
                entries, self._options.root, self._transfer(Activity.DOWNLOADING)
            ), ""
        except ReapiError as error:
            return _NOTHING, f"cannot download: {error.message}"
