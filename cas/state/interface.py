"""The state of the store: one row per blob, small blobs themselves, action results with closures.

There are two dialects, SQLite and PostgreSQL. Several processes may use one state at once: what one
has written, all see at once. A change is durable when its method returns. A cancelled call may or
may not have happened; one that adds, puts or removes rows waits for its commit, so that once the
cancellation has come through it changes nothing any more. Proved by
tests/contracts/test_blob_index.py and test_result_table.py.

Times are whole seconds since 1970. `used` is a stamp (presence.py), `stored` the present time.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from reapi.core.cache_state import CacheState

EVICTION_BATCH = 200
"""Rows that leave the index in one step."""


class Entry(NamedTuple):
    """A row: the blob `key` (Digest.key) of `size` bytes, and where these are.

    With an `inline_id` the bytes are in the state itself, under that number, which is used once and
    never again. Without, they are an object whose name ends in `suffix` (objects/names.py).
    """

    key: bytes
    size: int
    used: int
    inline_id: int | None
    suffix: str


class NewObject(NamedTuple):
    """A blob whose object is published."""

    key: bytes
    size: int
    suffix: str


class InlineBlob(NamedTuple):
    """Bytes in the state, and the digest function (its number) by which they were stored."""

    inline_id: int
    function: int
    data: bytes


class BlobIndex(Protocol):
    """The truth about what is present."""

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The rows that exist."""

    async def touch(self, keys: Sequence[bytes], used: int) -> bool:
        """Raises `used` of rows; False when one of them is not there (any more)."""

    async def add_objects(
        self, objects: Sequence[NewObject], used: int, stored: int, owner: str
    ) -> list[bytes]:
        """Adds rows. Keys that have a row already are touched only, and returned: the caller's own
        objects for those are not needed and his to delete.

        `owner` is the name of the instance whose quota the bytes count for.
        """

    async def add_inline(
        self, blobs: Mapping[bytes, bytes], used: int, stored: int, owner: str
    ) -> None:
        """Adds small blobs, bytes and rows; those whose key has a row already are touched only."""

    async def read_inline(self, inline_ids: Sequence[int]) -> dict[int, bytes]:
        """The bytes that exist. Not verified: somebody may have changed them."""

    async def remove(self, entry: Entry) -> bool:
        """Takes out a row whose bytes are no good, and inline bytes with it.

        Does nothing and says False if the row says by now that the bytes are elsewhere. Before it
        returns, `losses` of every process that may answer from memory has changed, or will at once.
        """

    def evict(
        self, wanted_bytes: int, last_stamp: int, owner: str | None = None
    ) -> AsyncGenerator[Sequence[Entry], None]:
        """Takes out rows, oldest use first, until they held `wanted_bytes` or none is left whose
        `used` is at most `last_stamp`; in batches of EVICTION_BATCH at most.

        Taken out means: gone from `find`, listed by `leaving` until `forget`. For `owner`, rows of
        that instance alone. To be used within `evicting`.
        """

    async def leaving(self) -> Sequence[Entry]:
        """Rows that `evict` took out and `forget` was not told of: also those of a killed process,
        and of one that is at work right now, which does not mind if their bytes go twice.
        """

    async def forget(self, entries: Sequence[Entry]) -> None:
        """The objects of these rows are deleted; inline bytes go now."""

    def evicting(self) -> AbstractAsyncContextManager[None]:
        """Only one process is in such a context at a time; others wait."""

    async def oldest_used(self, owner: str | None = None) -> int | None:
        """The lowest `used` of all rows, or of those of `owner`; may be some seconds old, may take
        long.
        """

    async def sizes_by_use(self, after: int, last_stamp: int) -> Sequence[tuple[int, int]]:
        """Each `used` above `after` and up to `last_stamp`, rising, with the bytes of its rows.

        May be some seconds old, may take long. To be used within `evicting`.
        """

    async def total_bytes(self) -> Mapping[str, int]:
        """The bytes of all blobs, by owner. Cheap; other processes' last second may be missing."""

    async def check(self) -> None:
        """Raises ReapiError that says what is wrong when rows could not be written now."""

    def rows(self, after: bytes = b"") -> AsyncIterator[Sequence[Entry]]:
        """All rows in the order of their keys, in batches; those that come or go meanwhile may be
        seen or not. Does not hold up anybody.
        """

    async def clear(self) -> None:
        """Takes out every row; inline bytes stay. For a rebuild, while nobody else is here."""

    def inline_blobs(self) -> AsyncIterator[Sequence[InlineBlob]]:
        """All inline bytes, in batches, whether a row names them or not."""

    async def adopt_inline(self, entries: Sequence[Entry], stored: int, owner: str) -> list[bytes]:
        """Adds rows for inline bytes that are there; see `add_objects` for what it returns."""

    def losses(self) -> Hashable | None:
        """While this is the same, no row was removed before its time: what was present still is.
        None when this cannot be said: then nothing that is kept in memory counts.
        """


