"""What obstore alone does with a bucket: the figures against which ours are measured."""

import os

import obstore
from obstore.store import S3Store

from .load import Operation

PART_BYTES = 8 << 20
OBSTORE_PART_BYTES = 5 << 20
"""What obstore takes unless it is told."""

_SMALL = bytes(1024)


class ObstoreAlone:
    """Operations on one bucket, below the key `obstore/`."""

    def __init__(self, store: S3Store, large_bytes: int) -> None:
        self._store = store
        self._large = os.urandom(large_bytes)

    def put_large(self, part_bytes: int = OBSTORE_PART_BYTES) -> Operation:
        """In parts, many of them at once."""

        async def put(number: int) -> None:
            key = f"obstore/large-{number % 8}"
            await obstore.put_async(self._store, key, self._large, chunk_size=part_bytes)

        return put

    async def get_large(self, number: int) -> None:
        """Streams an object that was put."""
        answer = await obstore.get_async(self._store, f"obstore/large-{number % 2}")
        async for _ in answer.stream():
            continue

    async def put_small(self, number: int) -> None:
        """1 KiB."""
        await obstore.put_async(self._store, f"obstore/small-{number}", _SMALL)

    async def get_small(self, _: int) -> None:
        """1 KiB."""
        await (await obstore.get_async(self._store, "obstore/small-0")).bytes_async()
