"""Runs a command remotely from local files to local files: hash, upload, execute, download."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TypeVar

from google.rpc import code_pb2

from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import BlobsMissing, Internal, ReapiError, error_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse

from .action import LocalAction, build_action
from .blobs import RemoteBlobStore
from .channel import Channel
from .download import download
from .execution import execute
from .file_digests import FileDigests
from .live_output import LiveOutput, OnOutput, live_output
from .model import (
    Activity,
    CommandSpec,
    CommandTimedOut,
    Progress,
    RunProgress,
    RunResult,
    Stage,
)
from .outcome import output_entries, read_result
from .upload import upload

OnRunProgress = Callable[[RunProgress], None]
BuildAction = Callable[[Path, CommandSpec, FileDigests, Callable[[], bool]], LocalAction]
T = TypeVar("T")

_MOST_UPLOADS = 3
"""How often missing blobs are uploaded again before the server is not believed any more."""


class Runner:
    """Runs actions of one instance of a server."""

    def __init__(self, channel: Channel, store: RemoteBlobStore, instance_name: str) -> None:
        self._channel = channel
        self._store = store
        self._instance_name = instance_name

    async def run(
        self,
        root: Path,
        spec: CommandSpec,
        *,
        function: DigestFunction,
        cache_path: Path | None,
        skip_cache_lookup: bool,
        download_outputs: bool,
        on_progress: OnRunProgress,
        on_output: OnOutput | None,
        build: BuildAction = build_action,
    ) -> RunResult:
        """Runs `spec` on the files below `root`, where its outputs are written, too.

        `build` makes the action in a thread. All digests of the action are of `function` (D5, D6).
        Being cancelled cancels the operation at the server.
        """
        on_progress(RunProgress(Activity.HASHING))
        action = await in_stoppable_thread(partial(_build, build, root, spec, function, cache_path))
        async with live_output(self._channel, on_output) as live:
            response, name = await self._upload_and_execute(
                action, skip_cache_lookup, on_progress, live
            )
            result = await self._result_of(
                action.digest, response, name, live, working_directory=action.working_directory
            )
        if download_outputs and action.outputs:
            entries = await output_entries(
                self._store,
                response.result,
                function,
                working_directory=action.working_directory,
                declared=action.outputs,
            )
            await download(self._store, entries, root, _transfer(on_progress, Activity.DOWNLOADING))
        return result

    async def _upload_and_execute(
        self,
        action: LocalAction,
        skip_cache_lookup: bool,
        on_progress: OnRunProgress,
        live: LiveOutput,
    ) -> tuple[ExecuteResponse, str]:
        """Uploads again what the server says is missing: it may have been evicted (B3)."""
        uploads = 0
        while True:
            uploads += 1
            await upload(
                self._store,
                action.tree.blobs,
                action.tree.files,
                _transfer(on_progress, Activity.UPLOADING),
            )
            try:
                return await self._execute(action.digest, skip_cache_lookup, on_progress, live)
            except BlobsMissing:
                if uploads == _MOST_UPLOADS:
                    raise

    async def execute(
        self,
        action_digest: Digest,
        *,
        skip_cache_lookup: bool,
        on_progress: OnRunProgress,
        on_output: OnOutput | None,
    ) -> RunResult:
        """Runs an action whose blobs are uploaded; raises CommandTimedOut as `run` does."""
        async with live_output(self._channel, on_output) as live:
            response, name = await self._execute(
                action_digest, skip_cache_lookup, on_progress, live
            )
            return await self._result_of(action_digest, response, name, live, working_directory="")

    async def _execute(
        self,
        action_digest: Digest,
        skip_cache_lookup: bool,
        on_progress: OnRunProgress,
        live: LiveOutput,
    ) -> tuple[ExecuteResponse, str]:
        """The response and the name of the operation. Its timeout is in the response; every other
        failure is raised."""
        operations = execute(
            self._channel,
            self._instance_name,
            action_digest,
            skip_cache_lookup=skip_cache_lookup,
        )
        async with aclosing(operations):
            async for operation in operations:
                if operation.response is not None:
                    error = _error(operation.response)
                    if error is not None:
                        await live.tail()
                        raise error
                    return operation.response, operation.name
                live.watch(operation)
                executing = operation.stage is Stage.EXECUTING
                on_progress(RunProgress(Activity.EXECUTING if executing else Activity.QUEUED))
        raise Internal("the operation ended without a response")

    async def _result_of(
        self,
        action_digest: Digest,
        response: ExecuteResponse,
        operation_name: str,
        live: LiveOutput,
        *,
        working_directory: str,
    ) -> RunResult:
        """The values of a response; raises CommandTimedOut when it says so."""
        result = await read_result(
            self._store,
            action_digest,
            response.result,
            working_directory=working_directory,
            cached=response.cached_result,
            operation=operation_name,
            message=response.message,
        )
        live.finish(result)
        if response.status.code == code_pb2.DEADLINE_EXCEEDED:
            raise CommandTimedOut(response.status.message, result)
        return result


def _build(
    build: BuildAction,
    root: Path,
    spec: CommandSpec,
    function: DigestFunction,
    cache_path: Path | None,
    is_stopped: Callable[[], bool],
) -> LocalAction:
    with FileDigests(cache_path, function) as digests:
        return build(root, spec, digests, is_stopped)


async def in_stoppable_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Runs `work` in a thread; what it is given says when nobody waits for it any more."""
    stopped = threading.Event()
    try:
        return await asyncio.to_thread(work, stopped.is_set)
    finally:
        stopped.set()


def _error(response: ExecuteResponse) -> ReapiError | None:
    """What the response says went wrong with the action, its command's timeout aside (EX18)."""
    code = response.status.code
    if code in (code_pb2.OK, code_pb2.DEADLINE_EXCEEDED):
        return None
    error = error_of(response.status)
    if response.message and not isinstance(error, BlobsMissing):
        error = type(error)(f"{error.message}: {response.message}")
    return error


def _transfer(on_progress: OnRunProgress, activity: Activity) -> Callable[[Progress], None]:
    return lambda progress: on_progress(RunProgress(activity, progress))
