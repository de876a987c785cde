"""Action results in the action caches of shards, none of which has all blobs of a result."""

from collections.abc import Mapping, Sequence

from reapi.cas.closure import closure_of
from reapi.cas.result_intake import take_in
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import BlobsMissing, NotFound
from reapi.core.interfaces import ActionCache, BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecutedActionMetadata,
)

from .sharded import Shard, choose_shard

_NAME_PREFIX = "result of shards "
"""Before the name of an action, in what the name of its envelope is the digest of. Another one
loses the results that were stored with this one."""


class ShardedResults:
    """An ActionCache over those of shards, whose blobs together are `blobs`.

    A server refuses a result whose blobs it does not have. So the shard is given an envelope: a
    result without outputs that has the real one in its metadata, under a name of its own, where
    nobody takes it for the result of the action. Whether all blobs are there is looked after here.
    """

    def __init__(
        self, shards: Sequence[Shard], results: Mapping[str, ActionCache], blobs: BlobStore
    ) -> None:
        self._shards = shards
        self._results = results
        self._blobs = blobs

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        """See ActionCache."""
        shard, name = self._place(action_digest)
        try:
            envelope = await shard.get(instance_name, name)
        except NotFound as error:
            raise _absent(action_digest) from error
        result = ActionResult()
        if not any(each.Unpack(result) for each in envelope.execution_metadata.auxiliary_metadata):
            raise _absent(action_digest)
        try:
            closure = await closure_of(self._blobs, result, action_digest.function)
        except BlobsMissing as error:
            raise _absent(action_digest) from error
        if await self._blobs.find_missing(closure):
            raise _absent(action_digest)
        return result

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """See ActionCache."""
        taken = await take_in(self._blobs, self._blobs, action_digest, result)
        metadata = ExecutedActionMetadata(worker=taken.result.execution_metadata.worker)
        metadata.auxiliary_metadata.add().Pack(taken.result)
        shard, name = self._place(action_digest)
        envelope = ActionResult(execution_metadata=metadata)
        await shard.put(instance_name, name, envelope, writer=writer)
        return taken.result

    def _place(self, action_digest: Digest) -> tuple[ActionCache, Digest]:
        """The shard of a result, and the name of its envelope there."""
        name = digest_of((_NAME_PREFIX + action_digest.subject).encode(), action_digest.function)
        return self._results[choose_shard(self._shards, name).name], name


def _absent(action_digest: Digest) -> NotFound:
    return NotFound(f"no result for action {action_digest}")
