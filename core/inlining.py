"""Puts the bytes of outputs into an ActionResult, for callers that ask for it (AC4, AC5)."""

from collections.abc import Collection

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .digest import Digest, DigestFunction, parse_digest
from .interfaces import BlobStore

_BUDGET_BYTES = 1 << 20
"""Of all inlined bytes of a reply; what does not fit keeps its digest alone."""


async def with_inlined_outputs(
    blobs: BlobStore,
    result: ActionResult,
    function: DigestFunction,
    *,
    stdout: bool,
    stderr: bool,
    output_files: Collection[str],
) -> ActionResult:
    """A copy with the asked for bytes beside their digests; the streams come before the files."""
    wanted: list[Digest] = []
    room = _BUDGET_BYTES
    copy = ActionResult()
    copy.CopyFrom(result)
    paths = frozenset(output_files)
    streams = [
        name
        for name, is_asked in (("stdout", stdout), ("stderr", stderr))
        if is_asked and copy.HasField(f"{name}_digest")
    ]
    files = [file for file in copy.output_files if file.path in paths]
    messages = [getattr(copy, f"{name}_digest") for name in streams]
    messages += [file.digest for file in files]
    for message in messages:
        if message.size_bytes <= room:
            wanted.append(parse_digest(message, function))
            room -= message.size_bytes
    found = {
        (digest.hash, digest.size_bytes): data
        for digest, data in (await blobs.read_many(wanted)).items()
    }
    for name in streams:
        message = getattr(copy, f"{name}_digest")
        setattr(copy, f"{name}_raw", found.get((message.hash, message.size_bytes), b""))
    for file in files:
        file.contents = found.get((file.digest.hash, file.digest.size_bytes), b"")
    return copy
