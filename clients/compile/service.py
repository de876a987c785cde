"""The server as compiles use it: shared manifests, missing blobs, execution, and its absences."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Self

from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.capabilities import check_digest_function
from reapi.clients.channel import Channel
from reapi.clients.execution import execute
from reapi.clients.settings import Settings
from reapi.clients.upload import FileSource, upload
from reapi.core.digest import Digest, DigestFunction, digest_of, function_named, parse_digest
from reapi.core.errors import (
    BlobsMissing,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    PermissionDenied,
    ReapiError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    error_of,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    ActionResult,
    Command,
    ExecuteResponse,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Digest as DigestMessage,
)

from .queueing import QueuePatience

_PATIENCE_SECONDS = 5.0
"""A build has something better to do than to wait longer: compiling by itself."""

_SILENCE_SECONDS = 12.0
"""A server that froze in the middle of a build holds it up for so long, once."""

_FIRST_REST_SECONDS = 2.0
_LONGEST_REST_SECONDS = 60.0
_PRESENT_SECONDS = 3600.0
"""How long the server's word holds that it has a blob; it keeps them for much longer."""

_REFUSED_SECONDS = 60.0
"""How long it holds that no executor runs such actions; somebody may be mending that."""

_REFUSALS = (FailedPrecondition, PermissionDenied, Unauthenticated, Unimplemented)
"""No executor has what compiles need, or this client may not execute, or nobody may."""

_MOST_PRESENT = 1_000_000
_MOST_UPLOADS = 3
_REFUSAL = (
    "the server takes no results from this client: use a token that may store them, or set "
    "read_only = true below [compile] of reapi.toml"
)
_LARGEST_MANIFEST_BYTES = 3_000_000


