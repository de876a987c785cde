"""A read that goes on from another source where one has failed."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

import xxhash

from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError


class Source(NamedTuple):
    """Where the bytes asked for can be had, from the first of them on.

    `is_passed_over` is told what went wrong and says whether the next source is to be tried.
    """

    open: Callable[[], AsyncIterator[bytes]]
    is_passed_over: Callable[[ReapiError], bool] = lambda _: False


async def read_in_turn(digest: Digest, sources: Sequence[Source]) -> AsyncGenerator[bytes, None]:
    """The bytes of the first source that has them all, as BlobStore.read gives them.

    The next source goes on where one has failed, if it begins with the very bytes that were given
    out: a damaged copy shows only at its end, and then those may have been wrong. They are compared
    by a fast hash, for it is a disk that errs here and no enemy. Otherwise it raises DataLoss.
    """
    given = _Given(digest)
    for source in sources:
        try:
            async with aclosing(given.rest_of(source.open())) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        except ReapiError as error:
            if not source.is_passed_over(error):
                raise


class _Given:
    """What a reader has been given so far."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._bytes = 0
        self._hasher = xxhash.xxh3_128()

    async def rest_of(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """What comes after that; raises DataLoss when `chunks` do not begin with it."""
        skipped = xxhash.xxh3_128()
        left = self._bytes
        async with closing(chunks):
            try:
                async for chunk in chunks:
                    if left:
                        repeated, chunk = chunk[:left], chunk[left:]
                        skipped.update(repeated)
                        left -= len(repeated)
                        if not left and skipped.digest() != self._hasher.digest():
                            raise DataLoss(f"damaged bytes of blob {self._digest} were read")
                    if chunk:
                        self._hasher.update(chunk)
                        self._bytes += len(chunk)
                        yield chunk
            except NotFound as error:
                if self._bytes:
                    raise DataLoss(f"blob {self._digest} went away while it was read") from error
                raise


@asynccontextmanager
async def closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Closes at the end what BlobStore.read returned: it holds files or connections."""
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
