"""One object on its way to the disk."""

import asyncio
import logging
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from reapi.core.digest import Hasher
from reapi.core.errors import Unavailable

from .disk_errors import disk_error, has_inodes, no_inodes
from .disk_stamp import Stamp, stamp_of
from .incoming_file import IncomingFile
from .page_cache import RecentFiles

logger = logging.getLogger(__name__)


class Volume:
    """The directory of files that are not whole yet, and how much a write there is worth.

    Once the disk has failed while syncing, nothing is written any more: what the kernel has dropped
    cannot be synced again (reliability D3).
    """

    def __init__(self, incoming: Path, survives_power_loss: bool) -> None:
        self.incoming = incoming
        self.survives_power_loss = survives_power_loss
        self._failed = False

    def check(self) -> None:
        """Raises Unavailable when the disk has failed."""
        if self._failed:
            raise Unavailable("the disk of the store failed while syncing; see the server's log")

    def sync(self, descriptor: int) -> None:
        """Blocks until the content of the file is on the disk, if that is wanted."""
        if not self.survives_power_loss:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._failed = True
            logger.critical("cannot sync %s: %s; writes are refused", self.incoming, error)
            raise Unavailable("the disk of the store failed while syncing") from error

    def sync_directory(self, path: Path) -> None:
        """The names in `path` are on the disk as well, if that is wanted. Blocks."""
        if not self.survives_power_loss:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def probe(self, published: Path) -> None:
        """Writes a file, renames it into the directory `published` and deletes it.

        Raises ReapiError when that fails. Blocks.
        """
        self.check()
        if not has_inodes(self.incoming):
            raise no_inodes()
        path = self.incoming / f"probe-{secrets.token_hex(8)}"
        try:
            try:
                path.write_bytes(b"probe")
                path = path.rename(published / path.name)
            finally:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error


class DiskWriter:
    """See ObjectWriter. The file is created by the first write.

    A large one becomes one of the `recent` files when it is published.
    """

    def __init__(
        self,
        volume: Volume,
        path: Path,
        suffix: str,
        threads: Executor,
        recent: RecentFiles | None,
    ) -> None:
        self.suffix = suffix
        self._volume = volume
        self._path = path
        self._incoming = volume.incoming / path.name
        self._recent = recent
        self._threads = threads
        self._file: IncomingFile | None = None

    async def write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        """See ObjectWriter."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._write, chunks, hasher)

    def _write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        self._volume.check()
        try:
            if self._file is None:
                leaves_cache = self._recent is not None
                self._file = IncomingFile(self._incoming, leaves_cache=leaves_cache)
            for chunk in chunks:
                hasher.update(chunk)
                self._file.write(chunk)
        except OSError as error:
            raise disk_error(error, self._incoming) from error

    async def publish(self) -> Stamp:
        """See ObjectWriter."""
        if self._recent is None and not self._volume.survives_power_loss:
            return self._publish()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._publish)

    def _publish(self) -> Stamp:
        assert self._file is not None
        self._volume.check()
        self._volume.sync(self._file.descriptor)
        try:
            try:
                self._incoming.rename(self._path)
            except FileNotFoundError:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._volume.sync_directory(self._path.parent.parent)
                self._incoming.rename(self._path)
            stamp = stamp_of(os.fstat(self._file.descriptor))
            self._volume.sync_directory(self._path.parent)
        except OSError as error:
            raise disk_error(error, self._path) from error
        self._close()
        if self._recent is not None:
            self._recent.add(self._path, stamp.size_bytes)
        return stamp

    async def discard(self) -> None:
        """See ObjectWriter."""
        if self._file is not None:
            self._close()
            self._incoming.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
