"""ContentAddressableStorage (conformance 1.4)."""

from collections.abc import AsyncGenerator, Callable

from reapi.core.digest import parse_digest
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore, Call
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .batch_read import BatchReader
from .batch_update import BatchUpdater
from .chunk_records import ChunkRecords
from .find_missing import MissingBlobsFinder
from .splice_blob import BlobSplicer
from .split_blob import BlobSplitter
from .tree_pages import tree_pages

_SERVICE = re_pb2.DESCRIPTOR.services_by_name["ContentAddressableStorage"]


class CasService:
    """Batches, trees and chunks over a BlobStore; `blobs_for` gives that of an instance."""

    def __init__(
        self,
        blobs: BlobStore,
        blobs_for: Callable[[str], BlobStore],
        finder: MissingBlobsFinder,
        instances: Instances,
        chunk_records: ChunkRecords,
    ) -> None:
        self._blobs = blobs
        self._finder = finder
        self._updater = BatchUpdater(blobs_for, instances)
        self._reader = BatchReader(blobs, instances)
        self._instances = instances
        self._splitter = BlobSplitter(blobs, blobs_for, chunk_records, instances)
        self._splicer = BlobSplicer(blobs, blobs_for, chunk_records, instances)

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE,
            {
                "FindMissingBlobs": self.find_missing_blobs,
                "BatchUpdateBlobs": self.batch_update_blobs,
                "BatchReadBlobs": self.batch_read_blobs,
                "GetTree": self.get_tree,
                "SplitBlob": self.split_blob,
                "SpliceBlob": self.splice_blob,
            },
            raw_requests=frozenset({"FindMissingBlobs", "BatchReadBlobs"}),
            at_once=("FindMissingBlobs",),
        )

    async def find_missing_blobs(self, request: bytes, call: Call) -> bytes:
        """Which blobs are absent; the others stay for the retention time (CAS1, CAS2)."""
        return await self._finder.find(request)

    async def batch_update_blobs(
        self, request: re_pb2.BatchUpdateBlobsRequest, call: Call
    ) -> bytes:
        """Stores small blobs, each with a status of its own (CAS4 to CAS8)."""
        return await self._updater.update(request)

    async def batch_read_blobs(self, request: bytes, call: Call) -> bytes:
        """Small blobs, each distinct one once with its status (CAS9 to CAS12)."""
        return await self._reader.read(request)

    async def split_blob(self, request: re_pb2.SplitBlobRequest, call: Call) -> bytes:
        """The chunks of a blob (CAS16)."""
        return await self._splitter.split(request)

    async def splice_blob(
        self, request: re_pb2.SpliceBlobRequest, call: Call
    ) -> re_pb2.SpliceBlobResponse:
        """A blob of chunks (CAS17, CAS18)."""
        return await self._splicer.splice(request)

    async def get_tree(
        self, request: re_pb2.GetTreeRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """All directories of a tree, page by page in one stream (CAS13 to CAS15)."""
        function = self._instances.parse_function(
            request.instance_name, request.digest_function, len(request.root_digest.hash)
        )
        if request.page_size < 0:
            raise InvalidArgument(f"page_size {request.page_size} is negative")
        root = parse_digest(request.root_digest, function)
        pages = tree_pages(
            self._blobs, root, page_size=request.page_size, page_token=request.page_token
        )
        async for page in pages:
            yield page
