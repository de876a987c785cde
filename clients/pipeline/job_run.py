"""Runs one job: its commands at the same time, each an action on the same input root."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from reapi.clients.action import encode_action
from reapi.clients.merkle import LocalTree, TreeNode, encode_tree
from reapi.clients.model import Activity, CommandSpec, CommandTimedOut, RunProgress, RunResult
from reapi.core.digest import Digest
from reapi.core.errors import (
    Aborted,
    BlobsMissing,
    DataLoss,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ReapiError,
    ResourceExhausted,
    Unavailable,
    Unknown,
)

from .allowance import Allowance
from .artifacts import chosen, has, joined
from .local_inputs import LocalInputs
from .outcome import ActionOutcome, JobOutcome, State
from .plan import Job
from .remote import Remote
from .schedule import Schedule

LONGEST_LOG_BYTES = 64 << 10
"""Of each stream of a failed command; what comes before is on the server."""

_MOST_UPLOADS = 3

_OF_THE_SERVICE = (
    Aborted,
    BlobsMissing,
    DataLoss,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
    Unknown,
)
"""Errors after which the same action may succeed: nothing in them is about the command."""

OnActivity = Callable[[Activity | None], None]
"""Told what an action does now; None when it has ended."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the jobs of one run share; `artifacts` are of those that have ended."""

    remote: Remote
    local: LocalInputs
    schedule: Schedule
    artifacts: dict[Job, TreeNode]
    skip_cache_lookup: bool


class JobRun:
    """One job on its way, once all that it needs has succeeded; adds its artifacts to the rest."""

    def __init__(self, outcome: JobOutcome, setting: Setting, allowance: Allowance) -> None:
        self._job = outcome.job
        self._outcome = outcome
        self._setting = setting
        self._remote = setting.remote
        self._allowance = allowance
        self._input_root: LocalTree | None = None
        self._encoding = asyncio.Lock()

    async def run(self, on_activity: Callable[[], OnActivity]) -> None:
        """Runs it to its end, which the outcome says; raises nothing that is about the job."""
        outcome = self._outcome
        outcome.state = State.RUNNING
        outcome.actions = [None] * len(self._job.commands)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(self._job.commands)):
                    group.create_task(self._run_command(number, on_activity()))
            self._input_root = None
            outcome.state = await self._end()
        except* ReapiError as errors:
            # Only what concerns the job as a whole: its input root, its artifacts.
            outcome.error = str(errors.exceptions[0])
            outcome.state = State.BROKEN
        outcome.ended = asyncio.get_running_loop().time()
        outcome.began = outcome.began or outcome.ended

    async def _run_command(self, number: int, on_activity: OnActivity) -> None:
        self._remote.speak_for(self._job.repository, self._job.label)
        try:
            async with self._allowance.one():
                if not self._setting.schedule.is_ending:
                    now = asyncio.get_running_loop().time()
                    self._outcome.began = self._outcome.began or now
                    action = await self._execute(self._job.commands[number], on_activity)
                    self._outcome.actions[number] = action
                    if not action.has_succeeded:
                        self._setting.schedule.note_failure()
        finally:
            on_activity(None)

    async def _execute(self, command: tuple[str, ...], on_activity: OnActivity) -> ActionOutcome:
        tree = await self._tree()
        job = self._job
        spec = CommandSpec(
            arguments=command,
            environment=job.environment,
            platform=job.platform,
            timeout_seconds=job.timeout_seconds,
        )
        outputs = {"" if path == "." else path for path in job.outputs}
        digest, blobs = encode_action(spec, sorted(outputs, key=str.encode), "", tree.root_digest)
        blobs |= tree.blobs
        for retries_left in range(job.retries, -1, -1):
            try:
                result = await self._run_action(digest, blobs, on_activity)
            except CommandTimedOut as error:
                return ActionOutcome(_shortened(error.result, LONGEST_LOG_BYTES), error.message)
            except ReapiError as error:
                if not retries_left or not isinstance(error, _OF_THE_SERVICE):
                    return ActionOutcome(None, error.message or type(error).__name__)
            else:
                return ActionOutcome(
                    _shortened(result, LONGEST_LOG_BYTES if result.exit_code else 0)
                )
        raise AssertionError("the last attempt returns")

    async def _run_action(
        self, digest: Digest, blobs: Mapping[Digest, bytes], on_activity: OnActivity
    ) -> RunResult:
        """Uploads once more, files too, what the server says is missing: it may have been evicted.

        An artifact cannot be uploaded from here; then the error passes.
        """
        files: Mapping[Digest, str] = {}
        for uploads_left in range(_MOST_UPLOADS - 1, -1, -1):
            await self._remote.upload(blobs, files)
            try:
                return await self._remote.execute(
                    digest,
                    skip_cache_lookup=self._setting.skip_cache_lookup,
                    on_progress=partial(_tell, on_activity),
                )
            except BlobsMissing:
                if not uploads_left:
                    raise
                files = self._setting.local.files
        raise AssertionError("the last attempt returns")

    async def _tree(self) -> LocalTree:
        """The input root of the job: made when its first action is let in, so few are in memory."""
        async with self._encoding:
            if self._input_root is None:
                self._input_root = await asyncio.to_thread(self._make_tree)
            return self._input_root

    def _make_tree(self) -> LocalTree:
        nodes = [self._setting.local.of(self._job)]
        for taken in self._job.taken:
            artifacts = joined(self._setting.artifacts[job] for job in taken.jobs)
            try:
                nodes.append(chosen(artifacts, taken.paths))
            except NotFound as error:
                raise NotFound(f"of what {taken.stage} has made, {error.message}") from error
        return LocalTree(*encode_tree(joined(nodes), self._remote.function))

    async def _end(self) -> State:
        """Gathers what the actions have made, and says how the job ended."""
        actions = self._outcome.actions
        made = [
            await self._remote.read_outputs(result.outputs, self._job.outputs)
            for result in self._outcome.results
        ]
        try:
            self._setting.artifacts[self._job] = artifacts = joined(made)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"two commands made different outputs: {error.message}"
            ) from error
        bad = [one for one in actions if one is not None and not one.has_succeeded]
        if bad:
            return State.FAILED if any(one.result for one in bad) else State.BROKEN
        if None in actions:
            return State.STOPPED
        missing = [path for path in self._job.outputs if not has(artifacts, path)]
        if missing:
            self._outcome.error = f"no command made {', '.join(missing)}"
            return State.FAILED
        try:
            chosen(artifacts, self._job.download)
        except NotFound as error:
            self._outcome.error = f"download: {error.message}"
            return State.FAILED
        return State.SUCCEEDED


def _tell(on_activity: OnActivity, progress: RunProgress) -> None:
    on_activity(progress.activity)


def _shortened(result: RunResult, most: int) -> RunResult:
    """A result with so many bytes of the end of each log."""
    return dataclasses.replace(
        result,
        stdout=result.stdout[max(0, len(result.stdout) - most) :],
        stderr=result.stderr[max(0, len(result.stderr) - most) :],
    )
