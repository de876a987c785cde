"""Blobs spread over stores by their digests, in proportion to the weight of each store."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import xxhash

from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest
from reapi.core.errors import ReapiError
from reapi.core.interfaces import BlobStore

from .reading import closing

_SHARDS_AT_ONCE = 16


class Shard(NamedTuple):
    """One store of several.

    The `name` decides which blobs it gets, so it stays with the bytes: it may change its address
    and its place in the list, but not its name. Twice the `weight` gets twice the blobs.
    """

    name: str
    weight: float
    store: BlobStore


def choose_shard(shards: Sequence[Shard], digest: Digest) -> Shard:
    """The shard of a blob: weighted rendezvous hashing.

    Depends on nothing but the digest and the names and weights of the shards. A shard that comes or
    goes moves only the blobs that it gets or had; so does a weight that changes.
    """
    key = digest.key
    return max(shards, key=lambda shard: (_score(shard, key), shard.name))


def _score(shard: Shard, key: bytes) -> float:
    number = xxhash.xxh3_64_intdigest(shard.name.encode() + key)
    # 52 bits and a half are exact in a float, and between 0 and 1 with neither.
    fraction = ((number >> 12) + 0.5) * 2**-52
    return -shard.weight / math.log(fraction)


class ShardedStore:
    """A BlobStore of which each shard has its part. Shards are asked in parallel.

    A shard that fails makes calls fail that are about its blobs, and no others: nothing is said of
    a blob that could not be looked for.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        if len({shard.name for shard in shards}) < len(shards) or not shards:
            raise ValueError("shards need names of their own, and there must be one")
        if not all(0 < shard.weight < math.inf for shard in shards):
            raise ValueError("the weight of a shard must be positive and finite")
        self._shards = tuple(shards)

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore."""
        asked = list(dict.fromkeys(digests))

        async def find(part: _Part) -> list[Digest]:
            return await part.store.find_missing(part.digests)

        missing = set().union(*await map_bounded(find, self._parts(asked), at_once=_SHARDS_AT_ONCE))
        return [digest for digest in asked if digest in missing]

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """See BlobStore."""
        found: dict[Digest, bytes] = {}

        async def read(part: _Part) -> None:
            found.update(await part.store.read_many(part.digests))

        await map_bounded(read, self._parts(digests), at_once=_SHARDS_AT_ONCE)
        return found

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See BlobStore."""
        store = choose_shard(self._shards, digest).store
        async with closing(store.read(digest, offset=offset, limit=limit)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore. A shard that fails altogether fails its blobs only."""
        failures: dict[Digest, ReapiError] = {}

        async def write(part: _Part) -> None:
            try:
                of_part = {digest: blobs[digest] for digest in part.digests}
                failures.update(await part.store.write_many(of_part))
            except ReapiError as error:
                failures.update(dict.fromkeys(part.digests, error))

        await map_bounded(write, self._parts(blobs), at_once=_SHARDS_AT_ONCE)
        return failures

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """See BlobStore."""
        await choose_shard(self._shards, digest).store.write(digest, chunks)

    def _parts(self, digests: Iterable[Digest]) -> "list[_Part]":
        parts: dict[str, _Part] = {}
        for digest in digests:
            name, _, store = choose_shard(self._shards, digest)
            parts.setdefault(name, _Part(store, [])).digests.append(digest)
        return list(parts.values())


class _Part(NamedTuple):
    """What one shard is asked for."""

    store: BlobStore
    digests: list[Digest]
