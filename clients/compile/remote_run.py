"""Runs the action that a miss is, and brings what it made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import Internal
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
)
from reapi.protos.reapi.compile.v1 import manifest_pb2

from .compile_action import CompileAction
from .model import Finished, Local
from .service import Service

_LARGEST_OUTPUTS_BYTES = 256 << 20
"""They are in memory on their way to their places."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A miss as an action. `outputs` are in the order of the call's; `depfile` comes after them,
    if there is one."""

    action: CompileAction
    outputs: Sequence[str]
    depfile: str | None


@dataclass(frozen=True, slots=True)
class Brought:
    """What an action made: `blobs` are the outputs of `result` and the depfile.

    The depfile is empty if there is none.
    """

    result: manifest_pb2.Result
    blobs: Mapping[Digest, bytes]
    first_output: bytes
    depfile: bytes
    slot_seconds: float


async def run_action(prepared: Prepared, service: Service) -> Brought | Finished | Local:
    """Runs it; Finished is that of a command that failed, Local says why nothing was brought.

    Raises what the service failed with. Cancelling cancels the operation there.
    """
    action = prepared.action
    response = await service.execute(action.digest, action.blobs, action.files)
    result = response.result
    stdout, stderr = await service.stdout_of(result), await service.stderr_of(result)
    if result.exit_code:
        return Finished(result.exit_code, stdout, stderr)
    digests = _digests(prepared, result, service)
    if sum(digest.size_bytes for digest in digests.values()) > _LARGEST_OUTPUTS_BYTES:
        return Local("its output is too large to be brought here")
    blobs = await service.read(digests.values())
    made = manifest_pb2.Result(stdout=stdout, stderr=stderr, action=str(action.digest))
    for index, name in enumerate(prepared.outputs):
        digest = digests.get(name)
        if digest is not None and name != prepared.depfile:
            made.outputs.add(
                index=index, hash=bytes.fromhex(digest.hash), size_bytes=digest.size_bytes
            )
    first = blobs[digests[prepared.outputs[0]]]
    depfile = digests.get(prepared.depfile or "")
    text = blobs[depfile] if depfile is not None else b""
    return Brought(made, blobs, first, text, _slot_seconds(response))


def _slot_seconds(response: ExecuteResponse) -> float:
    metadata = response.result.execution_metadata
    if response.cached_result or not metadata.HasField("worker_completed_timestamp"):
        return 0.0
    begun, ended = metadata.worker_start_timestamp, metadata.worker_completed_timestamp
    return (ended.ToNanoseconds() - begun.ToNanoseconds()) / 1e9


def _digests(prepared: Prepared, result: ActionResult, service: Service) -> dict[str, Digest]:
    """The outputs that were made, by what they were asked for as; the first must be there."""
    asked = prepared.action.outputs
    digests = {
        asked[file.path]: parse_digest(file.digest, service.function)
        for file in result.output_files
        if file.path in asked
    }
    if prepared.outputs[0] not in digests:
        raise Internal("the command ended well and has not written its output")
    return digests
