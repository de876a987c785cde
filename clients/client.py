"""The asynchronous client: everything that a user of the service does, over one connection."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from reapi.core.digest import SHA256, Digest, DigestFunction, digest_of, function_named
from reapi.core.errors import DeadlineExceeded, InvalidArgument, NotFound

from .action import build_action, read_action
from .action_cache import RemoteActionCache
from .blobs import RemoteBlobStore
from .capabilities import check_digest_function, get_status
from .channel import Channel
from .download import download
from .file_digests import FileDigests, default_cache_path
from .fleet import Fleet
from .history import explain, list_history
from .image import ImportedImage, read_image
from .listing import list_directory
from .live_output import OnOutput
from .logs import read_log
from .merkle import LocalTree, build_tree
from .model import (
    ActionDetails,
    Activity,
    CommandSpec,
    Entry,
    Explanation,
    HistoryEntry,
    HistoryQuery,
    LogStream,
    Operation,
    Progress,
    ResultQuery,
    RunProgress,
    RunResult,
    ServerStatus,
    StoredResult,
    Worker,
)
from .operations import cancel_operation, get_operation, list_operations
from .outcome import read_result
from .progress import OnProgress
from .remote_tree import Entries, read_directories
from .results import list_results, revoke_results
from .run import BuildAction, OnRunProgress, Runner, in_stoppable_thread
from .tls import SYSTEM_TLS, ClientTls
from .upload import upload
from .workers import list_workers

_LARGEST_IN_MEMORY_BYTES = 1 << 30


class Client:
    """A client of one instance of a REAPI server; use it as an async context manager.

    `server` is `grpc://host:port` or `host:port`, `grpcs://host:port` for TLS (`tls` says how), or
    `unix:/path`; `token` is sent as a bearer token. Every method takes `timeout`, the seconds that
    it may take as a whole (None: no limit), and raises DeadlineExceeded after them, or another
    ReapiError (core/errors.py) that says what went wrong.
    Passing failures are retried and transfers resumed. Cancelling a method ends its work, at the
    server too. Safe for concurrent use by tasks of one event loop.

    `digest_function` is the name of the function that hashes what is run or uploaded; digests that
    are passed in carry their own. Every method that needs one raises InvalidArgument when the
    server does not announce it for the instance, naming those that it does.

    With `remembers_digests` the digests of local files are kept in the user's cache directory, so
    that an unchanged file is not read again.
    """

    def __init__(
        self,
        server: str,
        *,
        instance_name: str = "",
        token: str | None = None,
        tls: ClientTls = SYSTEM_TLS,
        digest_function: str = SHA256.name,
        tool_name: str = "reapi-client",
        remembers_digests: bool = True,
    ) -> None:
        self._channel = Channel(server, tool_name=tool_name, token=token, tls=tls)
        self._instance_name = instance_name
        self._function = function_named(digest_function)
        self._announced: set[DigestFunction] = set()
        self._cache_path = default_cache_path() if remembers_digests else None
        self._store = RemoteBlobStore(self._channel, instance_name)
        self._runner = Runner(self._channel, self._store, instance_name)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.__aexit__()

    async def run(
        self,
        command: Sequence[str],
        *,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        platform: Sequence[tuple[str, str]] = (),
        working_directory: str = "",
        command_timeout: float | None = None,
        root: str | Path = ".",
        skip_cache_lookup: bool = False,
        download_outputs: bool = True,
        on_progress: OnRunProgress | None = None,
        on_output: OnOutput | None = None,
        build: BuildAction = build_action,
        timeout: float | None = None,
    ) -> RunResult:
        """Runs a command remotely on local files, and writes its outputs back.

        `inputs`, `outputs` and `working_directory` are paths relative to `root`, the local
        directory that is the input root; none may lead out of it. A non-zero exit code is a
        result. Raises CommandTimedOut when the command took more than `command_timeout` seconds,
        NotFound for an input that does not exist. With `skip_cache_lookup` the command runs even
        if its result is cached.

        `on_output` is given what the command prints as it does so, and all of it before this
        returns or raises CommandTimedOut; what it raises ends the run. `build` says what the action
        has of the local files; it is called in a thread.
        """
        spec = CommandSpec(
            arguments=command,
            inputs=inputs,
            outputs=outputs,
            environment=env or {},
            platform=platform,
            working_directory=working_directory,
            timeout_seconds=command_timeout,
        )
        async with self._ready(self._function, timeout):
            return await self._runner.run(
                _absolute(root),
                spec,
                function=self._function,
                cache_path=self._cache_path,
                skip_cache_lookup=skip_cache_lookup,
                download_outputs=download_outputs,
                on_progress=on_progress or _ignore,
                on_output=on_output,
                build=build,
            )

    async def execute(
        self,
        action_digest: Digest,
        *,
        skip_cache_lookup: bool = False,
        on_progress: OnRunProgress | None = None,
        on_output: OnOutput | None = None,
        timeout: float | None = None,
    ) -> RunResult:
        """Executes an action whose blobs are on the server; downloads nothing but its logs.

        Raises BlobsMissing when blobs are not there, CommandTimedOut as `run` does; `on_output` as
        there. The paths of the outputs are relative to the working directory of the command.
        """
        async with self._ready(action_digest.function, timeout):
            return await self._runner.execute(
                action_digest,
                skip_cache_lookup=skip_cache_lookup,
                on_progress=on_progress or _ignore,
                on_output=on_output,
            )

    async def get_action_result(
        self, action_digest: Digest, *, timeout: float | None = None
    ) -> RunResult:
        """The cached result of an action; NotFound when there is none.

        The paths of its outputs are relative to the working directory of the command.
        """
        async with self._ready(action_digest.function, timeout):
            cache = RemoteActionCache(self._channel)
            result = await cache.get(self._instance_name, action_digest)
            return await read_result(
                self._store, action_digest, result, working_directory="", cached=True
            )

    async def get_action(
        self, action_digest: Digest, *, timeout: float | None = None
    ) -> ActionDetails:
        """An action with its command and its cached result, if there is one."""
        async with self._ready(action_digest.function, timeout):
            details = await read_action(self._store, action_digest)
            try:
                result = await self.get_action_result(action_digest)
            except NotFound:
                return details
            return dataclasses.replace(details, result=result)

    async def upload_bytes(self, data: bytes, *, timeout: float | None = None) -> Digest:
        """Stores bytes that are in memory; returns their digest."""
        async with self._ready(self._function, timeout):
            digest = digest_of(data, self._function)
            await upload(self._store, {digest: data}, {})
            return digest

    async def upload_file(
        self,
        path: str | Path,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Digest:
        """Stores the content of a file, also when `path` is a symlink to it; returns its digest.

        Raises NotFound for a file that does not exist, FailedPrecondition for one that changes.
        """
        async with self._ready(self._function, timeout):
            real = _real_file(path)
            tree = await self._build_tree(real.parent, [real.name])
            (digest,) = tree.files
            await upload(self._store, {}, tree.files, on_progress)
            return digest

    async def upload_blobs(
        self,
        blobs: Mapping[Digest, bytes],
        files: Mapping[Digest, str],
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Progress:
        """Stores bytes in memory and files, whose digests are known; returns what was absent.

        The digests are of this client's function. Raises FailedPrecondition for a file that has
        become another.
        """
        async with self._ready(self._function, timeout):
            return await upload(self._store, blobs, files, on_progress)

    async def upload_tree(
        self,
        root: str | Path,
        paths: Sequence[str] = ("",),
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Digest:
        """Stores what `root` holds, or the `paths` below it alone; returns the root's digest.

        Files that the server has are not sent. Symlinks stay symlinks.
        """
        async with self._ready(self._function, timeout):
            tree = await self._build_tree(_absolute(root), paths)
            await upload(self._store, tree.blobs, tree.files, on_progress)
            return tree.root_digest

    async def import_image(
        self,
        path: str | Path,
        *,
        on_progress: OnRunProgress | None = None,
        timeout: float | None = None,
    ) -> ImportedImage:
        """Stores a root file system for actions to run in; see ImportedImage.platform_property.

        The archive is one of tar, or what `docker save` and skopeo make of an image; it may be
        compressed with gzip, bzip2, xz or zstd. What the server has is not sent. Raises
        InvalidArgument naming what in the archive cannot be used.
        """
        report = on_progress or _ignore
        with ExitStack() as scratch:
            async with self._ready(self._function, timeout):
                report(RunProgress(Activity.HASHING))
                image = await in_stoppable_thread(
                    partial(read_image, _absolute(path), self._function, scratch)
                )
                sent = await upload(
                    self._store,
                    image.blobs,
                    image.files,
                    lambda progress: report(RunProgress(Activity.UPLOADING, progress)),
                )
        return dataclasses.replace(
            image.found, uploaded_blobs=sent.blobs_done, uploaded_bytes=sent.bytes_done
        )

    async def _build_tree(self, root: Path, paths: Sequence[str]) -> LocalTree:
        def build(is_stopped: Callable[[], bool]) -> LocalTree:
            with FileDigests(self._cache_path, self._function) as digests:
                return build_tree(root, paths, digests, is_stopped=is_stopped)

        return await in_stoppable_thread(build)

    async def read(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """The content of a blob in chunks; NotFound before the first one if it is absent.

        The last chunk comes only when all were verified, else DataLoss.
        """
        await self._check_announced(digest.function)
        async for chunk in self._store.read(digest):
            yield chunk

    async def read_bytes(self, digest: Digest, *, timeout: float | None = None) -> bytes:
        """The content of a blob, which must be below 1 GiB; raises NotFound."""
        if digest.size_bytes > _LARGEST_IN_MEMORY_BYTES:
            raise InvalidArgument(f"blob {digest} is too large for memory: use download_file")
        async with self._ready(digest.function, timeout):
            return b"".join([chunk async for chunk in self._store.read(digest)])

    async def list_directory(
        self, digest: Digest, *, recursive: bool = False, timeout: float | None = None
    ) -> list[Entry]:
        """What a Directory holds, by name; with `recursive` all below it, too."""
        async with self._ready(digest.function, timeout):
            return await list_directory(self._store, digest, is_recursive=recursive)

    async def download_file(
        self,
        digest: Digest,
        path: str | Path,
        *,
        is_executable: bool = False,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> None:
        """Writes a blob to a file, which appears when it is complete and verified."""
        async with self._ready(digest.function, timeout):
            target = _absolute(path)
            entries = Entries()
            entries.add_file(target.name, digest, is_executable)
            await download(self._store, entries, target.parent, on_progress)

    async def download_tree(
        self,
        root_digest: Digest,
        path: str | Path,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> None:
        """Writes a Directory with all below it into the directory `path`, over what is there.

        Raises InvalidArgument, with nothing written, when anything in it would lead out of `path`.
        """
        async with self._ready(root_digest.function, timeout):
            entries = Entries()
            entries.add_tree("", root_digest, await read_directories(self._store, root_digest))
            await download(self._store, entries, _absolute(path), on_progress)

    async def get_operation(self, name: str, *, timeout: float | None = None) -> Operation:
        """An operation as it is now; raises NotFound."""
        async with _deadline(timeout):
            return await get_operation(self._channel, name, function=self._function)

    async def read_log(
        self, name: str, stream: LogStream = "stdout", *, follows: bool = True
    ) -> AsyncGenerator[bytes, None]:
        """What the command of an operation prints to `stream`, from its beginning.

        Ends with the operation; without `follows`, where the command has come by now. A server
        other than ours may not tell that, and then it ends with the operation, too. Raises
        NotFound for a name that the server does not know (any more), Unimplemented when it does
        not tell what an operation prints before its end. An action that is run once more, since
        its worker was lost, goes on where the reader is.
        """
        operation = await get_operation(self._channel, name, function=self._function)
        function = operation.action_digest.function if operation.action_digest else self._function
        log = read_log(self._channel, self._store, operation, stream, function, follows=follows)
        async with aclosing(log) as chunks:
            async for chunk in chunks:
                if chunk:
                    yield chunk

    @property
    def fleet(self) -> Fleet:
        """The workers of the server's scheduler, for operators."""
        return Fleet(self._channel)

    async def list_operations(
        self, wanted: str = "", *, timeout: float | None = None
    ) -> list[Operation]:
        """All operations that the server still knows, or those that the filter `wanted` names."""
        async with _deadline(timeout):
            operations = list_operations(
                self._channel, self._instance_name, wanted=wanted, function=self._function
            )
            return [operation async for operation in operations]

    async def cancel_operation(self, name: str, *, timeout: float | None = None) -> None:
        """Cancels an operation; one that is done stays as it is. Raises NotFound."""
        async with _deadline(timeout):
            await cancel_operation(self._channel, name)

    async def list_results(
        self, query: ResultQuery, *, timeout: float | None = None
    ) -> list[StoredResult]:
        """The cached results that `query` means, of all instances if it names none.

        Unimplemented on servers other than ours.
        """
        async with _deadline(timeout):
            return [result async for result in list_results(self._channel, query)]

    async def revoke_results(
        self, query: ResultQuery, *, dry_run: bool = False, timeout: float | None = None
    ) -> list[StoredResult]:
        """Takes the results that `query` means out of the cache, at once for everybody; those
        that it took, or would take with `dry_run`.

        Raises InvalidArgument for a query without a condition.
        """
        async with _deadline(timeout):
            found = revoke_results(self._channel, query, dry_run=dry_run)
            return [result async for result in found]

    async def explain(self, subject: Digest | str, *, timeout: float | None = None) -> Explanation:
        """Why an action, or the operation of that name, was cached or not, and what became of it.

        Raises NotFound for an operation that is not known, Unimplemented on servers other than
        ours.
        """
        async with _deadline(timeout):
            return await explain(self._channel, self._instance_name, subject)

    async def list_history(
        self, query: HistoryQuery, *, timeout: float | None = None
    ) -> list[HistoryEntry]:
        """Finished operations that `query` means, of all instances if it names none, latest first.

        Unimplemented on servers other than ours.
        """
        async with _deadline(timeout):
            return await list_history(self._channel, query)

    async def list_workers(self, *, timeout: float | None = None) -> list[Worker]:
        """The workers that the scheduler knows, by name."""
        async with _deadline(timeout):
            return await list_workers(self._channel)

    async def get_status(self, *, timeout: float | None = None) -> ServerStatus:
        """What the server says about itself and this instance."""
        async with _deadline(timeout):
            return await get_status(self._channel, self._instance_name)

    @asynccontextmanager
    async def _ready(self, function: DigestFunction, seconds: float | None) -> AsyncIterator[None]:
        """As `_deadline`, for calls with digests of that function."""
        async with _deadline(seconds):
            await self._check_announced(function)
            yield

    async def _check_announced(self, function: DigestFunction) -> None:
        """Asks the server once per function: one that is refused in the middle explains little."""
        if function not in self._announced:
            await check_digest_function(self._channel, self._instance_name, function)
            self._announced.add(function)


@asynccontextmanager
async def _deadline(seconds: float | None) -> AsyncIterator[None]:
    """Ends the block after so many seconds, with the error of the tree."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"gave up after {seconds} seconds") from error


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))


def _real_file(path: str | Path) -> Path:
    """The file behind any symlinks; raises NotFound."""
    real = Path(os.path.realpath(path))
    if not real.is_file():
        raise NotFound(f"there is no file {path}")
    return real


def _ignore(_: RunProgress) -> None:
    """Nobody wants to know."""
