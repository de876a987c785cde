"""Objects that no row of the index names: room that nobody can use."""

from collections.abc import AsyncIterator, Sequence

from reapi.cas.objects.interface import ObjectInfo, ObjectStore
from reapi.cas.objects.names import parse_object_name
from reapi.cas.state.interface import BlobIndex


async def find_orphans(
    index: BlobIndex, objects: ObjectStore, *, written_before: float
) -> AsyncIterator[Sequence[ObjectInfo]]:
    """In batches, which may be empty. Younger objects are left out: their rows may be on their way.

    `written_before` is in seconds since 1970, by the clock of the object store.
    """
    async for infos in objects.list():
        named = {}
        for info in infos:
            parsed = parse_object_name(info.name)
            if parsed is not None and info.modified < written_before:
                named[info] = parsed
        rows = await index.find([digest.key for digest, _ in named.values()])
        yield [
            info
            for info, (digest, suffix) in named.items()
            if digest.key not in rows
            or rows[digest.key].inline_id is not None
            or rows[digest.key].suffix != suffix
        ]
