"""Where the bytes of large blobs lie: objects under names that are given once.

An object store knows nothing of what is present: the index says that (state/interface.py). As no
name is ever given again, a deletion never meets an upload, and deleting twice does no harm. Proved
by tests/contracts/test_object_store.py.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from typing import NamedTuple, Protocol

from reapi.core.digest import Digest, Hasher

CHUNK_BYTES = 1 << 20
"""What readers yield at most."""


class NoObject(Exception):
    """There is no object of that name, or not the bytes that were asked for."""


class ObjectInfo(NamedTuple):
    """What a listing says: `size_bytes` as stored, `modified` in seconds since 1970."""

    name: str
    size_bytes: int
    modified: int


class ObjectWriter(Protocol):
    """One object while its bytes arrive; nobody sees it before `publish`.

    `discard` must follow, whatever happens; after `publish` it does nothing.
    """

    @property
    def suffix(self) -> str:
        """The end of the object's name (names.py); final once `publish` has returned."""

    async def write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        """Takes the next bytes and feeds them to `hasher`; both are done by its return.

        One call at a time. What it holds in memory is bounded: it waits until there is room.
        Raises ResourceExhausted or Unavailable; then only `discard` makes sense. Not cancelled by
        its callers: they wait for it, whatever happens to them.
        """

    async def publish(self) -> Hashable | None:
        """The object is whole, under its name, and durable, on return.

        Returns the stamp that its readers will have, if that is known.
        """

    async def discard(self) -> None:
        """Leaves nothing behind of an object that was not published."""


class ObjectReader(Protocol):
    """An object that was opened for some of its bytes."""

    @property
    def stamp(self) -> Hashable:
        """Differs from an earlier one of that name when anybody has changed the bytes since."""

    def chunks(self, hasher: Hasher | None) -> AsyncGenerator[bytes, None]:
        """The bytes asked for, in chunks of CHUNK_BYTES at most; fewer than asked for when the
        object is too short or cannot be read.

        Each chunk was fed to `hasher` before it is yielded. To be iterated once; closing it early
        is fine. Raises Unavailable when the store is down.
        """


class ObjectStore(Protocol):
    """Safe for concurrent use by tasks of one event loop, and by other processes."""

    async def create(self, digest: Digest, ending: str = "") -> ObjectWriter:
        """A new object for the blob `digest`, of exactly its size.

        With an `ending` of the suffix, which says how the bytes are encoded, of any size.
        """

    async def open(self, name: str, offset: int, end: int) -> ObjectReader:
        """The bytes from `offset` to `end`, or to where the object ends; at least one is there.

        Raises NoObject when there is no object of that name, Unavailable when the store is down.
        """

    async def delete(self, names: Sequence[str]) -> None:
        """Deletes those that exist. Raises Unavailable when it cannot."""

    async def quarantine(self, name: str) -> None:
        """Takes a damaged object out of the way and keeps it for whoever looks for the cause."""

    def list(self) -> AsyncIterator[Sequence[ObjectInfo]]:
        """All published objects, in batches, in no order; those in quarantine are left out."""

    async def check(self) -> None:
        """Raises ReapiError that says what is wrong when objects could not be written now."""
