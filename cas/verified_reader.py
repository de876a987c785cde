"""Reads objects, and hashes those that somebody else may have changed."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing

from reapi.core.digest import Digest

from .objects.compressed import ENDING, CompressedObjects
from .objects.interface import NoObject, ObjectReader
from .objects.names import object_name

_VERIFIED_OBJECTS = 50_000


def is_frame(suffix: str) -> bool:
    """Whether an object with this suffix is a zstd frame."""
    return suffix.endswith(ENDING)


class DamagedObject(Exception):
    """The object is not what its name says, or not there."""


class VerifiedReader:
    """Chunks of objects. One with the stamp of a verified one is not hashed again."""

    def __init__(self, objects: CompressedObjects) -> None:
        self._objects = objects
        self._verified: OrderedDict[str, Hashable] = OrderedDict()

    def trust(self, name: str, stamp: Hashable | None) -> None:
        """The object with this stamp was verified just now."""
        if stamp is None:
            return
        self._verified[name] = stamp
        self._verified.move_to_end(name)
        if len(self._verified) > _VERIFIED_OBJECTS:
            self._verified.popitem(last=False)

    async def read(
        self, digest: Digest, suffix: str, offset: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` to `end`; DamagedObject comes before the last of them."""
        if offset >= end:
            return
        name = object_name(digest, suffix)
        reader = await self._open(name, offset, end)
        is_verified = self._verified.get(name) == reader.stamp
        if not is_verified and end - offset < digest.size_bytes:
            await self._verify(digest, name)
            reader = await self._open(name, offset, end)
            is_verified = self._verified.get(name) == reader.stamp
            if not is_verified:
                raise DamagedObject(name)  # changed under our eyes
        chunks = self._chunks(digest, name, reader, end - offset, is_verified)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def read_frame(self, digest: Digest, suffix: str) -> AsyncGenerator[bytes, None]:
        """The blob in the zstd frame in which it is stored; DamagedObject comes before its end.

        `is_frame` must be true of the suffix.
        """
        name = object_name(digest, suffix)
        try:
            reader = await self._objects.open_compressed(name)
        except NoObject as error:
            raise DamagedObject(name) from error
        assert reader is not None
        stamp = reader.stamp
        # A frame without its end may hold all of the blob: reading that says nothing of the frame.
        whole_frame = f"{name} as a frame"
        is_verified = self._verified.get(whole_frame) == stamp
        hasher = None if is_verified else digest.function.new()
        held = b""
        async with aclosing(reader.chunks(hasher)) as chunks:
            async for chunk in chunks:
                if held:
                    yield held
                held = chunk
        if hasher is not None:
            if hasher.hexdigest() != digest.hash:
                raise DamagedObject(name)
            if reader.stamp == stamp:
                self.trust(whole_frame, stamp)
        yield held

    async def _open(self, name: str, offset: int, end: int) -> ObjectReader:
        try:
            return await self._objects.open(name, offset, end)
        except NoObject as error:
            raise DamagedObject(name) from error

    async def _verify(self, digest: Digest, name: str) -> None:
        """Hashes all of an object of which only a part is wanted."""
        reader = await self._open(name, 0, digest.size_bytes)
        async for _ in self._chunks(digest, name, reader, digest.size_bytes, False):
            continue

    async def _chunks(
        self, digest: Digest, name: str, reader: ObjectReader, size_bytes: int, is_verified: bool
    ) -> AsyncGenerator[bytes, None]:
        stamp = reader.stamp
        hasher = None if is_verified else digest.function.new()
        missing_bytes = size_bytes
        async with aclosing(reader.chunks(hasher)) as chunks:
            async for chunk in chunks:
                missing_bytes -= len(chunk)
                if missing_bytes == 0 and hasher is not None:
                    if hasher.hexdigest() != digest.hash:
                        raise DamagedObject(name)
                    if reader.stamp == stamp:
                        self.trust(name, stamp)
                yield chunk
        if missing_bytes:
            raise DamagedObject(name)