class ResultRow(NamedTuple):
    """One action result, serialized, with all that it needs (closure.py), and where it is from.

    `worker` ran the action, `writer` is who stored it, at `stored`.
    """

    action_result: bytes
    closure: bytes
    used: int
    stored: int
    instance_name: str
    worker: str
    writer: str


class Removal(NamedTuple):
    """Why a row was taken out before its time, and when."""

    at: int
    why: CacheState
    detail: str = ""


MOST_REMOVALS = 10_000
"""That a table remembers, the latest; perhaps one more."""


class ResultQuery(NamedTuple):
    """Which rows are meant: all conditions that are not None. Bounds of `stored` are inclusive."""

    instance_name: str | None = None
    worker: str | None = None
    writer: str | None = None
    since: int | None = None
    until: int | None = None


class ResultTable(Protocol):
    """Results by key (result_key.py)."""

    async def version(self, key: bytes) -> int:
        """Changes whenever the row of that key is put or removed, by whomever. Cheap."""

    async def find(self, key: bytes) -> ResultRow | None:
        """The row of that key."""

    async def put(self, key: bytes, row: ResultRow) -> None:
        """Stores a row in place of an earlier one."""

    async def touch(self, key: bytes, used: int) -> None:
        """Raises `used` of the row, if it is there. Does not change its version."""

    async def remove(self, key: bytes, row: ResultRow, removal: Removal | None = None) -> bool:
        """Takes out a row, unless it holds another result by now (`used` does not count).

        `removal` is remembered with it, in the same step.
        """

    async def last_removal(self, key: bytes) -> Removal | None:
        """The last one that is remembered of that key, whatever has been put since."""

    async def remove_unused(self, last_stamp: int) -> None:
        """Takes out all rows whose `used` is at most `last_stamp`."""

    async def select(
        self, query: ResultQuery, after: bytes, limit: int
    ) -> list[tuple[bytes, ResultRow]]:
        """Rows in the order of their keys, from after the key `after` on."""

    async def total_bytes(self) -> int:
        """Of all results and closures. Cheap; other processes' last second may be missing."""


MOST_INVOCATIONS = 10_000
"""That a table remembers."""


class Invocation(NamedTuple):
    """A client's run, such as one build, that has called since `began`."""

    invocation_id: str
    began: int


class InvocationTable(Protocol):
    """Which invocations are at work: eviction spares what they use (pins.py).

    A loss of rows is harmless: pins end early, promises stay. So nothing here has to survive a
    power cut.
    """

    async def note(self, seen: Mapping[str, int], longest_seconds: int) -> None:
        """Invocations, by id, have called at these times.

        One that began `longest_seconds` before begins anew, with pins. Of more than
        MOST_INVOCATIONS, those go that were silent for longest.
        """

    async def live(self, seen_since: int, began_since: int) -> Sequence[Invocation]:
        """Those with pins whose times are no earlier than these, in the order they began in."""

    async def unpin(self, invocation_ids: Sequence[str]) -> Sequence[str]:
        """Takes their pins until they begin anew; returns those that still had some."""
