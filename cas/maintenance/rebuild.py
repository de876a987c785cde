"""Makes the index anew from bytes alone: from objects with their names, and inline blobs."""

from functools import partial

from reapi.cas.objects.interface import NoObject, ObjectInfo, ObjectStore
from reapi.cas.objects.names import parse_object_name
from reapi.cas.presence import Presence
from reapi.cas.state.interface import BlobIndex, Entry, NewObject
from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest, digest_of, function_of_number

from .findings import Advance, Findings

_OBJECTS_AT_ONCE = 4


class Rebuilder:
    """Forgets all rows and adds one for each blob whose bytes are right; alone in the storage.

    Every blob is promised anew, since nobody knows any more when it was used. Owners are forgotten.
    Damaged objects are put into quarantine; further objects of a blob are deleted.
    """

    def __init__(self, index: BlobIndex, objects: ObjectStore, presence: Presence) -> None:
        self._index = index
        self._objects = objects
        self._presence = presence
        self.findings = Findings()

    async def run(self, advance: Advance) -> None:
        """Counts bytes. If it is interrupted, start it again."""
        await self._index.clear()
        await self._adopt_inline(advance)
        async for infos in self._objects.list():
            digests = await map_bounded(
                partial(self._check_object, advance=advance), infos, at_once=_OBJECTS_AT_ONCE
            )
            good = [
                (info.name, digest, suffix)
                for info, found in zip(infos, digests, strict=True)
                if found is not None
                for digest, suffix in (found,)
            ]
            await self._add_objects(good)

    async def _adopt_inline(self, advance: Advance) -> None:
        stamp = self._presence.stamp()
        async for blobs in self._index.inline_blobs():
            entries = {}
            for blob in blobs:
                function = function_of_number(blob.function)
                digest = digest_of(blob.data, function)
                entries[digest.key] = Entry(
                    digest.key, digest.size_bytes, stamp, blob.inline_id, ""
                )
                self.findings.verified.add(digest.size_bytes)
                advance(digest.size_bytes)
            await self._index.adopt_inline(list(entries.values()), self._presence.now(), "")

    async def _check_object(self, info: ObjectInfo, advance: Advance) -> tuple[Digest, str] | None:
        """Digest and suffix, if the bytes are those of the name."""
        parsed = parse_object_name(info.name)
        if parsed is None:
            return None
        digest, suffix = parsed
        hasher = digest.function.new()
        read_bytes = 0
        try:
            reader = await self._objects.open(info.name, 0, digest.size_bytes)
            async for chunk in reader.chunks(hasher):
                read_bytes += len(chunk)
        except NoObject:
            return None
        advance(info.size_bytes)
        if read_bytes == digest.size_bytes and hasher.hexdigest() == digest.hash:
            self.findings.verified.add(digest.size_bytes)
            return digest, suffix
        self.findings.damaged.add(info.size_bytes, digest)
        await self._objects.quarantine(info.name)
        return None

    async def _add_objects(self, objects: list[tuple[str, Digest, str]]) -> None:
        """Of several objects of one blob, the first one is kept."""
        fresh = {digest.key: (name, digest, suffix) for name, digest, suffix in reversed(objects)}
        rows = [
            NewObject(digest.key, digest.size_bytes, suffix) for _, digest, suffix in fresh.values()
        ]
        stamp, now = self._presence.stamp(), self._presence.now()
        present = set(await self._index.add_objects(rows, stamp, now, ""))
        kept = {name for key, (name, _, _) in fresh.items() if key not in present}
        redundant = {name: digest for name, digest, _ in objects if name not in kept}
        for name, digest in redundant.items():
            self.findings.orphaned.add(digest.size_bytes, name)
        await self._objects.delete(list(redundant))
