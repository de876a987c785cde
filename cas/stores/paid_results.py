"""Action results behind blobs that are written back later."""

from reapi.cas.closure import closure_of
from reapi.core.digest import Digest
from reapi.core.interfaces import ActionCache
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .write_back import WriteBackStore


class PaidResults:
    """An ActionCache for which the slow tier of `blobs` must have the blobs of a result.

    A server refuses a result whose blobs it does not have, so those are copied ahead of all others.
    """

    def __init__(self, inner: ActionCache, blobs: WriteBackStore) -> None:
        self._inner = inner
        self._blobs = blobs

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        """See ActionCache."""
        return await self._inner.get(instance_name, action_digest)

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """See ActionCache. Takes as long as the blobs need to the slow tier."""
        await self._blobs.pay(await closure_of(self._blobs, result, action_digest.function))
        return await self._inner.put(instance_name, action_digest, result, writer=writer)
