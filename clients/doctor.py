"""Tries what a client needs of a server, one thing after the other, and says what fails."""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import dataclass

from reapi.core.digest import Digest, digest_of, function_named
from reapi.core.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ReapiError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .action_cache import RemoteActionCache
from .blobs import RemoteBlobStore
from .capabilities import get_capabilities
from .channel import Channel
from .client import Client
from .model import ServerStatus
from .port_probe import mistake_about
from .settings import Settings

_SECONDS = 30.0
"""What one check may take."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was tried, and how it went. `advice` says what to do where it did not go well."""

    name: str
    is_ok: bool
    message: str
    seconds: float = 0.0
    advice: str = ""


_OPERATOR = "the server's log says why; its operator can run `reapi-server check --config FILE`"
_RESULTS = (
    "use a token that may store results, or set read_only = true under [compile] of reapi.toml to "
    "take results and store none"
)
_EXECUTION = "is there a worker? `reapi-cli workers` lists them, `reapi-cli status` the queues"
_FULL = (
    "the store is full of what it has promised to keep: its operator can raise "
    "storage.max_size_bytes or lower storage.retention_seconds"
)
_ALONE = "set read_only = true under [compile] of reapi.toml: then nothing is stored or executed"
_INSTANCE = "set instance_name (REAPI_INSTANCE) or digest_function to one that it serves"
_ADDRESS = "the address is that of --server, REAPI_SERVER, reapi.toml or the default, in this order"


class _Failed(Exception):
    """A check that fails without an error of the server's."""


class Doctor:
    """Examines the server that `settings` mean.

    With `read_only` this client is to take what others have stored, and to store nothing.
    """

    def __init__(self, settings: Settings, *, read_only: bool = False) -> None:
        self._settings = settings
        self._read_only = read_only
        self._status: ServerStatus | None = None

    async def examine(self) -> AsyncIterator[Check]:
        """The checks as they are done; none that needs what an earlier one has not found."""
        settings = self._settings
        token = settings.read_token()
        async with (
            Client(
                settings.server,
                instance_name=settings.instance_name,
                token=token,
                tls=settings.tls,
                digest_function=settings.digest_function,
                tool_name="reapi-doctor",
                remembers_digests=False,
            ) as client,
            Channel(
                settings.server, tool_name="reapi-doctor", token=token, tls=settings.tls
            ) as channel,
        ):
            reached = await self._check("server", self._reach(client), _INSTANCE)
            yield reached
            if not reached.is_ok:
                return
            if self._read_only:
                yield await self._check("blobs", self._look_for_blob(channel), _OPERATOR)
                yield await self._check("results", self._look_for_result(channel), _OPERATOR)
                return
            yield await self._check("blobs", self._store(client), _OPERATOR)
            yield await self._check("results", self._keep_result(channel), _RESULTS)
            yield await self._check("execution", self._execute(client, channel), _EXECUTION)

    async def _reach(self, client: Client) -> str:
        found = self._status = await client.get_status(timeout=_SECONDS)
        if self._settings.digest_function not in found.digest_functions:
            raise _Failed(
                f"it does not serve digest function {self._settings.digest_function}, "
                f"but {', '.join(found.digest_functions)}"
            )
        name = f"instance {found.instance_name!r}, " if found.instance_name else ""
        latency = f"{found.latency_seconds * 1000:.1f} ms"
        return f"{found.server} answers in {latency} ({name}API {found.high_api_version})"

    async def _look_for_blob(self, channel: Channel) -> str:
        store = RemoteBlobStore(channel, self._settings.instance_name)
        await store.find_missing([self._new_digest()])
        return "blobs may be read; none are stored, as read_only = true says"

    async def _look_for_result(self, channel: Channel) -> str:
        cache = RemoteActionCache(channel, timeout=_SECONDS)
        try:
            await cache.get(self._settings.instance_name, self._new_digest())
        except NotFound:
            return "results may be read; what has none is compiled here, as read_only = true says"
        raise _Failed("there is a result of an action that nobody has run")

    async def _store(self, client: Client) -> str:
        data = secrets.token_bytes(1024)
        digest = await client.upload_bytes(data, timeout=_SECONDS)
        if await client.read_bytes(digest, timeout=_SECONDS) != data:
            raise _Failed("what was written came back as something else")
        return "a blob was written and read back"

    async def _keep_result(self, channel: Channel) -> str:
        assert self._status is not None
        if not self._status.can_update_action_cache:
            raise _Failed(
                "this client may not store results: what it compiles, everybody compiles again"
            )
        cache = RemoteActionCache(channel, timeout=_SECONDS)
        action = self._new_digest()
        result = ActionResult(stdout_raw=b"doctor")
        await cache.put(self._settings.instance_name, action, result)
        found = await cache.get(self._settings.instance_name, action, inline_stdout=True)
        if found.stdout_raw not in (b"doctor", b""):
            raise _Failed("a result was stored and came back as something else")
        return "a result was stored and found again"

    async def _execute(self, client: Client, channel: Channel) -> str:
        assert self._status is not None
        if not self._status.can_execute:
            found = await get_capabilities(channel, self._settings.instance_name)
            who = "this client may not have actions executed"
            if not found.HasField("execution_capabilities"):
                who = "this server does not execute actions"
            raise _Failed(f"{who}: what no cache has is compiled here")
        with suppress(Unimplemented, PermissionDenied):  # not every server says who its workers are
            workers = await client.list_workers(timeout=_SECONDS)
            if not any(worker.is_connected for worker in workers):
                raise _Failed("no worker has joined this server: actions wait until one does")
        result = await client.run(
            ["sh", "-c", "exit 0"],
            skip_cache_lookup=True,
            download_outputs=False,
            timeout=_SECONDS,
        )
        if result.exit_code:
            raise _Failed(f"`sh -c 'exit 0'` ended with {result.exit_code} on {result.worker}")
        return f"a command ran on {result.worker}"

    def _new_digest(self) -> Digest:
        """Of something that nobody has."""
        return digest_of(secrets.token_bytes(32), function_named(self._settings.digest_function))

    async def _check(self, name: str, work: Awaitable[str], advice: str) -> Check:
        begun = time.monotonic()
        try:
            message = await work
        except ReapiError as error:
            message = error.message or type(error).__name__
            advice = await self._advice(error, advice)
        except _Failed as error:
            message = str(error)
        else:
            return Check(name, True, message, time.monotonic() - begun)
        return Check(name, False, message, time.monotonic() - begun, advice)

    async def _advice(self, error: ReapiError, advice: str) -> str:
        """What to do about an error; else what is said of the check."""
        if isinstance(error, Unauthenticated):
            file = self._settings.token_file
            if file is None:
                return "no token was shown: set REAPI_TOKEN_FILE, or token_file in reapi.toml"
            return f"the token in {file} was shown: is it the one that the operator gave you?"
        if isinstance(error, PermissionDenied):
            return f"ask its operator for a token with that role, or {_ALONE}"
        if isinstance(error, ResourceExhausted):
            return _FULL
        if isinstance(error, Unavailable):
            return await mistake_about(self._settings.server, self._settings.tls) or _ADDRESS
        if isinstance(error, InvalidArgument):
            return _INSTANCE
        return advice
