"""Gives the server what was made, behind the back of the build, which does not wait for it."""

import asyncio
import logging
from collections.abc import Callable

from google.rpc import code_pb2

from reapi.core.digest import Digest
from reapi.core.errors import PermissionDenied, ReapiError

from .local_cache import LocalCache
from .manifest import Entry
from .results import digests_of
from .service import Service

_LOG = logging.getLogger(__name__)
_MOST = 256
_NOT_SHARED = "not shared: "


class Sharing:
    """Manifests on their way to a server, with the outputs that it lacks.

    Bounded: what comes when too many are on their way is not shared; the next client that has to
    make it will. A failure is counted, and kept to tell the user of the next call.
    """

    def __init__(self, cache: LocalCache, count_failure: Callable[[str], None]) -> None:
        self._cache = cache
        self._count_failure = count_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self._troubles: dict[str, str] = {}

    def begin(self, service: Service, key: str, manifest: bytes, entry: Entry) -> None:
        """Shares an entry whose outputs are in the cache, or on the server already."""
        if service.refusal:
            self._count_failure(_NOT_SHARED + kind_of(PermissionDenied()))
            return
        if len(self._tasks) >= _MOST:
            _LOG.warning("%d results wait to be shared: one more is not", _MOST)
            return
        task = asyncio.create_task(self._share(service, key, manifest, entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def trouble_with(self, service: Service) -> str:
        """Why the service takes nothing, as far as it is known; empty while it does."""
        refusal = service.refusal or self._troubles.get(service.server, "")
        return f"nothing is shared: {refusal} ({service.server})" if refusal else ""

    async def finish(self) -> None:
        """Waits for all that has begun."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _share(self, service: Service, key: str, manifest: bytes, entry: Entry) -> None:
        digests = digests_of(entry.result, service.function)
        try:
            await service.upload({}, self._files(digests))
            await service.share_manifest(key, manifest, digests)
        except ReapiError as error:
            _LOG.warning("a result was not shared: %s", error.message)
            self._count_failure(_NOT_SHARED + kind_of(error))
            self._troubles[service.server] = error.message
        else:
            self._troubles.pop(service.server, None)

    def _files(self, digests: list[Digest]) -> dict[Digest, str]:
        """Those in the cache; an executor has uploaded what it has made."""
        paths = {digest: self._cache.blob(digest) for digest in digests}
        return {digest: path for digest, path in paths.items() if path is not None}


def kind_of(error: ReapiError) -> str:
    """The name of its code, as failures are counted: `permission_denied`."""
    return str(code_pb2.Code.Name(error.code)).lower()
