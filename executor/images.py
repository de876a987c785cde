"""Images staged on this machine, each once for all slots, for as long as there is room."""

import asyncio
import logging
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from reapi.core.digest import Digest
from reapi.core.interfaces import BlobStore
from reapi.core.uninterrupted import uninterrupted

from .image import load_image, mountable
from .input_tree import InputTrees
from .local_cache import LocalCache
from .sandbox import INPUT_ROOT, TEMPORARY
from .staged_tree import StagedTree
from .trash import Trash

_LOG = logging.getLogger(__name__)
_MOUNTED = ("dev", "proc", TEMPORARY.strip("/"), INPUT_ROOT.strip("/"))
_MOST_NODES = 3_000_000
"""Files and directories of all images that nobody uses now; a file system has only so many."""


class _Image:
    """One image; `users` counts those who wait for it or run in it."""

    def __init__(self, digest: Digest, directory: Path, cache: LocalCache) -> None:
        self.digest = digest
        self._directory = directory
        trash = directory / "trash"
        directory.mkdir(mode=0o711)
        directory.chmod(0o711)
        trash.mkdir(mode=0o700)
        self.tree = StagedTree(str(directory / "root"), None, cache, Trash(trash))
        self.users = 0
        self.nodes = 0
        self.staging: asyncio.Task[None] | None = None
        self.damaged_count = -1
        """Of the cache when the image was staged: it may hold damaged files after a change."""

    async def remove(self) -> None:
        await self.tree.remove()
        shutil.rmtree(self._directory)


class Images:
    """Keeps images in `directory`, hard-linked from `cache`, whose bound they count to.

    No image may be written to: it is mounted read-only, and where the executor is root its
    directories belong to root. For tasks of one event loop; an async context manager, whose end
    cancels what is being staged.
    """

    def __init__(self, directory: Path, trees: InputTrees, cache: LocalCache) -> None:
        self._directory = directory
        self._trees = trees
        self._cache = cache
        self._images: OrderedDict[Digest, _Image] = OrderedDict()
        self._made = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [image.staging for image in self._images.values() if image.staging is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def use(self, digest: Digest, store: BlobStore) -> AsyncIterator[str]:
        """The directory that holds the image of the Tree `digest`, until the context ends.

        An image is staged once however many wait for it, and goes on being staged when one of
        them stops waiting. Raises BlobsMissing naming all that `store` does not have, and what
        InputTrees.load and StagedTree.stage do.
        """
        image = self._images.get(digest) or self._add(digest)
        self._images.move_to_end(digest)
        image.users += 1
        try:
            while image.damaged_count != self._cache.damaged_count:
                if image.staging is None:
                    image.staging = asyncio.create_task(self._stage(image, store))
                    image.staging.add_done_callback(_seen)
                staging = image.staging
                await asyncio.wait((staging,))
                staging.result()
            yield image.tree.path
        finally:
            image.users -= 1
            await self._remove_failed(image)

    @property
    def has_too_much(self) -> bool:
        """Whether there is more than there should be."""
        unused = sum(image.nodes for image in self._images.values() if not image.users)
        return bool(self._images) and (self._cache.is_full or unused > _MOST_NODES)

    async def trim(self) -> None:
        """Removes images that nobody uses, least recently used first, while there are too many."""
        while self.has_too_much:
            unused = (i for i in self._images.values() if not i.users and i.staging is None)
            image = next(unused, None)
            if image is None:
                return
            await self._remove(image)

    def _add(self, digest: Digest) -> _Image:
        self._made += 1
        directory = self._directory / str(self._made)
        image = self._images[digest] = _Image(digest, directory, self._cache)
        return image

    async def _stage(self, image: _Image, store: BlobStore) -> None:
        damaged_count = self._cache.damaged_count
        try:
            root = await load_image(image.digest, self._trees, store, self._cache)
            directory = mountable(root, _MOUNTED, image.digest.function)
            await image.tree.stage(directory, {}, store)
            image.nodes = directory.nodes
            image.damaged_count = damaged_count
            _LOG.info("image %s is staged: %d files and directories", image.digest, image.nodes)
        finally:
            image.staging = None
            await self._remove_failed(image)

    async def _remove_failed(self, image: _Image) -> None:
        """An image that could not be staged is forgotten when nobody waits for it any more."""
        if image.damaged_count < 0 and not image.users and image.staging is None:
            await self._remove(image)

    async def _remove(self, image: _Image) -> None:
        if self._images.get(image.digest) is image:
            del self._images[image.digest]
            await uninterrupted(image.remove())


def _seen(staging: asyncio.Task[None]) -> None:
    if not staging.cancelled():
        staging.exception()  # those who wait have seen it; there may be none of them
