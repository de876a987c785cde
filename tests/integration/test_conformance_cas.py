"""Conformance of ContentAddressableStorage (conformance 1.4)."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage, serving
from tests.fakes.raw_client import RawClient, code_of, raw_client

OK = 0
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

ONE, TWO, LARGE = b"one", b"two", bytes(range(256)) * 400
ABSENT = digest_of(b"absent")


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with checked_client(storage) as made:
        yield made


def update_request(*contents: bytes, **fields: str) -> re_pb2.BatchUpdateBlobsRequest:
    requests = [{"digest": digest_of(data).to_message(), "data": data} for data in contents]
    return re_pb2.BatchUpdateBlobsRequest(requests=requests, **fields)


async def update(client: RawClient, *contents: bytes) -> list[int]:
    response = await client.cas.BatchUpdateBlobs(update_request(*contents))
    return [each.status.code for each in response.responses]


async def missing(client: RawClient, digests: Sequence[Digest]) -> list[re_pb2.Digest]:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=[d.to_message() for d in digests])
    return list((await client.cas.FindMissingBlobs(request)).missing_blob_digests)


class TestFindMissingBlobs:
    async def test_CAS1_the_absent_subset_comes_back_as_given_and_once(
        self, client: RawClient
    ) -> None:
        await update(client, ONE, LARGE)
        asked = [ABSENT, digest_of(ONE), digest_of(b""), digest_of(TWO), ABSENT, digest_of(LARGE)]
        for _ in range(3):  # the later ones are answered from memory
            assert await missing(client, asked) == [
                ABSENT.to_message(),
                digest_of(TWO).to_message(),
            ]
        assert await missing(client, []) == []
        await update(client, TWO)
        assert await missing(client, asked) == [ABSENT.to_message()]

    async def test_reliability_D5_CAS3_damaged_content_is_missing(
        self, client: RawClient, tmp_path: Path
    ) -> None:
        await update(client, LARGE)
        digest = digest_of(LARGE)
        assert await missing(client, [digest]) == []
        (file,) = (tmp_path / "blobs").glob("*/*")
        file.write_bytes(LARGE[:-1])
        read = re_pb2.BatchReadBlobsRequest(digests=[digest.to_message()])
        response = await client.cas.BatchReadBlobs(read)
        assert response.responses[0].status.code == NOT_FOUND.value[0]
        assert await missing(client, [digest]) == [digest.to_message()]

    async def test_L3_ten_thousand_digests_are_one_call(self, client: RawClient) -> None:
        contents = [b"%d" % number for number in range(5000)]
        await update(client, *contents)
        present = [digest_of(data) for data in contents]
        absent = [digest_of(b"absent %d" % number) for number in range(5000)]
        assert await missing(client, present + absent) == [d.to_message() for d in absent]


class TestBatchUpdateBlobs:
    async def test_reliability_B1_CAS4_CAS12_each_blob_has_its_own_status(
        self, client: RawClient
    ) -> None:
        request = update_request(ONE, TWO)
        request.requests.add(digest=ABSENT.to_message(), data=b"other bytes")
        request.requests.add(digest={"hash": "?", "size_bytes": 3}, data=b"abc")
        response = await client.cas.BatchUpdateBlobs(request)
        assert [each.digest for each in response.responses] == [e.digest for e in request.requests]
        assert all(each.HasField("status") for each in response.responses)
        codes = [each.status.code for each in response.responses]
        assert codes == [OK, OK, INVALID.value[0], INVALID.value[0]]
        assert await missing(client, [digest_of(ONE), digest_of(TWO), ABSENT]) == [
            ABSENT.to_message()
        ]

    async def test_reliability_B11_CAS4_repeated_digests_are_judged_each(
        self, client: RawClient
    ) -> None:
        request = update_request(ONE, ONE)
        request.requests.add(digest=digest_of(ONE).to_message(), data=b"bad")
        response = await client.cas.BatchUpdateBlobs(request)
        assert [each.status.code for each in response.responses] == [OK, OK, INVALID.value[0]]

    async def test_CAS4_a_bad_one_first_does_not_spoil_a_good_one(self, client: RawClient) -> None:
        request = re_pb2.BatchUpdateBlobsRequest()
        for data in (b"bad", ONE):
            request.requests.add(digest=digest_of(ONE).to_message(), data=data)
        response = await client.cas.BatchUpdateBlobs(request)
        assert [each.status.code for each in response.responses] == [INVALID.value[0], OK]

    async def test_reliability_B11_CAS5_more_than_is_announced_is_taken_up_to_the_transports_limit(
        self, client: RawClient
    ) -> None:
        contents = [bytes([number]) * 1_000_000 for number in range(6)]
        assert await update(client, *contents) == [OK] * 6

    @pytest.mark.parametrize("change", [-1, 1])
    async def test_reliability_B2_CAS6_a_wrong_size_is_invalid(
        self, client: RawClient, change: int
    ) -> None:
        for data in (ONE, LARGE):
            request = update_request(data)
            request.requests[0].digest.size_bytes += change
            response = await client.cas.BatchUpdateBlobs(request)
            assert response.responses[0].status.code == INVALID.value[0]
            assert await missing(client, [digest_of(data)])

    async def test_CAS6_no_space_is_resource_exhausted(self, tmp_path: Path) -> None:
        async with (
            local_storage(tmp_path / "full", max_size_bytes=3) as storage,
            serving(storage) as address,
            raw_client(address) as client,
        ):
            assert await update(client, ONE) == [OK]
            assert await update(client, TWO) == [EXHAUSTED.value[0]]
            assert await update(client, LARGE) == [EXHAUSTED.value[0]]
            assert await update(client, ONE) == [OK]

    async def test_CAS7_a_compressor_is_refused_for_that_blob_alone(
        self, client: RawClient
    ) -> None:
        request = update_request(ONE, TWO)
        request.requests[0].compressor = re_pb2.Compressor.DEFLATE
        response = await client.cas.BatchUpdateBlobs(request)
        assert [each.status.code for each in response.responses] == [INVALID.value[0], OK]

    async def test_CAS8_a_blob_may_be_written_again(self, client: RawClient) -> None:
        for _ in range(2):
            assert await update(client, ONE, LARGE, b"") == [OK, OK, OK]


class TestBatchReadBlobs:
    @pytest.mark.parametrize("acceptable", [[], [re_pb2.Compressor.BROTLI]])
    async def test_CAS9_CAS10_CAS12_each_distinct_digest_is_answered(
        self, client: RawClient, acceptable: list[int]
    ) -> None:
        await update(client, ONE, LARGE)
        digests = [digest_of(ONE), ABSENT, digest_of(LARGE), digest_of(b""), digest_of(ONE)]
        request = re_pb2.BatchReadBlobsRequest(
            digests=[digest.to_message() for digest in digests],
            acceptable_compressors=acceptable,
        )
        for _ in range(2):
            response = await client.cas.BatchReadBlobs(request)
            answers = {each.digest.hash: each for each in response.responses}
            assert len(response.responses) == len(answers) == 4
            assert all(each.HasField("status") for each in response.responses)
            assert {each.compressor for each in response.responses} == {re_pb2.Compressor.IDENTITY}
            assert answers[digest_of(ONE).hash].data == ONE
            assert answers[digest_of(LARGE).hash].data == LARGE
            assert answers[digest_of(b"").hash].status.code == OK
            assert answers[ABSENT.hash].status.code == NOT_FOUND.value[0]
            assert answers[ABSENT.hash].data == b""

    async def test_reliability_B11_CAS11_more_than_the_limit_is_invalid(
        self, client: RawClient
    ) -> None:
        digests = [digest_of(b"%d" % number)._replace(size_bytes=1_000_001) for number in range(4)]
        request = re_pb2.BatchReadBlobsRequest(digests=[d.to_message() for d in digests])
        assert await code_of(client.cas.BatchReadBlobs(request)) == INVALID

    async def test_L1_a_full_batch_is_received_with_the_default_limit(
        self, client: RawClient, storage: Storage
    ) -> None:
        contents = [bytes([number]) * 40_000 for number in range(100)]
        await storage.blobs.write_many({digest_of(data): data for data in contents})
        request = re_pb2.BatchReadBlobsRequest(
            digests=[digest_of(c).to_message() for c in contents]
        )
        response = await client.cas.BatchReadBlobs(request)
        assert response.ByteSize() < 4 << 20


class Tree:
    """Directories to be stored, made from the leaves up."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def add(self, files: Sequence[str] = (), **children: Digest) -> Digest:
        directory = re_pb2.Directory()
        for name in files:
            directory.files.add(name=name, digest=digest_of(name.encode()).to_message())
        for name, digest in sorted(children.items()):
            directory.directories.add(name=name, digest=digest.to_message())
        data = directory.SerializeToString()
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def directory(self, digest: Digest) -> re_pb2.Directory:
        return re_pb2.Directory.FromString(self.blobs[digest])


