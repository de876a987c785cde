"""Compares the index with the bytes, all of them, and repairs the index.

What does not hash to its digest is found, whichever bit of it was changed; what is not there, too.
"""

from functools import partial

from reapi.cas.blob_store import is_content
from reapi.cas.closure import unpack_closure
from reapi.cas.objects.interface import NoObject, ObjectStore
from reapi.cas.objects.names import object_name
from reapi.cas.quarantine import Quarantine
from reapi.cas.state.interface import BlobIndex, Entry, ResultQuery, ResultTable
from reapi.clients.concurrency import map_bounded
from reapi.core.digest import digest_of_key

from .findings import Advance, Findings

_OBJECTS_AT_ONCE = 4
_RESULTS_PER_STEP = 100


class Verifier:
    """Reads every blob once. With `repair`, damaged and missing blobs leave the index and results
    that need them the action cache; without, nothing is changed.

    May run while others use the storage, if the state allows that.
    """

    def __init__(
        self,
        index: BlobIndex,
        objects: ObjectStore,
        results: ResultTable,
        quarantine: Quarantine,
        *,
        repair: bool,
    ) -> None:
        self._index = index
        self._objects = objects
        self._results = results
        self._quarantine = quarantine
        self._repair = repair
        self.findings = Findings()

    async def verify_blobs(self, advance: Advance) -> None:
        """Every row of the index against its bytes; counts bytes."""
        async for rows in self._index.rows():
            inline = [row for row in rows if row.inline_id is not None]
            await self._verify_inline(inline, advance)
            objects = [row for row in rows if row.inline_id is None]
            await map_bounded(
                partial(self._verify_object, advance=advance), objects, at_once=_OBJECTS_AT_ONCE
            )

    async def _verify_inline(self, rows: list[Entry], advance: Advance) -> None:
        stored = await self._index.read_inline([row.inline_id or 0 for row in rows])
        for row in rows:
            data = stored.get(row.inline_id or 0)
            is_good = data is not None and is_content(data, digest_of_key(row.key, row.size))
            await self._note(row, is_good=is_good, is_there=data is not None)
            advance(row.size)

    async def _verify_object(self, row: Entry, advance: Advance) -> None:
        digest = digest_of_key(row.key, row.size)
        hasher = digest.function.new()
        read_bytes = 0
        is_there = True
        try:
            reader = await self._objects.open(object_name(digest, row.suffix), 0, row.size)
            async for chunk in reader.chunks(hasher):
                read_bytes += len(chunk)
                advance(len(chunk))
        except NoObject:
            is_there = False
        advance(row.size - read_bytes)
        is_good = is_there and read_bytes == row.size and hasher.hexdigest() == digest.hash
        await self._note(row, is_good=is_good, is_there=is_there)

    async def _note(self, row: Entry, *, is_good: bool, is_there: bool) -> None:
        digest = digest_of_key(row.key, row.size)
        if is_good:
            self.findings.verified.add(row.size)
            return
        if self._repair:
            is_bad = await self._quarantine.take(digest, row)
        else:
            is_bad = (await self._index.find([row.key])).get(row.key) == row
        if is_bad:  # else it was evicted or uploaded again while we looked
            kind = self.findings.damaged if is_there else self.findings.missing
            kind.add(row.size, digest)

    async def verify_results(self, advance: Advance) -> None:
        """Every action result against the index; counts results. After `verify_blobs`."""
        after = b""
        while rows := await self._results.select(ResultQuery(), after, _RESULTS_PER_STEP):
            for key, row in rows:
                closure = unpack_closure(row.closure)
                present = await self._index.find([digest.key for digest in closure])
                if any(digest.key not in present for digest in closure):
                    name = f"{row.instance_name}:{key[1:33].hex()}"
                    self.findings.incomplete_results.add(len(row.action_result), name)
                    if self._repair:
                        await self._results.remove(key, row)
                advance(1)
            after = rows[-1][0]
