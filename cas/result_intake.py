"""Makes of an ActionResult from outside what may be stored: checked, small and complete."""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, DigestFunction, digest_of, parse_digest
from reapi.core.errors import BlobsMissing, InvalidArgument, ReapiError
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .closure import closure_of
from .result_check import check_action_result, highest_climb, path_depth

LARGEST_RESULT_BYTES = 4_000_000
"""Serialized. Clients mostly receive no more than 4 MiB (AC11)."""


class TakenResult(NamedTuple):
    """A result without inline bytes, the same serialized, and all blobs that it needs."""

    result: ActionResult
    serialized: bytes
    closure: list[Digest]


async def take_in(
    blobs: BlobStore, inline_store: BlobStore, action_digest: Digest, result: ActionResult
) -> TakenResult:
    """What ActionCache.put has to do before it stores `result`; raises what that raises.

    Bytes that came inline are moved into `inline_store`.
    """
    function = action_digest.function
    check_action_result(result, function)
    await _check_climb(blobs, action_digest, result)
    stored = ActionResult()
    stored.CopyFrom(result)
    stored.execution_metadata.SetInParent()  # buck2 refuses a result without (Q-META)
    await _move_inline_bytes(stored, function, inline_store)
    closure = await closure_of(blobs, stored, function)
    missing = await blobs.find_missing(closure)
    if missing:
        raise BlobsMissing([digest.subject for digest in missing])
    serialized = stored.SerializeToString(deterministic=True)
    if len(serialized) > LARGEST_RESULT_BYTES:
        raise InvalidArgument(
            f"a result of {len(serialized)} bytes; at most {LARGEST_RESULT_BYTES} are stored, "
            "since clients could not receive it: declare fewer outputs or a directory"
        )
    return TakenResult(stored, serialized, closure)


async def _check_climb(blobs: BlobStore, action_digest: Digest, result: ActionResult) -> None:
    """Paths with `..` are good while they stay in the input root (IN4, reliability B14)."""
    climb = highest_climb(result)
    if climb and climb > await _working_directory_depth(blobs, action_digest):
        raise InvalidArgument("an output path or symlink target leads out of the input root")


async def _working_directory_depth(blobs: BlobStore, action_digest: Digest) -> int:
    """0 when the action is not stored or unreadable: then no path may climb."""
    try:
        found = await blobs.read_many([action_digest])
        action = re_pb2.Action.FromString(found[action_digest])
        command_digest = parse_digest(action.command_digest, action_digest.function)
        found = await blobs.read_many([command_digest])
        command = re_pb2.Command.FromString(found[command_digest])
    except (KeyError, DecodeError, ReapiError):
        return 0
    return path_depth(command.working_directory)


async def _move_inline_bytes(
    result: ActionResult, function: DigestFunction, store: BlobStore
) -> None:
    """Leaves digests only, so that a stored result is small (AC8)."""
    blobs: dict[Digest, bytes] = {}
    for file in result.output_files:
        if file.contents:
            digest = digest_of(file.contents, function)
            if digest != parse_digest(file.digest, function):
                raise InvalidArgument(f"contents of {file.path!r} do not hash to its digest")
            blobs[digest] = file.contents
            file.ClearField("contents")
    for stream in ("stdout", "stderr"):
        data = getattr(result, f"{stream}_raw")
        if data:
            digest = digest_of(data, function)
            field = getattr(result, f"{stream}_digest")
            if result.HasField(f"{stream}_digest") and parse_digest(field, function) != digest:
                raise InvalidArgument(f"{stream}_raw does not hash to {stream}_digest")
            field.CopyFrom(digest.to_message())
            blobs[digest] = data
            result.ClearField(f"{stream}_raw")
    if blobs:
        for failure in (await store.write_many(blobs)).values():
            raise failure
