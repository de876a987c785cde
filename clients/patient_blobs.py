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
from reapi.core.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    NotFound,
    ReapiError,
    Unavailable,
)
from reapi.core.interfaces import BlobStore

from .retry import Retries, is_retriable

T = TypeVar("T")

OpenChunks = Callable[[], AsyncGenerator[bytes, None]]
"""Opens the content of a blob at its beginning, as often as it is called."""


class PatientBlobStore:
    """Tries again for `patience_seconds` what fails because the storage is away or full.

    It is for those who can wait, and could make no more of such a failure than to come again. A
    storage that is away, or does not answer, for longer is Unavailable: its DeadlineExceeded and
    Cancelled say nothing about what its caller does. Over a channel the patience of both adds up;
    let the channel have as much, for only it can check a transfer that it goes on with as a whole.
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
                await _pause(retries, error)

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore. Only what has failed is sent again."""
        retries = Retries(self._patience_seconds)
        lasting: dict[Digest, ReapiError] = {}
        while True:
            failures = await self._patiently(partial(self._inner.write_many, blobs))
            passing = {
                one: error for one, error in failures.items() if is_retriable(_as_away(error))
            }
            lasting |= {one: error for one, error in failures.items() if one not in passing}
            if not passing:
                return lasting
            try:
                await _pause(retries, next(iter(passing.values())))
            except ReapiError:
                return lasting | {one: _as_away(error) for one, error in passing.items()}
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
                await _pause(retries, error)

    async def write_from(self, digest: Digest, open_chunks: OpenChunks) -> None:
        """Like `write`, of content that can be opened again: then a failure costs only time."""
        retries = Retries(self._patience_seconds)
        while True:
            try:
                async with aclosing(open_chunks()) as chunks:
                    return await self._inner.write(digest, chunks)
            except ReapiError as error:
                await _pause(retries, error)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        retries = Retries(self._patience_seconds)
        while True:
            try:
                return await call()
            except ReapiError as error:
                await _pause(retries, error)


async def _pause(retries: Retries, error: ReapiError) -> None:
    away = _as_away(error)
    try:
        await retries.wait(away)
    except ReapiError:
        if away is error:
            raise
        raise away from error


def _as_away(error: ReapiError) -> ReapiError:
    """What a failure of the storage is for those who use it."""
    if isinstance(error, DeadlineExceeded | Cancelled):
        return Unavailable(f"the storage does not answer: {error.message}")
    return error
