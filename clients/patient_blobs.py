"""A BlobStore that waits for its storage to come back, as a channel waits for its server."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError
from reapi.core.interfaces import BlobStore

from .retry import Retries, is_retriable

T = TypeVar("T")


class PatientBlobStore:
    """Tries again for `patience_seconds` what fails because the storage is away or full.

    For those who are given a storage itself: its own errors say when it is away, and not one of
    its callers could make more of that than to come again.
    """

    def __init__(self, inner: BlobStore, *, patience_seconds: float) -> None:
        self._inner = inner
        self._patience_seconds = patience_seconds

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore."""
        return await self._patiently(lambda: self._inner.find_missing(digests))

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """See BlobStore."""
        return await self._patiently(lambda: self._inner.read_many(digests))

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See BlobStore. What breaks off is continued where it did."""
        end = digest.size_bytes if limit is None else min(digest.size_bytes, offset + limit)
        retries = Retries(self._patience_seconds)
        has_begun = False
        while True:
            source = self._inner.read(digest, offset=offset, limit=end - offset)
            try:
                async with aclosing(source) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        has_begun = True
                        offset += len(chunk)
                        retries.progressed()
                        yield chunk
                return
            except NotFound as error:
                if has_begun:
                    raise DataLoss(f"{digest} went away while it was read") from error
                raise
            except ReapiError as error:
                await retries.wait(error)

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore. Only what has failed is sent again."""
        retries = Retries(self._patience_seconds)
        lasting: dict[Digest, ReapiError] = {}
        while True:
            failures = await self._patiently(partial(self._inner.write_many, blobs))
            passing = {one: error for one, error in failures.items() if is_retriable(error)}
            lasting |= {one: error for one, error in failures.items() if one not in passing}
            if not passing:
                return lasting
            try:
                await retries.wait(next(iter(passing.values())))
            except ReapiError:
                return lasting | passing
            blobs = {digest: blobs[digest] for digest in passing}

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """See BlobStore. Once a chunk was taken, a failure is the caller's: it has the rest."""
        is_taken = False

        async def noting() -> AsyncIterator[bytes]:
            nonlocal is_taken
            async for chunk in chunks:
                is_taken = True
                yield chunk

        retries = Retries(self._patience_seconds)
        while True:
            try:
                return await self._inner.write(digest, noting())
            except ReapiError as error:
                if is_taken:
                    raise
                await retries.wait(error)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        retries = Retries(self._patience_seconds)
        while True:
            try:
                return await call()
            except ReapiError as error:
                await retries.wait(error)
