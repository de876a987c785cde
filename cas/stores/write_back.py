"""A tiered store that acknowledges once the fast tier has a blob, and copies it later."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Self

from reapi.core.database import Database
from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument, ReapiError
from reapi.core.interfaces import BlobStore

from .debts import MIGRATIONS, Debts
from .metrics import TierMetrics
from .reading import closing
from .repayment import Repayment
from .tiered import TieredStore

logger = logging.getLogger(__name__)


class WriteBackStore:
    """A BlobStore whose writes do not wait for the slow tier. For one frontend only.

    Others that use the slow tier do not see what it is still owed, and two must not share a record.

    A write returns when the fast tier has the blob durably and the debt is on record, so a killed
    process goes on with it at its next start. What is owed counts as present. When that is more
    than `max_owed_bytes`, or the fast tier or the record cannot take a blob, the write goes through
    to the slow tier as in a TieredStore, which does the reading too.

    The fast tier must be durable, must have room for `max_owed_bytes` beside what else it promises,
    and must retain blobs for longer than `renew_seconds` after each find_missing. Losing its disk
    before the slow tier was paid loses acknowledged blobs: these are counted and reported missing.
    The record `survives_power_loss` if it is told to, as the fast tier should do then.

    An async context manager, which owns the copies that are under way.
    """

    def __init__(
        self,
        fast: BlobStore,
        slow: BlobStore,
        record: Path,
        metrics: TierMetrics,
        *,
        max_owed_bytes: int,
        renew_seconds: float,
        survives_power_loss: bool = False,
    ) -> None:
        self._fast = fast
        self._slow = slow
        self._record = record
        self._metrics = metrics
        self._max_owed_bytes = max_owed_bytes
        self._renew_seconds = renew_seconds
        self._survives_power_loss = survives_power_loss
        self._tiered = TieredStore(fast, slow, metrics)
        self._debts: Debts
        self._repayment: Repayment
        self._stack: AsyncExitStack

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            record = Database(
                self._record, MIGRATIONS, survives_power_loss=self._survives_power_loss
            )
            database = await stack.enter_async_context(record)
            self._debts = Debts(database, self._metrics, max_bytes=self._max_owed_bytes)
            await stack.enter_async_context(self._tiered)
            self._repayment = Repayment(
                self._debts,
                self._fast,
                self._slow,
                self._metrics,
                renew_seconds=self._renew_seconds,
            )
            stack.push_async_callback(self._repayment.close)
            await self._repayment.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def pay(self, digests: Collection[Digest] | None = None) -> None:
        """Returns when the slow tier has these, as far as they were owed, or all that is owed now.

        For those who go on to say something to others about these blobs. Raises what the slow tier
        says when it does not take one.
        """
        await self._repayment.pay(list(self._debts) if digests is None else digests)

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore. The slow tier is not asked for what it is owed."""
        asked = list(dict.fromkeys(digests))
        owed = [digest for digest in asked if digest in self._debts]
        held = set(owed)
        if owed:
            held.difference_update(await self._fast.find_missing(owed))
        others = [digest for digest in asked if digest not in held]
        if not others:
            return []
        return await self._tiered.find_missing(others)

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """See BlobStore."""
        return await self._tiered.read_many(digests)

    def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """See BlobStore."""
        return self._tiered.read(digest, offset=offset, limit=limit)

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore. One commit puts all that became owed on record."""
        failures: dict[Digest, ReapiError] = {}
        with self._debts.room(blobs) as has_room:
            if has_room:
                failures = await self._write_fast(blobs)
        if not has_room:
            return await self._tiered.write_many(blobs)
        refused = [digest for digest, error in failures.items() if _may_be_written_through(error)]
        for digest in refused:
            del failures[digest]
        if refused:
            failures |= await self._tiered.write_many({digest: blobs[digest] for digest in refused})
        return failures

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """See BlobStore. Fails when the fast tier fails in the middle: the chunks are gone then."""
        has_begun = False

        async def watched() -> AsyncGenerator[bytes, None]:
            nonlocal has_begun
            async for chunk in chunks:
                has_begun = True
                yield chunk

        with self._debts.room([digest]) as has_room:
            if has_room:
                try:
                    async with aclosing(watched()) as watching:
                        await self._fast.write(digest, watching)
                except ReapiError as error:
                    if has_begun or not _may_be_written_through(error):
                        raise
                else:
                    await self._owe_or_pay(digest)
                    return
        await self._tiered.write(digest, chunks)

    async def _write_fast(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        try:
            failures = await self._fast.write_many(blobs)
        except ReapiError as error:
            return dict.fromkeys(blobs, error)
        stored = [digest for digest in blobs if digest not in failures]
        try:
            await self._owe(stored)
        except ReapiError as error:
            return failures | dict.fromkeys(stored, error)
        return failures

    async def _owe(self, digests: Sequence[Digest]) -> None:
        owed = [digest for digest in digests if digest.size_bytes]
        if owed:
            try:
                await self._debts.add(owed)
            finally:
                self._repayment.add([digest for digest in owed if digest in self._debts])

    async def _owe_or_pay(self, digest: Digest) -> None:
        try:
            await self._owe([digest])
        except ReapiError as error:
            logger.warning("a write goes through to the slow tier: %s", error)
            async with closing(self._fast.read(digest)) as chunks:
                await self._slow.write(digest, chunks)


def _may_be_written_through(error: ReapiError) -> bool:
    """Whether the fast tier or the record is to blame, and not the bytes."""
    return not isinstance(error, InvalidArgument)
