"""Action results in the action caches of two mirrors."""

from collections.abc import Sequence

from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest
from reapi.core.errors import NotFound, ReapiError
from reapi.core.interfaces import ActionCache
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult


class MirroredResults:
    """An ActionCache over those of servers of which each has all blobs.

    A result is stored when all have it. It is read from the first that has it; what one alone has,
    such as the result of an action that it has run, is not copied to the other.
    """

    def __init__(self, mirrors: Sequence[ActionCache]) -> None:
        self._mirrors = mirrors

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        """See ActionCache. A miss, too, when one mirror has none and the other cannot be asked:
        the action is run again, which is no worse than a build that fails."""
        failures: list[ReapiError] = []
        for mirror in self._mirrors:
            try:
                return await mirror.get(instance_name, action_digest)
            except ReapiError as error:
                failures.append(error)
        raise next((error for error in failures if isinstance(error, NotFound)), failures[0])

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """See ActionCache."""

        async def put_one(mirror: ActionCache) -> ActionResult:
            return await mirror.put(instance_name, action_digest, result, writer=writer)

        return (await map_bounded(put_one, self._mirrors, at_once=len(self._mirrors)))[0]
