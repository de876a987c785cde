"""Downloads files, trees and outputs: each blob once, verified, to all the places that want it."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from reapi.core.digest import Digest
from reapi.core.errors import NotFound

from .batches import SURE_BATCH_BYTES, cut_batches
from .blobs import RemoteBlobStore
from .concurrency import map_bounded
from .destination import Destination
from .model import Progress
from .progress import OnProgress, TransferMeter
from .remote_tree import Entries, FileEntry

_LARGEST_BATCHED_BYTES = 256 << 10
_BATCHES_AT_ONCE = 4
_STREAMS_AT_ONCE = 4


async def download(
    store: RemoteBlobStore, entries: Entries, target: Path, on_progress: OnProgress | None = None
) -> Progress:
    """Makes `entries` below the directory `target`, over what is there; returns what came.

    Raises NotFound when a blob is not on the server, FailedPrecondition when something on the
    local disk is in the way. What was complete by then stays.
    """
    return await _Download(store, entries, target, on_progress).run()


class _Download:
    def __init__(
        self,
        store: RemoteBlobStore,
        entries: Entries,
        target: Path,
        on_progress: OnProgress | None,
    ) -> None:
        self._store = store
        self._entries = entries
        self._target = target
        self._destination = Destination(target)
        self._wanted: dict[Digest, list[FileEntry]] = {}
        for file in entries.files:
            self._wanted.setdefault(file.digest, []).append(file)
        self._meter = TransferMeter(self._wanted, on_progress)

    async def run(self) -> Progress:
        await asyncio.to_thread(self._make_directories)
        small = [d for d in self._wanted if d.size_bytes <= _LARGEST_BATCHED_BYTES]
        large = [d for d in self._wanted if d.size_bytes > _LARGEST_BATCHED_BYTES]
        batches = cut_batches(small, SURE_BATCH_BYTES)
        await map_bounded(self._download_batch, batches, at_once=_BATCHES_AT_ONCE)
        await map_bounded(self._download_large, large, at_once=_STREAMS_AT_ONCE)
        # Last, so that nothing that came with them could have been written through them.
        await asyncio.to_thread(self._make_symlinks)
        return self._meter.progress

    def _make_directories(self) -> None:
        for path in ("", *self._entries.directories):
            self._destination.make_directory(path)

    def _make_symlinks(self) -> None:
        for path, target in self._entries.symlinks.items():
            self._destination.make_symlink(path, target)

    async def _download_batch(self, digests: Sequence[Digest]) -> None:
        blobs = await self._store.read_many(digests)
        for digest in digests:
            if digest not in blobs:
                raise NotFound(
                    f"{self._wanted[digest][0].path}: blob {digest} is not on the server"
                )
        await asyncio.to_thread(self._write, blobs)
        self._meter.advance(digests)

    def _write(self, blobs: Mapping[Digest, bytes]) -> None:
        for digest, data in blobs.items():
            for entry in self._wanted[digest]:
                with self._destination.new_file(
                    entry.path, is_executable=entry.is_executable
                ) as file:
                    file.write(data)

    async def _download_large(self, digest: Digest) -> None:
        first, *others = self._wanted[digest]
        with self._destination.new_file(first.path, is_executable=first.is_executable) as file:
            async with aclosing(self._store.read(digest)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        for other in others:
            await asyncio.to_thread(self._copy, first.path, other)
        self._meter.advance((digest,))

    def _copy(self, path: str, entry: FileEntry) -> None:
        with (
            open(self._target / path, "rb") as source,
            self._destination.new_file(entry.path, is_executable=entry.is_executable) as file,
        ):
            shutil.copyfileobj(source, file, 1 << 20)