class Service:
    """One instance of a server; an async context manager.

    A server that fails by being away is left alone for a while, twice as long with each failure:
    every call raises Unavailable at once then, so that a build without a server is as quick as one
    that never had any.
    """

    def __init__(self, settings: Settings, *, tool_name: str) -> None:
        self.server = settings.server
        self.function: DigestFunction = function_named(settings.digest_function)
        self._instance_name = settings.instance_name
        self._channel = Channel(
            settings.server,
            tool_name=tool_name,
            token=settings.read_token(),
            tls=settings.tls,
            patience_seconds=_PATIENCE_SECONDS,
            silence_seconds=_SILENCE_SECONDS,
        )
        self._store = RemoteBlobStore(self._channel, settings.instance_name)
        self._results = RemoteActionCache(self._channel)
        self._is_checked = False
        self.refusal = ""
        """Why this client's results are not taken, once the server has said what it can do."""
        self._absence = _Absence()
        self._patience = QueuePatience()
        self._present: dict[Digest, float] = {}
        self._refusal: ReapiError | None = None
        self._refuses_until = 0.0

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.__aexit__()

    async def manifest(self, key: str) -> bytes | None:
        """What a client has shared under a key."""
        async with self._absence:
            await self._check()
            try:
                result = await self._results.get(
                    self._instance_name, self._action_of(key), inline_stdout=True
                )
                return await self.stdout_of(result)
            except NotFound:
                return None

    async def stdout_of(self, result: ActionResult) -> bytes:
        """What a result's command printed, whether it came along or not; raises NotFound."""
        return await self._text(result.stdout_raw, result.stdout_digest)

    async def stderr_of(self, result: ActionResult) -> bytes:
        """See `stdout_of`."""
        return await self._text(result.stderr_raw, result.stderr_digest)

    async def _text(self, inline: bytes, message: DigestMessage) -> bytes:
        if inline or not message.size_bytes:
            return inline
        digest = parse_digest(message, self.function)
        return (await self.read([digest]))[digest]

    async def share_manifest(self, key: str, data: bytes, outputs: Iterable[Digest]) -> None:
        """Shares a manifest whose results are made of `outputs`, which the server has.

        It is found for as long as they all are there.
        """
        if len(data) > _LARGEST_MANIFEST_BYTES:
            return
        result = ActionResult(stdout_raw=data)
        for index, digest in enumerate(dict.fromkeys(outputs)):
            result.output_files.add(path=f"output-{index}", digest=digest.to_message())
        async with self._absence:
            await self._check()
            await self._results.put(self._instance_name, self._action_of(key), result)

    def _action_of(self, key: str) -> Digest:
        """The Action whose result a manifest is for the server: one that nobody runs."""
        command = Command(arguments=["reapi-cc manifest", key]).SerializeToString()
        action = Action(command_digest=digest_of(command, self.function).to_message())
        return digest_of(action.SerializeToString(deterministic=True), self.function)

    async def upload(
        self, blobs: Mapping[Digest, bytes], files: Mapping[Digest, FileSource]
    ) -> tuple[int, int]:
        """Uploads what the server does not have; returns how many blobs and bytes these were."""
        async with self._absence:
            await self._check()
            now = time.monotonic()
            new_blobs = {d: data for d, data in blobs.items() if not self._is_present(d, now)}
            new_files = {d: path for d, path in files.items() if not self._is_present(d, now)}
            if not new_blobs and not new_files:
                return 0, 0
            sent = await upload(self._store, new_blobs, new_files)
            if len(self._present) > _MOST_PRESENT:
                self._present.clear()
            self._present.update(dict.fromkeys([*new_blobs, *new_files], now + _PRESENT_SECONDS))
            return sent.blobs_done, sent.bytes_done

    def _is_present(self, digest: Digest, now: float) -> bool:
        return self._present.get(digest, 0.0) > now

    async def execute(
        self,
        action: Digest,
        blobs: Mapping[Digest, bytes],
        files: Mapping[Digest, FileSource],
    ) -> ExecuteResponse:
        """Runs an action, after uploading what it is made of; the result of its command.

        Raises what the service failed with; a command that fails is a result. Cancelling cancels
        the operation at the server. What refuses this action refuses all of them, for a while.
        """
        self.check_executes()
        uploads = 0
        while True:
            try:
                await self.upload(blobs, files)
                uploads += 1
                async with self._absence:
                    return await self._execute(action)
            except BlobsMissing:
                # What it had it has no more: whatever it said before is worth nothing.
                self._present.clear()
                if uploads == _MOST_UPLOADS:
                    raise
            except _REFUSALS as error:
                self._refusal = error
                self._refuses_until = time.monotonic() + _REFUSED_SECONDS
                raise

    def check_executes(self) -> None:
        """Raises what execute did if that was a refusal of all such actions, a moment ago."""
        if self._refusal is not None and time.monotonic() < self._refuses_until:
            raise type(self._refusal)(self._refusal.message)

    async def _execute(self, action: Digest) -> ExecuteResponse:
        async with (
            self._patience.wait() as waiting,
            aclosing(execute(self._channel, self._instance_name, action)) as operations,
        ):
            async for operation in operations:
                waiting.note(operation)
                if operation.response is not None:
                    if operation.response.status.code:
                        raise error_of(operation.response.status)
                    return operation.response
        raise Internal("the operation ended without a response")

    async def read(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """The content of blobs; raises NotFound when one of them is absent."""
        wanted = list(digests)
        async with self._absence:
            await self._check()
            found = await self._store.read_many(wanted)
        for digest in wanted:
            if digest not in found:
                raise NotFound(f"blob {digest} is not on the server")
        return found

    async def _check(self) -> None:
        """Says at once what would fail later in many words: a wrong address, instance, function."""
        if not self._is_checked:
            capabilities = await check_digest_function(
                self._channel, self._instance_name, self.function
            )
            updates = capabilities.cache_capabilities.action_cache_update_capabilities
            self.refusal = "" if updates.update_enabled else _REFUSAL
            self._is_checked = True


class _Absence:
    """Around each use of the server: notes how it went, and lets nobody in while it rests."""

    def __init__(self) -> None:
        self._rests_until = 0.0
        self._rest_seconds = _FIRST_REST_SECONDS
        self._reason = ""

    async def __aenter__(self) -> None:
        if asyncio.get_running_loop().time() < self._rests_until:
            raise Unavailable(self._reason)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Unavailable | DeadlineExceeded | Cancelled):
            self._reason = error.message
            now = asyncio.get_running_loop().time()
            if now >= self._rests_until:
                self._rests_until = now + self._rest_seconds
                self._rest_seconds = min(2 * self._rest_seconds, _LONGEST_REST_SECONDS)
        elif error is None or isinstance(error, ReapiError):
            self._rest_seconds = _FIRST_REST_SECONDS
