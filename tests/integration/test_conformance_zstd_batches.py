"""Conformance of zstd in batches (conformance 1.4; reliability B10)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reapi.cas.capabilities_service import MAX_BATCH_TOTAL_SIZE_BYTES
from reapi.cas.storage import Storage
from reapi.core.compression import compress_blob, decompress_blob
from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage
from tests.fakes.raw_client import RawClient, code_of
from tests.fakes.zstd_frames import bomb, dictionary_frame, wide_window_frame
from tests.integration.zstd_calls import (
    ABSENT,
    INVALID,
    NOISE,
    NOT_FOUND,
    SMALL,
    TEXT,
    ZSTD,
    is_present,
    read,
    store,
)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with checked_client(storage) as made:
        yield made


class TestBatchUpdate:
    async def update(
        self, client: RawClient, *entries: tuple[Digest, bytes, int]
    ) -> list[tuple[int, str]]:
        request = re_pb2.BatchUpdateBlobsRequest()
        for digest, sent, compressor in entries:
            request.requests.add(digest=digest.to_message(), data=sent, compressor=compressor)
        response = await client.cas.BatchUpdateBlobs(request)
        assert [each.digest for each in response.responses] == [e.digest for e in request.requests]
        return [(each.status.code, each.status.message) for each in response.responses]

    async def test_CAS6_CAS7_compressed_and_plain_entries_are_stored_alike(
        self, client: RawClient
    ) -> None:
        contents = [SMALL, TEXT[:2_000], TEXT[:500_000], NOISE[:200_000], b""]
        entries = [(digest_of(data), compress_blob(data), ZSTD) for data in contents]
        entries.append((digest_of(b"plain"), b"plain", 0))
        assert await self.update(client, *entries) == [(0, "")] * 6
        for data in contents:
            assert await read(client, digest_of(data)) == data

    async def test_CAS6_reliability_B10_a_bad_entry_fails_alone(self, client: RawClient) -> None:
        text = TEXT[:2_000]
        digest, frame = digest_of(text), compress_blob(text)
        good = digest_of(SMALL)
        bad = [
            frame[:-1],
            frame + b"garbage",
            frame + frame,
            text,
            b"",
            compress_blob(text[:-1]),
            compress_blob(text[::-1]),
            bomb(1 << 30),
            wide_window_frame(text, 27),
            dictionary_frame(text),
        ]
        entries = [(digest, stream, ZSTD) for stream in bad]
        found = await self.update(client, *entries, (good, compress_blob(SMALL), ZSTD))
        assert [code for code, _ in found] == [INVALID.value[0]] * len(bad) + [0]
        assert not await is_present(client, digest)
        assert await is_present(client, good)

    @pytest.mark.parametrize(
        "compressor", [re_pb2.Compressor.DEFLATE, re_pb2.Compressor.BROTLI, 17, -1]
    )
    async def test_CAS7_a_compressor_that_is_not_served_fails_its_entry_and_names_zstd(
        self, client: RawClient, compressor: int
    ) -> None:
        found = await self.update(
            client, (digest_of(SMALL), SMALL, compressor), (digest_of(TEXT[:9]), TEXT[:9], 0)
        )
        assert [code for code, _ in found] == [INVALID.value[0], 0]
        assert "ZSTD" in found[0][1]

    async def test_CAS4_repeated_digests_are_judged_each(self, client: RawClient) -> None:
        digest, frame = digest_of(SMALL), compress_blob(SMALL)
        found = await self.update(
            client, (digest, frame[:-1], ZSTD), (digest, frame, ZSTD), (digest, SMALL, 0)
        )
        assert [code for code, _ in found] == [INVALID.value[0], 0, 0]

    async def test_CAS5_reliability_B10_entries_stay_below_the_limit_once_decompressed(
        self, client: RawClient
    ) -> None:
        zeros = bytes(MAX_BATCH_TOTAL_SIZE_BYTES)
        text = TEXT[:1_000]
        huge = Digest(ABSENT.hash, 2**53)
        found = await self.update(
            client,
            (huge, bomb(1 << 30), ZSTD),
            (digest_of(zeros), compress_blob(zeros), ZSTD),
            (digest_of(text), compress_blob(text), ZSTD),
            (digest_of(SMALL), SMALL, 0),
        )
        invalid = INVALID.value[0]
        assert [code for code, _ in found] == [invalid, 0, invalid, 0]
        assert "max_batch_total_size_bytes" in found[0][1]


class TestBatchRead:
    async def test_CAS10_zstd_is_answered_where_it_is_accepted_and_saves(
        self, client: RawClient, storage: Storage
    ) -> None:
        text, noise = TEXT[:50_000], NOISE[:50_000]
        contents = [SMALL, text, noise, b"", TEXT[:300]]
        digests = [await store(storage, data) for data in contents]
        request = re_pb2.BatchReadBlobsRequest(
            digests=[digest.to_message() for digest in [*digests, ABSENT]],
            acceptable_compressors=[ZSTD],
        )
        response = await client.cas.BatchReadBlobs(request)
        assert all(each.HasField("status") for each in response.responses)
        *answers, absent = response.responses
        assert absent.status.code == NOT_FOUND.value[0]
        assert [each.compressor for each in answers] == [0, ZSTD, 0, 0, ZSTD]
        for each, data, digest in zip(answers, contents, digests, strict=True):
            assert each.digest == digest.to_message()
            if each.compressor == ZSTD:
                assert len(each.data) < len(data)
                assert decompress_blob(each.data, len(data)) == data
            else:
                assert each.data == data

    @pytest.mark.parametrize(
        "acceptable", [[], [0], [re_pb2.Compressor.BROTLI, re_pb2.Compressor.DEFLATE], [17]]
    )
    async def test_CAS10_Q_BUCK3_identity_is_answered_to_all_others(
        self, client: RawClient, storage: Storage, acceptable: list[int]
    ) -> None:
        digest = await store(storage, TEXT[:50_000])
        request = re_pb2.BatchReadBlobsRequest(
            digests=[digest.to_message()], acceptable_compressors=acceptable
        )
        (answer,) = (await client.cas.BatchReadBlobs(request)).responses
        assert answer.compressor == re_pb2.Compressor.IDENTITY
        assert answer.data == TEXT[:50_000]

    async def test_CAS11_the_limit_counts_plain_bytes(self, client: RawClient) -> None:
        digests = [ABSENT._replace(size_bytes=MAX_BATCH_TOTAL_SIZE_BYTES + 1)]
        request = re_pb2.BatchReadBlobsRequest(
            digests=[d.to_message() for d in digests], acceptable_compressors=[ZSTD]
        )
        assert await code_of(client.cas.BatchReadBlobs(request)) == INVALID
