"""Uploads what the server does not have: messages in memory and files on disk."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence

from reapi.core.digest import Digest
from reapi.core.errors import FailedPrecondition, InvalidArgument

from .batches import SURE_BATCH_BYTES, cut_batches
from .blobs import RemoteBlobStore
from .bytestream import CHUNK_BYTES, OpenAt
from .concurrency import map_bounded
from .model import Progress
from .progress import OnProgress, TransferMeter

_LARGEST_BATCHED_BYTES = 256 << 10
_BATCHES_AT_ONCE = 8
_STREAMS_AT_ONCE = 4


async def upload(
    store: RemoteBlobStore,
    blobs: Mapping[Digest, bytes],
    files: Mapping[Digest, str],
    on_progress: OnProgress | None = None,
) -> Progress:
    """Uploads the absent ones of `blobs` and `files` (paths by digest); returns what that was.

    Raises FailedPrecondition when a file is no longer what its digest says.
    """
    missing = await store.find_missing([*blobs, *files])
    return await _Upload(store, blobs, files, missing, on_progress).run()


def file_source(path: str) -> OpenAt:
    """The content of a file from an offset on; every read is a hop to a thread."""

    async def open_at(offset: int) -> AsyncGenerator[bytes, None]:
        file = await asyncio.to_thread(open, path, "rb", buffering=0)
        try:
            file.seek(offset)
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    return open_at


class _Upload:
    """One upload of blobs that are known to be missing."""

    def __init__(
        self,
        store: RemoteBlobStore,
        blobs: Mapping[Digest, bytes],
        files: Mapping[Digest, str],
        missing: Sequence[Digest],
        on_progress: OnProgress | None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._files = files
        self._missing = missing
        self._meter = TransferMeter(missing, on_progress)

    async def run(self) -> Progress:
        small = [d for d in self._missing if d.size_bytes <= _LARGEST_BATCHED_BYTES]
        large = [d for d in self._missing if d.size_bytes > _LARGEST_BATCHED_BYTES]
        await map_bounded(
            self._upload_batch, cut_batches(small, SURE_BATCH_BYTES), at_once=_BATCHES_AT_ONCE
        )
        await map_bounded(self._upload_large, large, at_once=_STREAMS_AT_ONCE)
        return self._meter.progress

    async def _upload_batch(self, digests: Sequence[Digest]) -> None:
        contents = {digest: self._blobs[digest] for digest in digests if digest in self._blobs}
        paths = {digest: self._files[digest] for digest in digests if digest not in contents}
        if paths:
            contents |= await asyncio.to_thread(_read_files, paths)
        for digest, error in (await self._store.write_many(contents)).items():
            if isinstance(error, InvalidArgument) and digest in paths:
                raise _changed(paths[digest]) from error
            raise error
        self._meter.advance(digests)

    async def _upload_large(self, digest: Digest) -> None:
        if digest in self._blobs:
            for error in (await self._store.write_many({digest: self._blobs[digest]})).values():
                raise error
        else:
            path = self._files[digest]
            try:
                await self._store.write_from(digest, file_source(path))
            except (InvalidArgument, OSError) as error:
                raise _changed(path) from error
        self._meter.advance((digest,))


def _read_files(paths: Mapping[Digest, str]) -> dict[Digest, bytes]:
    contents = {}
    for digest, path in paths.items():
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read(digest.size_bytes + 1)
        except OSError as error:
            raise _changed(path) from error
        if len(data) != digest.size_bytes:
            raise _changed(path)
        contents[digest] = data
    return contents


def _changed(path: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{os.path.relpath(path)} changed while it was being uploaded: try again"
    )
