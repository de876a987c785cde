"""Reads what came of an action: its RunResult, and the outputs that are to be written."""

import posixpath
from collections.abc import Iterator, Set

from google.protobuf.timestamp_pb2 import Timestamp

from reapi.core.digest import Digest, DigestFunction, digest_of, parse_digest
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import BlobStore
from reapi.core.resource_usage import usage_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecutedActionMetadata,
    OutputSymlink,
)

from .model import Entry, EntryKind, RunResult, Timings
from .remote_tree import Entries, read_directories, read_tree
from .usage import to_usage


async def read_result(
    store: BlobStore,
    action_digest: Digest,
    result: ActionResult,
    *,
    working_directory: str,
    cached: bool,
    operation: str = "",
    message: str = "",
) -> RunResult:
    """The result as values, stdout and stderr read when they did not come along."""
    function = action_digest.function
    stdout_digest, stdout = await _log(store, result, "stdout", function)
    stderr_digest, stderr = await _log(store, result, "stderr", function)
    return RunResult(
        exit_code=result.exit_code,
        stdout=stdout,
        stderr=stderr,
        stdout_digest=stdout_digest,
        stderr_digest=stderr_digest,
        cached=cached,
        action_digest=action_digest,
        operation=operation,
        worker=result.execution_metadata.worker,
        timings=_timings(result.execution_metadata),
        outputs=sorted(_outputs(result, working_directory, function), key=lambda entry: entry.path),
        message=message,
        usage=to_usage(usage_of(result.execution_metadata)),
    )


async def _log(
    store: BlobStore, result: ActionResult, stream: str, function: DigestFunction
) -> tuple[Digest, bytes]:
    inline: bytes = getattr(result, f"{stream}_raw")
    field = f"{stream}_digest"
    if inline or not result.HasField(field):
        return digest_of(inline, function), inline
    digest = parse_digest(getattr(result, field), function)
    return digest, b"".join([chunk async for chunk in store.read(digest)])


def _outputs(
    result: ActionResult, working_directory: str, function: DigestFunction
) -> Iterator[Entry]:
    for file in result.output_files:
        path = _at(working_directory, file.path)
        yield Entry(path, EntryKind.FILE, parse_digest(file.digest, function), file.is_executable)
    for directory in result.output_directories:
        path = _at(working_directory, directory.path)
        has_tree = directory.HasField("tree_digest")
        digest = directory.tree_digest if has_tree else directory.root_directory_digest
        yield Entry(path, EntryKind.DIRECTORY, parse_digest(digest, function))
    for path, target in {link.path: link.target for link in _symlinks(result)}.items():
        yield Entry(_at(working_directory, path), EntryKind.SYMLINK, target=target)


def _symlinks(result: ActionResult) -> Iterator[OutputSymlink]:
    """Of all lists, old and new, that a server may fill (Q-SYMLINK)."""
    yield from result.output_symlinks
    yield from result.output_file_symlinks
    yield from result.output_directory_symlinks


async def output_entries(
    store: BlobStore,
    result: ActionResult,
    function: DigestFunction,
    *,
    working_directory: str,
    declared: Set[str],
) -> Entries:
    """The outputs as what is to be written below the input root.

    `function` is that of the action (D6). A server has no say in where: raises InvalidArgument for
    an output that is not `declared`, and for one that leads out of the root.
    """
    entries = Entries()
    for file in result.output_files:
        path = _declared(file.path, declared, working_directory)
        entries.add_file(path, parse_digest(file.digest, function), file.is_executable)
    for link in _symlinks(result):
        entries.add_symlink(_declared(link.path, declared, working_directory), link.target)
    for directory in result.output_directories:
        path = _declared(directory.path, declared, working_directory)
        if directory.HasField("tree_digest"):
            root, directories = await read_tree(
                store, parse_digest(directory.tree_digest, function)
            )
        else:
            root = parse_digest(directory.root_directory_digest, function)
            directories = await read_directories(store, root)
        entries.add_tree(path, root, directories)
    return entries


def _declared(path: str, declared: Set[str], working_directory: str) -> str:
    if path not in declared:
        raise InvalidArgument(f"refused output {path[:255]!r}, which the command did not declare")
    return _at(working_directory, path)


def _at(working_directory: str, path: str) -> str:
    """An output path as seen from the input root; the empty one is the directory itself (IN4)."""
    return posixpath.join(working_directory, path) if path else working_directory


def _timings(metadata: ExecutedActionMetadata) -> Timings:
    def between(start: Timestamp, end: Timestamp) -> float | None:
        if not start.seconds or not end.seconds:
            return None
        return (end.ToNanoseconds() - start.ToNanoseconds()) / 1e9

    return Timings(
        queued=between(metadata.queued_timestamp, metadata.worker_start_timestamp),
        input_fetch=between(
            metadata.input_fetch_start_timestamp, metadata.input_fetch_completed_timestamp
        ),
        execution=between(
            metadata.execution_start_timestamp, metadata.execution_completed_timestamp
        ),
        output_upload=between(
            metadata.output_upload_start_timestamp, metadata.output_upload_completed_timestamp
        ),
    )
