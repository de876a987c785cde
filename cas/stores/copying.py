"""Copies blobs from one store to another, small ones in batches."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from reapi.clients.batches import cut_batches
from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError
from reapi.core.interfaces import BlobStore

from .reading import closing

_BATCH_BYTES = 1 << 20


class Copied(NamedTuple):
    """What became of blobs that were to be copied; those in neither field were."""

    absent: list[Digest]
    """The source does not have them, or they are damaged there."""

    failures: dict[Digest, ReapiError]
    """They may be had another time."""


def copy_batches(digests: Iterable[Digest]) -> Iterator[list[Digest]]:
    """Parts, in order, for one `copy_batch` each; no more digests are taken than are needed."""
    return cut_batches(digests, _BATCH_BYTES)


async def copy_batch(source: BlobStore, target: BlobStore, batch: Sequence[Digest]) -> Copied:
    """Copies one part as `copy_batches` makes them, with no more than a batch in memory."""
    if batch[0].size_bytes > _BATCH_BYTES:
        return await _copy_one(source, target, batch[0])
    try:
        found = await source.read_many(batch)
        failures = await target.write_many(found) if found else {}
    except ReapiError as error:
        return Copied([], dict.fromkeys(batch, error))
    return Copied([digest for digest in batch if digest not in found], failures)


async def _copy_one(source: BlobStore, target: BlobStore, digest: Digest) -> Copied:
    absent: list[Digest] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        # What the target may raise of the same kinds says nothing about the source.
        try:
            async with closing(source.read(digest)) as reading:
                async for chunk in reading:
                    yield chunk
        except (NotFound, DataLoss):
            absent.append(digest)
            raise

    try:
        async with aclosing(chunks()) as source_chunks:
            await target.write(digest, source_chunks)
    except ReapiError as error:
        return Copied(absent, {} if absent else {digest: error})
    return Copied([], {})