class TestGetTree:
    async def tree_of(self, client: RawClient, root: Digest, **fields: object) -> list[object]:
        request = re_pb2.GetTreeRequest(root_digest=root.to_message(), **fields)
        return await client.cas.GetTree(request)

    async def test_CAS13_an_absent_root_is_not_found(self, client: RawClient) -> None:
        request = re_pb2.GetTreeRequest(root_digest=ABSENT.to_message())
        assert await code_of(client.cas.GetTree(request)) == NOT_FOUND

    async def test_CAS13_CAS15_an_absent_descendant_is_left_out_and_each_comes_once(
        self, client: RawClient, storage: Storage
    ) -> None:
        tree = Tree()
        leaf = tree.add(["leaf"])
        left = tree.add(["left"], a=leaf, b=leaf)
        right = tree.add(["right"], a=leaf, gone=ABSENT)
        root = tree.add([], left=left, right=right)
        await storage.blobs.write_many(tree.blobs)
        (page,) = await self.tree_of(client, root)
        assert list(page.directories) == [tree.directory(d) for d in (root, left, right, leaf)]
        assert page.next_page_token == ""

    async def test_CAS14_pages_follow_each_other_in_one_stream(
        self, client: RawClient, storage: Storage
    ) -> None:
        tree = Tree()
        children = {f"d{number:02}": tree.add([f"file{number}"]) for number in range(10)}
        root = tree.add([], **children)
        await storage.blobs.write_many(tree.blobs)
        pages = await self.tree_of(client, root, page_size=3)
        assert [len(page.directories) for page in pages] == [3, 3, 3, 2]
        assert [page.next_page_token != "" for page in pages] == [True, True, True, False]
        for index, page in enumerate(pages[:-1]):
            rest = await self.tree_of(client, root, page_size=3, page_token=page.next_page_token)
            assert rest == pages[index + 1 :]

    @pytest.mark.parametrize("token", ["x", str(ABSENT), "0", "1/2/3", "\0"])
    async def test_reliability_B20_CAS15_a_forged_token_is_invalid(
        self, client: RawClient, storage: Storage, token: str
    ) -> None:
        tree = Tree()
        root = tree.add(["file"])
        await storage.blobs.write_many(tree.blobs)
        request = re_pb2.GetTreeRequest(root_digest=root.to_message(), page_token=token)
        assert await code_of(client.cas.GetTree(request)) == INVALID

    async def test_CAS15_a_negative_page_size_is_invalid(self, client: RawClient) -> None:
        request = re_pb2.GetTreeRequest(root_digest=ABSENT.to_message(), page_size=-1)
        assert await code_of(client.cas.GetTree(request)) == INVALID

    @pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0", "n" * 256])
    async def test_reliability_B12_CAS15_unsafe_directories_are_invalid(
        self, client: RawClient, storage: Storage, name: str
    ) -> None:
        tree = Tree()
        root = tree.add([name])
        await storage.blobs.write_many(tree.blobs)
        request = re_pb2.GetTreeRequest(root_digest=root.to_message())
        assert await code_of(client.cas.GetTree(request)) == INVALID

    async def test_reliability_B12_CAS15_bytes_that_are_no_directory_are_invalid(
        self, client: RawClient
    ) -> None:
        await update(client, b"\xff\xff\xff")
        request = re_pb2.GetTreeRequest(root_digest=digest_of(b"\xff\xff\xff").to_message())
        assert await code_of(client.cas.GetTree(request)) == INVALID

    async def test_reliability_B12_CAS15_a_tree_of_endless_levels_is_refused(
        self, client: RawClient, storage: Storage
    ) -> None:
        tree = Tree()
        root = tree.add(["leaf"])
        for _ in range(3000):
            root = tree.add([], d=root)
        await storage.blobs.write_many(tree.blobs)
        request = re_pb2.GetTreeRequest(root_digest=root.to_message())
        assert await code_of(client.cas.GetTree(request)) == INVALID

    async def test_reliability_B13_CAS15_many_paths_to_few_directories_stay_few(
        self, client: RawClient, storage: Storage
    ) -> None:
        """2**30 paths, 31 directories."""
        tree = Tree()
        root = tree.add(["leaf"])
        for _ in range(30):
            root = tree.add([], a=root, b=root)
        await storage.blobs.write_many(tree.blobs)
        (page,) = await self.tree_of(client, root)
        assert len(page.directories) == 31

    async def test_CAS15_messages_stay_below_4_MiB(
        self, client: RawClient, storage: Storage
    ) -> None:
        tree = Tree()
        children = {
            f"d{number}": tree.add([f"{number}-{entry}-{'x' * 200}" for entry in range(1000)])
            for number in range(20)
        }
        root = tree.add([], **children)
        await storage.blobs.write_many(tree.blobs)
        pages = await self.tree_of(client, root)
        assert sum(len(page.directories) for page in pages) == 21
        assert max(page.ByteSize() for page in pages) < 4 << 20
