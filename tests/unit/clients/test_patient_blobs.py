"""A storage that is away for a while costs its caller time and nothing else."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence

import pytest

from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ReapiError,
    Unavailable,
)
from tests.fakes.memory_store import MemoryBlobStore

DATA = bytes(range(256)) * 40
DIGEST = digest_of(DATA)
PATIENCE_SECONDS = 60


class FailingStore(MemoryBlobStore):
    """Fails its next calls, reads after `chunk_bytes` of what they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[ReapiError] = []
        self.calls = 0
        self.chunk_bytes = 0

    def _call(self) -> None:
        self.calls += 1
        if self.failures:
            raise self.failures.pop()

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        self._call()
        return await super().find_missing(digests)

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        self._call()
        return await super().read_many(digests)

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        if self.failures and self.chunk_bytes:
            yield self.blobs[digest][offset : offset + self.chunk_bytes]
        self._call()
        async for chunk in super().read(digest, offset=offset, limit=limit):
            yield chunk

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        self.calls += 1
        first = dict(list(blobs.items())[:1]) if self.failures else {}
        failures = await super().write_many({one: blobs[one] for one in blobs.keys() - first})
        return failures | {digest: self.failures.pop() for digest in first}

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        if self.chunk_bytes:
            await anext(chunks)
        self._call()
        await super().write(digest, chunks)


@pytest.fixture
def inner() -> FailingStore:
    store = FailingStore()
    store.add(DATA)
    store.failures = [Unavailable("away"), Unavailable("away")]
    return store


@pytest.fixture
def store(inner: FailingStore) -> PatientBlobStore:
    return PatientBlobStore(inner, patience_seconds=PATIENCE_SECONDS)


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def read(store: PatientBlobStore, **options: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(DIGEST, **options)])


async def test_what_is_asked_is_asked_again(inner: FailingStore, store: PatientBlobStore) -> None:
    assert await store.find_missing([DIGEST]) == []
    inner.failures = [Unavailable("away")]
    assert await store.read_many([DIGEST]) == {DIGEST: DATA}
    assert inner.calls == 5


@pytest.mark.parametrize("chunk_bytes", [0, 700])
async def test_a_read_goes_on_where_it_broke_off(
    inner: FailingStore, store: PatientBlobStore, chunk_bytes: int
) -> None:
    inner.chunk_bytes = chunk_bytes
    assert await read(store) == DATA
    inner.failures = [Unavailable("away"), Unavailable("away")]
    assert await read(store, offset=10, limit=2000) == DATA[10:2010]


async def test_a_blob_that_goes_away_while_it_is_read_is_lost_data(
    inner: FailingStore, store: PatientBlobStore
) -> None:
    inner.failures = [NotFound("gone"), Unavailable("away")]
    inner.chunk_bytes = 700
    with pytest.raises(DataLoss):
        await read(store)
    inner.failures, inner.chunk_bytes = [NotFound("gone")], 0
    with pytest.raises(NotFound):
        await read(store)


async def test_only_what_failed_is_written_again(
    inner: FailingStore, store: PatientBlobStore
) -> None:
    blobs = {digest_of(data): data for data in (b"1", b"2", b"3")}
    wrong = digest_of(b"4")
    assert set(await store.write_many(blobs | {wrong: b"5"})) == {wrong}
    assert await inner.find_missing(blobs) == []


async def test_a_write_begins_again_until_its_bytes_are_taken(
    inner: FailingStore, store: PatientBlobStore
) -> None:
    other = digest_of(b"other")
    await store.write(other, chunks(b"other"))
    assert inner.calls == 3
    inner.failures, inner.chunk_bytes = [Unavailable("away")], 1
    with pytest.raises(Unavailable):
        await store.write(digest_of(b"more"), chunks(b"more"))


async def test_what_can_be_opened_again_is_written_again_whatever_was_taken(
    inner: FailingStore, store: PatientBlobStore
) -> None:
    inner.chunk_bytes = 1
    opened = 0

    async def open_chunks() -> AsyncGenerator[bytes, None]:
        nonlocal opened
        opened += 1
        yield b""
        yield b"content"

    await store.write_from(digest_of(b"content"), open_chunks)
    assert opened == 3
    assert inner.blobs[digest_of(b"content")] == b"content"


@pytest.mark.parametrize("error", [DeadlineExceeded("no answer"), Cancelled("reset")])
async def test_a_storage_that_does_not_answer_is_away_whatever_its_errors_say(
    inner: FailingStore, store: PatientBlobStore, error: ReapiError
) -> None:
    """DEADLINE_EXCEEDED is the timeout of an action for its clients, CANCELLED their own wish."""
    inner.failures = [error]
    assert await store.find_missing([DIGEST]) == []
    other = {digest_of(b"1"): b"1"}
    inner.failures = [error]
    assert not await store.write_many(other)
    impatient = PatientBlobStore(inner, patience_seconds=0)
    inner.failures = [error]
    with pytest.raises(Unavailable, match="does not answer") as caught:
        await impatient.find_missing([DIGEST])
    assert caught.value.__cause__ is error
    inner.failures = [error]
    (failure,) = (await impatient.write_many(other)).values()
    assert isinstance(failure, Unavailable)


async def test_patience_ends_and_other_errors_are_told_at_once(inner: FailingStore) -> None:
    store = PatientBlobStore(inner, patience_seconds=0)
    blob = {digest_of(b"1"): b"1"}
    with pytest.raises(Unavailable):
        await store.find_missing([DIGEST])
    assert isinstance((await store.write_many(blob))[digest_of(b"1")], Unavailable)
    patient = PatientBlobStore(inner, patience_seconds=PATIENCE_SECONDS)
    inner.failures, inner.calls = [InvalidArgument("wrong")], 0
    with pytest.raises(InvalidArgument):
        await patient.find_missing([DIGEST])
    assert inner.calls == 1
