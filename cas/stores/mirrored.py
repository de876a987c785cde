"""Every blob in two stores, so that one of them may be lost."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, Self

from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError
from reapi.core.interfaces import BlobStore

from .feed import BlobFeed
from .metrics import MirrorMetrics
from .reading import Source, read_in_turn
from .repairs import Repairs


class MirroredStore:
    """A BlobStore of two that are to hold the same; what one lacks is copied from the other.

    A write succeeds when both stores have the blob, and a blob is present when both have it: one
    that only the other has is copied before it is reported, and reported missing when that fails.
    So while one store is down, writes and questions fail, and nothing is promised that rests on
    one store alone. Reads go on with the other: half of the blobs are read from either store, and a
    blob that is absent, damaged or out of reach there from the other, and repaired afterwards.

    To replace a store, put an empty one in its place. An async context manager, which owns the
    repairs that are under way.
    """

    def __init__(self, first: BlobStore, second: BlobStore, metrics: MirrorMetrics) -> None:
        self._first = first
        self._second = second
        self._repairs = Repairs(metrics)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._repairs.close()

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore. Takes as long as the repairs that it finds to be due."""
        asked = list(dict.fromkeys(digests))
        first, second = await map_bounded(
            partial(_find_missing, asked), (self._first, self._second), at_once=2
        )
        missing = first & second
        missing |= await self._repairs.copy(self._second, self._first, first - missing)
        missing |= await self._repairs.copy(self._first, self._second, second - missing)
        return [digest for digest in asked if digest in missing]

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """See BlobStore. Fails when a blob was not found and one store could not be asked."""
        asked = self._questions(digests)
        preferred = await map_bounded(_ask, asked, at_once=2)
        left = [
            _Question(question.other, question.store, answer.absent)
            for question, answer in zip(asked, preferred, strict=True)
        ]
        others = await map_bounded(_ask, left, at_once=2)
        found: dict[Digest, bytes] = {}
        for question, answer, other in zip(left, preferred, others, strict=True):
            error = answer.error or other.error
            if error is not None and len(other.found) < len(question.digests):
                raise error
            if answer.error is None and other.found:
                self._repairs.start(question.store, question.other, list(other.found))
            found |= answer.found | other.found
        return found

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See BlobStore."""
        preferred, other = self._sides(digest)
        failures: list[ReapiError] = []

        def pass_over(error: ReapiError) -> bool:
            failures.append(error)
            return True

        sources = [
            Source(partial(preferred.read, digest, offset=offset, limit=limit), pass_over),
            Source(partial(other.read, digest, offset=offset, limit=limit)),
        ]
        is_repair_due = True
        try:
            async with aclosing(read_in_turn(digest, sources)) as chunks:
                async for chunk in chunks:
                    if failures and is_repair_due:
                        is_repair_due = False
                        if isinstance(failures[0], NotFound | DataLoss):
                            self._repairs.start(other, preferred, [digest])
                    yield chunk
        except NotFound as error:
            if isinstance(failures[0], NotFound):
                raise
            raise failures[0] from error  # it may be there

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore. A blob that one store refused fails."""
        first, second = await map_bounded(
            partial(_write_many, blobs), (self._first, self._second), at_once=2
        )
        return first | second

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """See BlobStore. Goes at the pace of the slower store."""
        feeds = [BlobFeed(store, digest) for store in (self._first, self._second)]
        try:
            await _distribute(chunks, feeds)
        finally:
            for feed in feeds:
                feed.task.cancel()
            await asyncio.wait([feed.task for feed in feeds])

    def _sides(self, digest: Digest) -> tuple[BlobStore, BlobStore]:
        """The store to read from, and the other one."""
        if digest.key[-1] & 1:
            return self._second, self._first
        return self._first, self._second

    def _questions(self, digests: Sequence[Digest]) -> "tuple[_Question, _Question]":
        """What to read from which store first."""
        first = _Question(self._first, self._second, [])
        second = _Question(self._second, self._first, [])
        for digest in dict.fromkeys(digests):
            question = first if self._sides(digest)[0] is self._first else second
            question.digests.append(digest)
        return first, second


class _Question(NamedTuple):
    """Blobs to read from one store."""

    store: BlobStore
    other: BlobStore
    digests: list[Digest]


class _Answer(NamedTuple):
    """What was found of a question, what not, and why not if there is a reason."""

    found: dict[Digest, bytes]
    absent: list[Digest]
    error: ReapiError | None


async def _ask(question: _Question) -> _Answer:
    if not question.digests:
        return _Answer({}, [], None)
    try:
        found = await question.store.read_many(question.digests)
    except ReapiError as error:
        return _Answer({}, question.digests, error)
    return _Answer(found, [digest for digest in question.digests if digest not in found], None)


async def _find_missing(digests: Sequence[Digest], store: BlobStore) -> set[Digest]:
    return set(await store.find_missing(digests))


async def _write_many(blobs: Mapping[Digest, bytes], store: BlobStore) -> dict[Digest, ReapiError]:
    try:
        return await store.write_many(blobs)
    except ReapiError as error:
        return dict.fromkeys(blobs, error)


async def _distribute(chunks: AsyncIterator[bytes], feeds: Sequence[BlobFeed]) -> None:
    """Puts all chunks into all feeds that take them; raises what made one of them fail."""
    hungry = list(feeds)
    async for chunk in chunks:
        for feed in tuple(hungry):
            if not await feed.put(chunk):
                await feed.task
                hungry.remove(feed)  # it has the blob already
        if not hungry:
            return
    for feed in hungry:
        feed.end()
    for feed in hungry:
        await feed.task
