"""What becomes of the response that a worker reports: who may see it, and whether it is cached."""

import logging

from google.rpc import code_pb2

from reapi.clients.retry import Retries
from reapi.core.digest import Digest
from reapi.core.errors import BlobsMissing, ReapiError
from reapi.core.interfaces import ActionCache
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
)

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 30.0
"""For a cache that is away. Meanwhile the worker keeps the result, and its callers wait."""


class Publisher:
    """Writes results to the ActionCache before anybody hears of them."""

    def __init__(self, action_cache: ActionCache) -> None:
        self._action_cache = action_cache

    async def publish(
        self,
        instance_name: str,
        action_digest: Digest,
        response: ExecuteResponse,
        *,
        is_cacheable: bool,
    ) -> bool:
        """False if the response must not reach a client and somebody else must run the action.

        That is so when the worker gave up on its own (CANCELLED is for CancelOperation, EX19), or
        named outputs that are not stored. A cache that is away is waited for. One that is away for
        longer, or cannot take a result otherwise, is logged only: the outputs are durable without
        it, another run would give the same result, and the next caller merely runs the action
        again.
        """
        if response.status.code == code_pb2.CANCELLED:
            return False
        if response.status.code != code_pb2.OK:
            return True
        # Status OK means that there is a result, even an empty one (EX6).
        result = response.result
        response.result.SetInParent()
        if not is_cacheable or result.exit_code != 0:
            return True
        try:
            await self._put(instance_name, action_digest, result)
        except BlobsMissing as error:
            logger.error("refused a result of action %s: %s", action_digest, error.message)
            return False
        except ReapiError as error:
            logger.warning("did not cache action %s: %s", action_digest, error.message)
        except Exception:
            logger.exception("cannot cache the result of action %s", action_digest)
        return True

    async def _put(self, instance_name: str, action_digest: Digest, result: ActionResult) -> None:
        retries = Retries(_PATIENCE_SECONDS)
        while True:
            try:
                await self._action_cache.put(
                    instance_name, action_digest, result, writer="scheduler"
                )
            except ReapiError as error:
                await retries.wait(error)
            else:
                return
