"""The server that a plan runs on, as the runner of plans needs it."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Self

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.capabilities import check_digest_function
from reapi.clients.channel import Channel
from reapi.clients.download import download
from reapi.clients.fleet import Fleet
from reapi.clients.merkle import TreeNode
from reapi.clients.model import Entry, Progress, RunResult
from reapi.clients.progress import OnProgress
from reapi.clients.remote_tree import Entries
from reapi.clients.run import OnRunProgress, Runner
from reapi.clients.tls import SYSTEM_TLS, ClientTls
from reapi.clients.upload import upload
from reapi.clients.workers import list_workers
from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import ReapiError
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    RequestMetadata,
    ToolDetails,
)

from .artifacts import read_outputs

_TOOL = "reapi-cli"
_CALLER: ContextVar[bytes | None] = ContextVar("pipeline_caller", default=None)


class Remote:
    """Use it as an async context manager. All its calls are one invocation.

    Raises InvalidArgument on entry when the server does not announce the digest function.
    """

    def __init__(
        self,
        server: str,
        *,
        instance_name: str,
        token: str | None,
        function: DigestFunction,
        tls: ClientTls = SYSTEM_TLS,
    ) -> None:
        self.function = function
        self._instance_name = instance_name
        self._invocation_id = str(uuid.uuid4())
        self._channel = Channel(
            server, tool_name=_TOOL, token=token, tls=tls, request_metadata=_CALLER
        )
        self._store = RemoteBlobStore(self._channel, instance_name)
        self._runner = Runner(self._channel, self._store, instance_name)
        self._fleet = Fleet(self._channel)
        self._stack: AsyncExitStack

    async def __aenter__(self) -> Self:
        self.speak_for("", "")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._channel)
            await check_digest_function(self._channel, self._instance_name, self.function)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def speak_for(self, repository: str, label: str) -> None:
        """What the calls of this task say from now on: whose action it is, and which."""
        _CALLER.set(
            RequestMetadata(
                tool_details=ToolDetails(tool_name=_TOOL),
                tool_invocation_id=self._invocation_id,
                correlated_invocations_id=repository,
                action_mnemonic="Pipeline" if label else "",
                target_id=label,
            ).SerializeToString()
        )

    async def upload(
        self,
        blobs: Mapping[Digest, bytes],
        files: Mapping[Digest, str],
        on_progress: OnProgress | None = None,
    ) -> Progress:
        """Sends what the server does not have."""
        return await upload(self._store, blobs, files, on_progress)

    async def execute(
        self, action: Digest, *, skip_cache_lookup: bool, on_progress: OnRunProgress
    ) -> RunResult:
        """Runs an action whose blobs are uploaded; raises what Runner.execute does."""
        return await self._runner.execute(
            action, skip_cache_lookup=skip_cache_lookup, on_progress=on_progress, on_output=None
        )

    async def read_outputs(self, outputs: Sequence[Entry], declared: Sequence[str]) -> TreeNode:
        """What a command has made, as nodes; contents stay where they are."""
        return await read_outputs(self._store, outputs, declared)

    async def download(self, entries: Entries, root: Path, on_progress: OnProgress) -> Progress:
        """Writes entries below `root`."""
        return await download(self._store, entries, root, on_progress)

    async def slots_and_queue(self) -> tuple[int, int]:
        """The slots of the workers that take work, and how many actions of anybody wait.

        No slots and nobody where the server does not tell; what is run says better what is wrong.
        """
        try:
            workers = await list_workers(self._channel)
            queued = (await self._fleet.status()).queued
        except ReapiError:
            return 0, 0
        usable = [
            worker.slots
            for worker in workers
            if worker.is_connected and not worker.is_draining and not worker.is_cordoned
        ]
        return sum(usable), queued
