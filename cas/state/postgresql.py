"""The blob index in PostgreSQL, shared by any number of processes.

What the tasks of this process ask for at about the same time goes to the server as one statement.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from typing import Any, NamedTuple, Self

from reapi.core.gathering import Gatherer
from reapi.core.postgresql.errors import translated
from reapi.core.postgresql.listener import Listener
from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import Connection, PostgresqlPool
from reapi.core.uninterrupted import uninterrupted

from . import postgresql_schema as schema
from .interface import EVICTION_BATCH, Entry, InlineBlob, NewObject

_LOSSES = "reapi_losses"
_EVICTION_LOCK = 0x7265_6170_6901  # "reapi" and a number
_LONGEST_WAIT_SECONDS = 7 * 24 * 3600
_KEYS_PER_STATEMENT = 2000
_BYTES_PER_STATEMENT = 4 << 20
_ROWS_PER_STEP = 1000
_INLINE_PER_STEP = 100


class _Touch(NamedTuple):
    keys: Sequence[bytes]
    used: int


class _NewObjects(NamedTuple):
    objects: Sequence[NewObject]
    used: int
    stored: int
    owner: str


class _NewInline(NamedTuple):
    blobs: Mapping[bytes, bytes]
    used: int
    stored: int
    owner: str


class PostgresqlIndex:
    """A BlobIndex. Use it as an async context manager; entering it brings the tables up to date."""

    def __init__(self, pool: PostgresqlPool) -> None:
        self._pool = pool
        self._listener = Listener(pool, _LOSSES)
        self._removed = 0
        self._evicting: Connection | None = None
        self._stack = AsyncExitStack()
        self._finds = Gatherer(self._find, max_weight=_KEYS_PER_STATEMENT, max_running=4, weigh=len)
        self._reads = Gatherer(self._read, max_weight=256, max_running=2, weigh=len)
        self._touches = Gatherer(
            self._touch,
            max_weight=_KEYS_PER_STATEMENT,
            max_running=1,
            weigh=lambda touch: len(touch.keys),
        )
        self._objects = Gatherer(
            self._add_objects,
            max_weight=_KEYS_PER_STATEMENT,
            max_running=2,
            weigh=lambda new: len(new.objects),
        )
        self._inline = Gatherer(
            self._add_inline,
            max_weight=_BYTES_PER_STATEMENT,
            max_running=2,
            weigh=lambda new: sum(map(len, new.blobs.values())),
        )

    async def __aenter__(self) -> Self:
        await migrate(self._pool, schema.BLOB_COMPONENT, schema.BLOB_MIGRATIONS)
        await self._stack.enter_async_context(self._listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        for gatherer in (self._finds, self._reads, self._touches, self._objects, self._inline):
            await gatherer.close()
        await self._stack.aclose()

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        if len(keys) <= _KEYS_PER_STATEMENT:
            return await self._finds.call(keys)
        found = {}
        for part in await asyncio.gather(*map(self._finds.call, _parts(keys, _KEYS_PER_STATEMENT))):
            found.update(part)
        return found

    async def touch(self, keys: Sequence[bytes], used: int) -> bool:
        parts = (_Touch(part, used) for part in _parts(keys, _KEYS_PER_STATEMENT))
        return all(await asyncio.gather(*map(self._touches.call, parts)))

    async def add_objects(
        self, objects: Sequence[NewObject], used: int, stored: int, owner: str
    ) -> list[bytes]:
        return await uninterrupted(self._objects.call(_NewObjects(objects, used, stored, owner)))

    async def add_inline(
        self, blobs: Mapping[bytes, bytes], used: int, stored: int, owner: str
    ) -> None:
        await uninterrupted(self._inline.call(_NewInline(blobs, used, stored, owner)))

    async def read_inline(self, inline_ids: Sequence[int]) -> dict[int, bytes]:
        return await self._reads.call(inline_ids)

    async def remove(self, entry: Entry) -> bool:
        return await uninterrupted(self._remove(entry))

    async def _remove(self, entry: Entry) -> bool:
        gone = await self._pool.fetch(
            schema.REMOVE, entry.key, entry.inline_id, entry.suffix, _LOSSES
        )
        # Others, and this process once more, hear of it as soon as the server has told them.
        self._removed += len(gone)
        return bool(gone)

    async def evict(
        self, wanted_bytes: int, last_stamp: int, owner: str | None = None
    ) -> AsyncGenerator[Sequence[Entry], None]:
        while wanted_bytes > 0:
            # In the session that holds the lock: if that is lost, so is the right to evict.
            assert self._evicting is not None, "evict is to be used within evicting"
            with translated():
                rows = await self._evicting.fetch(
                    schema.EVICT, wanted_bytes, last_stamp, owner, EVICTION_BATCH
                )
            if rows[0][0] == 0:
                return
            entries = [Entry(*row[1:]) for row in rows if row[1] is not None]
            wanted_bytes -= sum(entry.size for entry in entries)
            if entries:
                yield entries

    async def leaving(self) -> Sequence[Entry]:
        return [Entry(*row) for row in await self._pool.fetch(schema.LEAVING)]

    async def forget(self, entries: Sequence[Entry]) -> None:
        await self._pool.fetch(
            schema.FORGET,
            [entry.key for entry in entries],
            [entry.suffix for entry in entries],
            [entry.inline_id for entry in entries],
        )

    @asynccontextmanager
    async def evicting(self) -> AsyncIterator[None]:
        async with self._pool.session({"lock_timeout": "0", "statement_timeout": "0"}) as session:
            with translated():
                await session.execute(
                    "SELECT pg_advisory_lock($1)", _EVICTION_LOCK, timeout=_LONGEST_WAIT_SECONDS
                )
            self._evicting = session
            try:
                yield
            finally:
                self._evicting = None

    async def oldest_used(self, owner: str | None = None) -> int | None:
        ((oldest,),) = await self._pool.fetch(schema.OLDEST_USED, owner)
        return None if oldest is None else int(oldest)

    async def sizes_by_use(self, after: int, last_stamp: int) -> Sequence[tuple[int, int]]:
        # In the session of the lock, whose statements may take long.
        assert self._evicting is not None, "sizes_by_use is to be used within evicting"
        with translated():
            rows = await self._evicting.fetch(
                schema.SIZES_BY_USE, after, last_stamp, timeout=_LONGEST_WAIT_SECONDS
            )
        return [(row[0], row[1]) for row in rows]

    async def check(self) -> None:
        await self._pool.fetch(schema.CHECK)

    async def total_bytes(self) -> Mapping[str, int]:
        return {owner: total for owner, total in await self._pool.fetch(schema.TOTAL)}

    async def rows(self, after: bytes = b"") -> AsyncIterator[Sequence[Entry]]:
        while rows := await self._pool.fetch(schema.ROWS, after, _ROWS_PER_STEP):
            yield [Entry(*row) for row in rows]
            after = rows[-1][0]

    async def clear(self) -> None:
        await self._pool.fetch(schema.CLEAR)

    async def inline_blobs(self) -> AsyncIterator[Sequence[InlineBlob]]:
        after = 0
        while rows := await self._pool.fetch(schema.INLINE_BLOBS, after, _INLINE_PER_STEP):
            yield [InlineBlob(*row) for row in rows]
            after = rows[-1][0]

    async def adopt_inline(self, entries: Sequence[Entry], stored: int, owner: str) -> list[bytes]:
        added = await uninterrupted(
            self._pool.fetch(
                schema.ADOPT_INLINE,
                [entry.key for entry in entries],
                [entry.size for entry in entries],
                [entry.used for entry in entries],
                [entry.inline_id for entry in entries],
                stored,
                owner,
            )
        )
        fresh = {row[0] for row in added}
        return [entry.key for entry in entries if entry.key not in fresh]

    def losses(self) -> Hashable | None:
        heard = self._listener.heard()
        return None if heard is None else (heard, self._removed)

    async def _find(self, calls: Sequence[Sequence[bytes]]) -> list[dict[bytes, Entry]]:
        keys = calls[0] if len(calls) == 1 else list(set(chain.from_iterable(calls)))
        rows = await self._pool.fetch(schema.FIND, keys)
        found = {row[0]: Entry(*row) for row in rows}
        if len(calls) == 1:
            return [found]
        return [{key: found[key] for key in keys if key in found} for keys in calls]

    async def _touch(self, calls: Sequence[_Touch]) -> list[bool]:
        keys = [key for call in calls for key in call.keys]
        stamps = [call.used for call in calls for _ in call.keys]
        ((present,),) = await self._pool.fetch(schema.TOUCH, keys, stamps)
        if present is None:
            return [True] * len(calls)
        there = set(present)
        return [there.issuperset(call.keys) for call in calls]

    async def _add_objects(self, calls: Sequence[_NewObjects]) -> list[list[bytes]]:
        rows = _Rows()
        for objects, used, stored, owner in calls:
            for key, size, suffix in objects:
                rows.add(key, used, size, suffix, stored, owner)
        added = {row[0] for row in await self._pool.fetch(schema.ADD_OBJECTS, *rows.columns(6))}
        return [
            [
                new.key
                for new in call.objects
                if new.key not in added or rows[new.key][3] != new.suffix
            ]
            for call in calls
        ]

    async def _add_inline(self, calls: Sequence[_NewInline]) -> list[None]:
        rows = _Rows()
        for blobs, used, stored, owner in calls:
            for key, data in blobs.items():
                rows.add(key, used, data, stored, owner)
        await self._pool.fetch(schema.ADD_INLINE, *rows.columns(5))
        return [None] * len(calls)

    async def _read(self, calls: Sequence[Sequence[int]]) -> list[dict[int, bytes]]:
        ids = list(set(chain.from_iterable(calls)))
        found = dict(await self._pool.fetch(schema.READ_INLINE, ids))
        return [{one: found[one] for one in call if one in found} for call in calls]


class _Rows(dict[bytes, list[Any]]):
    """New rows by key: of several for one key the first counts, with the latest use of all."""

    def add(self, key: bytes, used: int, *rest: object) -> None:
        row = self.setdefault(key, [key, used, *rest])
        row[1] = max(row[1], used)

    def columns(self, number: int) -> list[tuple[Any, ...]]:
        """The rows as that many arrays."""
        return list(zip(*self.values(), strict=True)) or [()] * number


def _parts(keys: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]
