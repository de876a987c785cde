"""Runs the action of one lease in a slot, from its digests to the ExecuteResponse."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.digest import Digest, DigestFunction, parse_digest, parse_function
from reapi.core.errors import (
    BlobsMissing,
    Cancelled,
    DeadlineExceeded,
    Internal,
    ReapiError,
    ResourceExhausted,
    status_of,
)
from reapi.core.execution_properties import ExecutionProperties, execution_properties
from reapi.core.uninterrupted import uninterrupted
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease

from .command import PreparedCommand, prepare_command
from .input_tree import EMPTY_DIRECTORY, InputTrees
from .local_cache import LocalCache, LocalFile
from .output_blobs import OutputBlobs
from .outputs import collect_outputs
from .persistent_worker import WorkerFailed
from .resource_usage import resource_usage
from .roots import Root, Roots
from .run_outcome import KILLED_EXIT_CODE, RunOutcome
from .runner import LogFile
from .slot import Slot
from .timestamps import Timestamps
from .work_request import NotWork, work_of

_LOG = logging.getLogger(__name__)
TIMEOUT_MESSAGE = "execution timeout exceeded"
"""Clients compare it (Q-SISO1)."""

_CANCELLED_LOGS_SECONDS = 5.0
"""For storing what a cancelled command printed: its slot is wanted for others."""

_INLINE_LOG_BYTES = 128 << 10
"""What is sent inside the result when asked for; more is there by digest."""


class Action:
    """One run of a lease's action, which starts when this is made."""

    def __init__(
        self,
        lease: Lease,
        worker_id: str,
        store: PatientBlobStore,
        trees: InputTrees,
        cache: LocalCache,
        roots: Roots,
    ) -> None:
        self._lease = lease
        self._store = store
        self._trees = trees
        self._cache = cache
        self._roots = roots
        self.metadata = re_pb2.ExecutedActionMetadata(
            worker=worker_id, queued_timestamp=lease.queued_timestamp
        )
        self._timestamps = Timestamps(self.metadata, lease.queued_timestamp)
        self._timestamps.mark("worker_start")
        self._inputs = EMPTY_DIRECTORY
        self._has_begun = False
        self.started_ns = time.time_ns()
        """Nothing of the action ran before this time."""

    async def run(self, slot: Slot, on_start: Callable[[], None]) -> re_pb2.ExecuteResponse:
        """Whatever goes wrong becomes the status of the response (EX19); all blobs are stored then.

        `on_start` is called when the command begins to run. The slot is to be restored afterwards,
        also when this is cancelled; no process of the action is left in either case.
        """
        response = re_pb2.ExecuteResponse()
        try:
            function = parse_function(
                self._lease.digest_function, len(self._lease.action_digest.hash)
            )
            properties = execution_properties(
                [(each.name, each.value) for each in self._lease.platform.properties], function
            )
            async with AsyncExitStack() as stack:
                command, root = await self._stage(slot, function, properties, stack)
                outcome = await self._execute(slot, command, root, properties, on_start)
            response.message = outcome.message
            async with OutputBlobs(function) as blobs:
                await self._store_result(slot, command, outcome, blobs, response)
        except ReapiError as error:
            response.status.CopyFrom(status_of(error))
        except Exception:
            _LOG.exception("action %s met a bug", self._lease.action_digest.hash)
            response.status.CopyFrom(status_of(Internal("the executor failed; see its log")))
        self._timestamps.mark("worker_completed")
        if response.HasField("result"):
            response.result.execution_metadata.CopyFrom(self.metadata)
        return response

    async def _stage(
        self,
        slot: Slot,
        function: DigestFunction,
        properties: ExecutionProperties,
        stack: AsyncExitStack,
    ) -> tuple[PreparedCommand, Root]:
        """Reads what the action consists of and makes its input root.

        `stack` keeps the root file system of the command usable.
        """
        self._timestamps.mark("input_fetch_start")
        action = self._lease.action
        inline = {parse_digest(blob.digest, function): blob.data for blob in self._lease.blobs}
        command_digest = parse_digest(action.command_digest, function)
        root_digest = parse_digest(action.input_root_digest, function)
        data = inline.get(command_digest)
        if data is None:
            data = (await self._store.read_many([command_digest])).get(command_digest)
        if data is None:
            absent = await self._trees.missing(root_digest, inline, self._store, self._cache)
            raise BlobsMissing([command_digest.subject, *absent])
        command = prepare_command(data, command_digest, slot.default_environment)
        directory = await self._trees.load(root_digest, inline, self._store, self._cache)
        command.check_working_directory(directory)
        self._inputs = directory
        root = await stack.enter_async_context(
            self._roots.use(properties, command, directory, self._store)
        )
        await slot.tree.stage(directory, root.parents, self._store)
        self._timestamps.mark("input_fetch_completed")
        return command, root

    async def _execute(
        self,
        slot: Slot,
        command: PreparedCommand,
        root: Root,
        properties: ExecutionProperties,
        on_start: Callable[[], None],
    ) -> RunOutcome:
        isolation = slot.isolation(root, network=properties.network)
        self.metadata.auxiliary_metadata.add().Pack(isolation)
        self._timestamps.mark("execution_start")
        self.started_ns = time.time_ns()
        self._has_begun = True
        on_start()
        timeout_seconds = self._lease.timeout.ToNanoseconds() / 1e9
        outcome = None
        if properties.persistent_worker_key is not None and slot.can_work(root):
            outcome = await self._work(slot, command, root, properties, timeout_seconds)
        if outcome is None:
            booked = {one.name: one.amount for one in self._lease.resources}
            outcome = await slot.run(
                command, root, timeout_seconds, booked, network=properties.network
            )
        self._timestamps.mark("execution_completed", outcome.ended_ns)
        self.metadata.virtual_execution_duration.FromNanoseconds(round(outcome.seconds * 1e9))
        return outcome

    async def _work(
        self,
        slot: Slot,
        command: PreparedCommand,
        root: Root,
        properties: ExecutionProperties,
        timeout_seconds: float,
    ) -> RunOutcome | None:
        """What a persistent worker made of it; None when a process of its own has to do it."""
        directory = self._inputs
        assert properties.persistent_worker_key is not None
        name = self._lease.action_digest.hash
        try:
            work = await asyncio.to_thread(
                work_of,
                command,
                slot.tree.path,
                directory,
                instance_name=self._lease.instance_name,
                client_key=properties.persistent_worker_key,
                network=properties.network,
            )
            return await slot.work(command, root, work, timeout_seconds, network=properties.network)
        except NotWork as error:
            _LOG.debug("action %s has no persistent worker: %s", name, error)
        except WorkerFailed as error:
            _LOG.warning("the persistent worker of action %s failed: %s", name, error)
            await slot.restore(self.started_ns)
            await slot.tree.stage(directory, root.parents, self._store)
        return None

    async def _store_result(
        self,
        slot: Slot,
        command: PreparedCommand,
        outcome: RunOutcome,
        blobs: OutputBlobs,
        response: re_pb2.ExecuteResponse,
    ) -> None:
        """Uploads outputs and logs; `response` gets the result only when all are stored (IN19)."""
        self._timestamps.mark("output_upload_start")
        result, files = re_pb2.ActionResult(), list[LocalFile]()
        error: ReapiError | None = None
        try:
            if outcome.ended_by == "timeout":
                raise DeadlineExceeded(TIMEOUT_MESSAGE)
            if outcome.ended_by == "limit":
                raise ResourceExhausted(outcome.message)
            if command.outputs:
                blobs.upload_early(self._store)
                result, files = await uninterrupted(
                    asyncio.to_thread(
                        collect_outputs,
                        slot.tree.path,
                        command.outputs,
                        command.output_directory_format,
                        self._lease.inline_output_files,
                        blobs,
                        slot.limits.outputs_size_bytes,
                    )
                )
        except ReapiError as failure:
            error = failure
        result.exit_code = outcome.exit_code
        await self._add_logs(slot, result, blobs)
        await blobs.upload(self._store)
        self._timestamps.mark("output_upload_completed")
        usage = resource_usage(outcome.usage, self._inputs, slot.tree.fetched, blobs)
        self.metadata.auxiliary_metadata.add().Pack(usage)
        if outcome.exit_code == 0:  # what a failure leaves is nobody's input, and may fill the disk
            slot.keep(files)
        response.result.CopyFrom(result)
        if error is not None:
            response.status.CopyFrom(status_of(error))

    async def _add_logs(self, slot: Slot, result: re_pb2.ActionResult, blobs: OutputBlobs) -> None:
        if stdout := await _add_log(slot.runner.stdout, blobs):
            result.stdout_digest.CopyFrom(stdout.to_message())
            if self._lease.inline_stdout and stdout.size_bytes <= _INLINE_LOG_BYTES:
                result.stdout_raw = blobs.held(stdout) or b""
        if stderr := await _add_log(slot.runner.stderr, blobs):
            result.stderr_digest.CopyFrom(stderr.to_message())
            if self._lease.inline_stderr and stderr.size_bytes <= _INLINE_LOG_BYTES:
                result.stderr_raw = blobs.held(stderr) or b""

    async def cancelled(self, slot: Slot) -> re_pb2.ExecuteResponse:
        """The response after `run` was cancelled: with what the command printed, if it had begun
        and if that can be stored within seconds. The slot must not be restored before."""
        error = Cancelled("the operation was cancelled")
        response = re_pb2.ExecuteResponse(status=status_of(error))
        if not self._has_begun:
            return response
        function = parse_function(self._lease.digest_function, len(self._lease.action_digest.hash))
        result = re_pb2.ActionResult(exit_code=KILLED_EXIT_CODE)
        try:
            async with asyncio.timeout(_CANCELLED_LOGS_SECONDS), OutputBlobs(function) as blobs:
                await self._add_logs(slot, result, blobs)
                await blobs.upload(self._store)
        except (ReapiError, TimeoutError) as failure:
            _LOG.warning("what a cancelled command printed is lost: %s", failure)
            return response
        if not (result.HasField("stdout_digest") or result.HasField("stderr_digest")):
            return response
        self._timestamps.mark("worker_completed")
        result.execution_metadata.CopyFrom(self.metadata)
        response.result.CopyFrom(result)
        return response


async def _add_log(log: LogFile, blobs: OutputBlobs) -> Digest | None:
    """The digest of what was written, unless that is nothing (IN17)."""
    size_bytes = log.size_bytes
    if not size_bytes:
        return None
    if size_bytes <= _INLINE_LOG_BYTES:
        return blobs.add(log.read(size_bytes))
    add = partial(blobs.add_file, partial(os.dup, log.fd), size_bytes)
    return await uninterrupted(asyncio.to_thread(add))
