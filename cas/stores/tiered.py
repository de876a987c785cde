"""A fast store in front of a slow one, such as a local disk in front of a bucket or of a server."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Self

from reapi.core.digest import Digest
from reapi.core.errors import NotFound, ReapiError
from reapi.core.interfaces import BlobStore

from .fills import PATIENCE_SECONDS, Fill, Fills
from .metrics import TierMetrics
from .reading import Source, closing, read_in_turn
from .shared_fetch import FellBehind, SharedFetch

logger = logging.getLogger(__name__)


class TieredStore:
    """A BlobStore whose truth is the slow tier; the fast one saves its bytes from being moved.

    What is missing, the slow tier alone says, and a write has succeeded when that has the blob. A
    read may find in the fast tier what the slow one has lost. Nothing that the fast tier does makes
    a call fail, nor holds it up for longer than PATIENCE_SECONDS: what it cannot take is left out.

    Blobs that are read whole are copied into the fast tier on the way. Concurrent `read`s of one
    blob that it lacks are one read of the slow tier; `read_many` is not shared.

    An async context manager, which owns the copies that are under way.
    """

    def __init__(self, fast: BlobStore, slow: BlobStore, metrics: TierMetrics) -> None:
        self._fast = fast
        self._slow = slow
        self._metrics = metrics
        self._fills = Fills(fast, metrics)
        self._fetches: dict[Digest, SharedFetch] = {}
        self._is_fast_failing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        fetches = list(self._fetches.values())
        for fetch in fetches:
            if not fetch.is_whole:
                fetch.close()
        await self._fills.close()
        await asyncio.gather(*(fetch.task for fetch in fetches), return_exceptions=True)

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore."""
        return await self._slow.find_missing(digests)

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """See BlobStore. What comes from the slow tier is copied afterwards."""
        wanted = list(dict.fromkeys(digests))
        try:
            found = await self._fast.read_many(wanted)
            self._is_fast_failing = False
        except ReapiError as error:
            self._pass_over(error)
            found = {}
        self._metrics.fast_hits.inc(len(found))
        absent = [digest for digest in wanted if digest not in found]
        if absent:
            fetched = await self._slow.read_many(absent)
            self._metrics.slow_hits.inc(len(fetched))
            self._fills.write_many(fetched)
            found |= fetched
        return found

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See BlobStore. A damaged copy in the fast tier is noticed and passed over."""
        fast = Source(partial(self._read_fast, digest, offset, limit), self._pass_over)
        slow = Source(partial(self._read_slow, digest, offset, limit))
        sources = [fast, slow]
        if offset == 0 and (limit is None or limit >= digest.size_bytes):
            # Who falls behind others finds the blob in the fast tier, unless that refused it.
            sources = [fast, Source(partial(self._join, digest), _fell_behind), fast, slow]
        async with aclosing(read_in_turn(digest, sources)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore."""
        failures = await self._slow.write_many(blobs)
        stored = {digest: data for digest, data in blobs.items() if digest not in failures}
        copying = self._fills.write_many(stored)
        if copying is not None:
            await asyncio.wait((copying,), timeout=PATIENCE_SECONDS)
        return failures

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """See BlobStore. Both tiers take the chunks at once; the fast one publishes last."""
        fill = self._fills.begin(digest)
        if fill is None:
            await self._slow.write(digest, chunks)
        else:
            await self._write_and_fill(digest, chunks, fill)

    async def _write_and_fill(
        self, digest: Digest, chunks: AsyncIterator[bytes], fill: Fill
    ) -> None:
        try:
            async with aclosing(fill.passing(chunks)) as passing:
                await self._slow.write(digest, passing)
        except BaseException:
            fill.cancel()
            raise
        fill.end()
        await fill.settled()

    async def _read_fast(
        self, digest: Digest, offset: int, limit: int | None
    ) -> AsyncIterator[bytes]:
        async with closing(self._fast.read(digest, offset=offset, limit=limit)) as chunks:
            async for chunk in chunks:
                yield chunk
        self._is_fast_failing = False
        self._metrics.fast_hits.inc()

    async def _read_slow(
        self, digest: Digest, offset: int, limit: int | None
    ) -> AsyncIterator[bytes]:
        async with closing(self._slow.read(digest, offset=offset, limit=limit)) as chunks:
            async for chunk in chunks:
                yield chunk
        self._metrics.slow_hits.inc()

    def _join(self, digest: Digest) -> AsyncIterator[bytes]:
        fetch = self._fetches.get(digest)
        if fetch is None or not fetch.is_open:
            open_slow = partial(self._read_slow, digest, 0, None)
            fetch = self._fetches[digest] = SharedFetch(open_slow, self._fills.begin(digest))
            fetch.task.add_done_callback(partial(self._fetch_ended, digest, fetch))
        return fetch.read()

    def _fetch_ended(self, digest: Digest, fetch: SharedFetch, _: object) -> None:
        if self._fetches.get(digest) is fetch:
            del self._fetches[digest]

    def _pass_over(self, error: ReapiError) -> bool:
        """The slow tier is asked instead; logged when failures begin, not one by one."""
        if not isinstance(error, NotFound):
            self._metrics.fast_read_failures.inc()
            if not self._is_fast_failing:
                logger.warning("the fast tier fails reads for now: %s", error)
                self._is_fast_failing = True
        return True


def _fell_behind(error: ReapiError) -> bool:
    return isinstance(error, FellBehind)
