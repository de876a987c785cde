"""Uploads what the server does not have: messages in memory and files on disk."""

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Mapping, Sequence

from reapi.core.digest import Digest
from reapi.core.errors import FailedPrecondition, InvalidArgument

from .batches import SURE_BATCH_BYTES, cut_batches
from .blobs import RemoteBlobStore
from .bytestream import CHUNK_BYTES, OpenAt
from .concurrency import map_bounded
from .file_section import FileSection
from .model import Progress
from .progress import OnProgress, TransferMeter

_LARGEST_BATCHED_BYTES = 256 << 10
_BATCHES_AT_ONCE = 8
_STREAMS_AT_ONCE = 4

FileSource = str | FileSection
"""The path of a file, or a part of one that is open."""


async def upload(
    store: RemoteBlobStore,
    blobs: Mapping[Digest, bytes],
    files: Mapping[Digest, FileSource],
    on_progress: OnProgress | None = None,
) -> Progress:
    """Uploads the absent ones of `blobs` and `files`; returns what that was.

    Raises FailedPrecondition when a file is no longer what its digest says.
    """
    missing = await store.find_missing([*blobs, *files])
    return await _Upload(store, blobs, files, missing, on_progress).run()


def file_source(source: FileSource) -> OpenAt:
    """The content of a file from an offset on; every read is a hop to a thread."""

    async def open_at(offset: int) -> AsyncGenerator[bytes, None]:
        file = await asyncio.to_thread(_open, source)
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
        files: Mapping[Digest, FileSource],
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
        files = {digest: self._files[digest] for digest in digests if digest not in contents}
        if files:
            contents |= await asyncio.to_thread(_read_files, files)
        for digest, error in (await self._store.write_many(contents)).items():
            if isinstance(error, InvalidArgument) and digest in files:
                raise _changed(files[digest]) from error
            raise error
        self._meter.advance(digests)

    async def _upload_large(self, digest: Digest) -> None:
        if digest in self._blobs:
            for error in (await self._store.write_many({digest: self._blobs[digest]})).values():
                raise error
        else:
            source = self._files[digest]
            try:
                await self._store.write_from(digest, file_source(source))
            except (InvalidArgument, OSError) as error:
                raise _changed(source) from error
        self._meter.advance((digest,))


def _open(source: FileSource) -> io.RawIOBase:
    return source.open() if isinstance(source, FileSection) else open(source, "rb", buffering=0)


def _read_files(sources: Mapping[Digest, FileSource]) -> dict[Digest, bytes]:
    contents = {}
    for digest, source in sources.items():
        try:
            with _open(source) as file:
                data = file.read(digest.size_bytes + 1)
        except OSError as error:
            raise _changed(source) from error
        if data is None or len(data) != digest.size_bytes:
            raise _changed(source)
        contents[digest] = data
    return contents


def _changed(source: FileSource) -> FailedPrecondition:
    name = source.name if isinstance(source, FileSection) else os.path.relpath(source)
    return FailedPrecondition(f"{name} changed while it was being uploaded: try again")
