"""The remote BlobStore: batches, streams, resumption and verification."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.bytestream import CHUNK_BYTES, bytes_source
from reapi.clients.channel import Channel
from reapi.core.digest import EMPTY_HASHES, SHA256, Digest, digest_of
from reapi.core.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from tests.fakes.reapi_server import FakeReapiServer

EMPTY = Digest(EMPTY_HASHES[SHA256], 0)
LARGE = bytes(range(256)) * 20_000  # 5 MB


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def collect(chunks: AsyncIterator[bytes], into: list[bytes] | None = None) -> bytes:
    received = [] if into is None else into
    async for chunk in chunks:
        received.append(chunk)
    return b"".join(received)


async def content(store: RemoteBlobStore, digest: Digest) -> bytes:
    return await collect(store.read(digest))


async def test_find_missing_keeps_the_order_and_says_each_once(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    present = server.blobs.add(b"present")
    first, second = digest_of(b"first"), digest_of(b"second")
    asked = [second, present, first, second, EMPTY]
    assert await store.find_missing(asked) == [second, first]


async def test_G3_nobody_is_asked_about_the_empty_blob(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    assert await store.find_missing([EMPTY]) == []
    assert await store.read_many([EMPTY]) == {EMPTY: b""}
    assert await content(store, EMPTY) == b""
    assert not server.calls


async def test_L3_many_digests_are_asked_for_in_parts(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digests = [digest_of(str(number).encode()) for number in range(10_001)]
    assert await store.find_missing(digests) == digests
    assert server.calls["FindMissingBlobs"] == 2


async def test_a_small_batch_is_one_call(server: FakeReapiServer, store: RemoteBlobStore) -> None:
    blobs = {digest_of(data): data for data in (b"one", b"two", b"three")}
    assert await store.write_many(blobs) == {}
    assert await store.read_many(list(blobs)) == blobs
    assert dict(server.calls) == {"BatchUpdateBlobs": 1, "BatchReadBlobs": 1}


async def test_Q_BATCH_a_batch_is_cut_to_what_the_server_takes(
    server: FakeReapiServer, channel: Channel
) -> None:
    server.max_batch_total_size_bytes = 1 << 20
    store = RemoteBlobStore(channel)
    blobs = {digest_of(data): data for data in (bytes([n]) * 300_000 for n in range(8))}
    assert await store.write_many(blobs) == {}
    assert await store.read_many(list(blobs)) == blobs
    assert server.calls["BatchUpdateBlobs"] == server.calls["BatchReadBlobs"] == 3
    assert server.calls["GetCapabilities"] == 1


async def test_L2_tiny_blobs_are_counted_with_their_overhead(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    server.max_batch_total_size_bytes = 1 << 20
    blobs = {digest_of(b"%d" % number): b"%d" % number for number in range(20_000)}
    assert await store.write_many(blobs) == {}
    assert len(server.blobs.blobs) == 20_000


async def test_a_blob_too_large_for_a_batch_goes_by_byte_stream(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = digest_of(LARGE)
    assert await store.write_many({digest: LARGE}) == {}
    assert await store.read_many([digest]) == {digest: LARGE}
    assert server.calls["Write"] == server.calls["Read"] == 1


async def test_CAS4_one_bad_blob_fails_alone(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    good, bad = digest_of(b"good"), digest_of(b"bad")
    failures = await store.write_many({good: b"good", bad: b"wrong"})
    assert list(failures) == [bad]
    assert isinstance(failures[bad], InvalidArgument)
    assert list(server.blobs.blobs) == [good]


async def test_read_many_leaves_out_what_is_absent_or_damaged(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    good, damaged = server.blobs.add(b"good"), server.blobs.add(b"damaged")
    server.corrupt.add(damaged)
    large = server.blobs.add(LARGE)
    server.blobs.blobs.pop(large)
    assert await store.read_many([good, damaged, digest_of(b"absent"), large]) == {good: b"good"}


async def test_a_part_can_be_read(server: FakeReapiServer, store: RemoteBlobStore) -> None:
    digest = server.blobs.add(b"0123456789")
    assert [chunk async for chunk in store.read(digest, offset=2, limit=3)] == [b"234"]
    assert [chunk async for chunk in store.read(digest, offset=8, limit=99)] == [b"89"]
    assert [chunk async for chunk in store.read(digest, offset=10)] == []


async def test_BS6_an_absent_blob_is_not_found(store: RemoteBlobStore) -> None:
    with pytest.raises(NotFound):
        await content(store, digest_of(b"absent"))


async def test_an_interrupted_download_goes_on_where_it_stopped(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(LARGE)
    server.drop_reads_after_bytes = [1_000_000, 2_000_000]
    assert await content(store, digest) == LARGE
    assert server.calls["Read"] == 3


async def test_a_blob_that_goes_away_during_the_download_is_lost_not_absent(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(LARGE)
    server.drop_reads_after_bytes = [1_000_000]
    chunks = store.read(digest)
    await anext(chunks)
    server.blobs.blobs.clear()
    with pytest.raises(DataLoss):
        await collect(chunks)


async def test_wrong_bytes_are_never_read_to_the_end(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(LARGE)
    server.corrupt.add(digest)
    received: list[bytes] = []
    with pytest.raises(DataLoss):
        await collect(store.read(digest), received)
    assert sum(map(len, received)) < len(LARGE)


async def test_an_interrupted_upload_goes_on_where_the_server_stopped(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    server.drop_writes_after_bytes = [2 * CHUNK_BYTES, 3 * CHUNK_BYTES]
    await store.write_from(digest_of(LARGE), bytes_source(LARGE))
    assert server.written_offsets == [0, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES]
    assert server.blobs.blobs == {digest_of(LARGE): LARGE}


async def test_an_upload_starts_over_where_nothing_is_known_of_it(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    server.has_query_write_status = False
    server.failures["Write"].append(Unavailable("down"))
    await store.write_from(digest_of(LARGE), bytes_source(LARGE))
    assert server.written_offsets == [0]


async def test_an_upload_whose_answer_was_lost_is_complete(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(LARGE)
    server.failures["Write"].append(Unavailable("answer lost"))
    await store.write(digest, one_chunk(LARGE))
    assert server.calls["Write"] == server.calls["QueryWriteStatus"] == 1


async def test_chunks_that_cannot_be_had_again_fail_with_the_first_error(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    server.drop_writes_after_bytes = [1]
    with pytest.raises(Unavailable, match="dropped"):
        await store.write(digest_of(LARGE), one_chunk(LARGE))
    assert server.blobs.blobs == {}


async def test_Q_EARLY_an_upload_ends_early_when_the_blob_is_there(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(bytes(256 << 20))
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(256):
            taken += 1
            yield bytes(1 << 20)

    await store.write(digest, chunks())
    assert taken < 256


async def test_BS15_wrong_bytes_are_refused(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    with pytest.raises(InvalidArgument):
        await store.write(digest_of(b"right"), one_chunk(b"wrong"))
    assert server.blobs.blobs == {}


async def test_BS20_the_empty_blob_can_be_written(store: RemoteBlobStore) -> None:
    await store.write(EMPTY, one_chunk(b""))
    assert await store.write_many({EMPTY: b""}) == {}


async def test_an_error_of_the_source_cancels_the_upload(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    async def failing(offset: int) -> AsyncGenerator[bytes, None]:
        yield b"some"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await store.write_from(digest_of(LARGE), failing)
    assert server.blobs.blobs == {}


async def test_leaving_a_download_early_leaves_nothing_behind(
    server: FakeReapiServer, store: RemoteBlobStore
) -> None:
    digest = server.blobs.add(LARGE)
    async with aclosing(store.read(digest)) as chunks:
        await anext(chunks)
    assert await store.find_missing([digest]) == []
