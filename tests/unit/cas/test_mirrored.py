"""Two stores that hold the same: what happens when one lacks a blob, damages it, or is down."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.stores.metrics import MirrorMetrics
from reapi.cas.stores.mirrored import MirroredStore
from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from tests.fakes.memory_store import MemoryBlobStore

DOWN = Unavailable("down")
LARGE = random.Random(2).randbytes(3_000_000)
CONTENTS = [b"%d" % number for number in range(8)]
ABSENT = Digest("0" * 64, 3)


class Mirror:
    """A mirrored store and its two sides."""

    def __init__(self) -> None:
        self.sides = self.first, self.second = MemoryBlobStore(), MemoryBlobStore()
        self.registry = CollectorRegistry()
        self.store = MirroredStore(*self.sides, MirrorMetrics(self.registry))

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"reapi_mirror_{name}_total")

    def add(self, data: bytes) -> Digest:
        self.first.add(data)
        return self.second.add(data)

    def preferred(self, digest: Digest) -> tuple[MemoryBlobStore, MemoryBlobStore]:
        """The side that is read first, and the other."""
        sides = self.sides
        return sides if self.store._sides(digest)[0] is self.first else (sides[1], sides[0])

    async def repaired(self) -> float | None:
        """How many blobs were copied, once the repairs are over that were started."""
        await asyncio.gather(*self.store._repairs._started)
        return self.count("repairs")


@pytest.fixture
async def mirror() -> AsyncIterator[Mirror]:
    made = Mirror()
    async with made.store:
        yield made


@pytest.fixture(params=[0, 1])
def side(request: pytest.FixtureRequest, mirror: Mirror) -> MemoryBlobStore:
    """Either of the two."""
    return mirror.sides[request.param]


async def read(mirror: Mirror, digest: Digest, **options: int) -> bytes:
    return b"".join([chunk async for chunk in mirror.store.read(digest, **options)])


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


class TestWrites:
    @pytest.mark.parametrize("data", [b"small", LARGE])
    async def test_a_blob_is_written_to_both_sides(self, mirror: Mirror, data: bytes) -> None:
        digest = MemoryBlobStore().add(data)
        await mirror.store.write(digest, chunks(data))
        assert mirror.first.blobs == mirror.second.blobs == {digest: data}

    async def test_a_write_fails_when_one_side_cannot_take_it(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        side.write_error = ResourceExhausted("full")
        digest = MemoryBlobStore().add(LARGE)
        with pytest.raises(ResourceExhausted):
            await mirror.store.write(digest, chunks(LARGE))
        assert await mirror.store.write_many({digest: LARGE}) == {digest: side.write_error}

    async def test_one_bad_blob_fails_alone(self, mirror: Mirror) -> None:
        good = MemoryBlobStore().add(b"good")
        failures = await mirror.store.write_many({good: b"good", ABSENT: b"bad"})
        assert list(failures) == [ABSENT]
        assert isinstance(failures[ABSENT], InvalidArgument)


class TestFindMissing:
    async def test_what_one_side_lacks_is_copied_before_it_is_present(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        digests = [mirror.add(data) for data in (LARGE, *CONTENTS)]
        for digest in digests[::2]:
            del side.blobs[digest]
        assert await mirror.store.find_missing([ABSENT, *digests]) == [ABSENT]
        assert mirror.first.blobs == mirror.second.blobs
        assert mirror.count("repairs") == 5

    async def test_what_cannot_be_copied_is_missing(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        digests = [mirror.add(data) for data in (LARGE, *CONTENTS)]
        del side.blobs[digests[0]], side.blobs[digests[1]]
        side.write_error = ResourceExhausted("full")
        assert await mirror.store.find_missing(digests) == digests[:2]
        assert mirror.count("repair_failures") == 2

    async def test_what_is_damaged_on_its_only_side_is_missing(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        digests = [side.add(data) for data in (LARGE, *CONTENTS)]
        for digest in digests[:2]:
            side.damage(digest)
        assert await mirror.store.find_missing(digests) == digests[:2]
        assert digests[0] not in mirror.first.blobs.keys() | mirror.second.blobs.keys()

    async def test_nothing_is_promised_while_a_side_is_down(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        digest = mirror.add(b"data")
        side.error = DOWN
        with pytest.raises(Unavailable):
            await mirror.store.find_missing([digest])

    async def test_questions_at_once_repair_once(self, mirror: Mirror) -> None:
        digest = mirror.first.add(LARGE)
        answers = [mirror.store.find_missing([digest]) for _ in range(8)]
        assert await asyncio.gather(*answers) == [[]] * 8
        # As many as batches at once may have begun before the first was done.
        assert mirror.first.call_counts["read"] <= 4


class TestReads:
    async def test_both_sides_are_read_from(self, mirror: Mirror) -> None:
        for data in CONTENTS:
            await read(mirror, mirror.add(data))
        assert min(side.call_counts["read"] for side in mirror.sides) >= 2
        assert sum(side.call_counts["read"] for side in mirror.sides) == len(CONTENTS)

    @pytest.mark.parametrize("data", [b"small", LARGE])
    @pytest.mark.parametrize("options", [{}, {"offset": 2, "limit": 1_500_000}])
    async def test_what_is_absent_on_one_side_is_read_and_repaired(
        self, mirror: Mirror, data: bytes, options: dict[str, int]
    ) -> None:
        digest = mirror.add(data)
        preferred, _ = mirror.preferred(digest)
        del preferred.blobs[digest]
        offset = options.get("offset", 0)
        wanted = data[offset : offset + options.get("limit", len(data))]
        assert await read(mirror, digest, **options) == wanted
        assert await mirror.repaired() == 1
        assert preferred.blobs == {digest: data}

    async def test_what_is_damaged_on_one_side_is_read_and_repaired(self, mirror: Mirror) -> None:
        digest = mirror.add(LARGE)
        preferred, _ = mirror.preferred(digest)
        preferred.damage(digest)
        assert await read(mirror, digest) == LARGE
        assert await mirror.repaired() == 1
        assert preferred.blobs == {digest: LARGE}

    async def test_damage_that_was_given_out_is_never_completed(self, mirror: Mirror) -> None:
        digest = mirror.add(LARGE)
        mirror.preferred(digest)[0].damage(digest, 0)
        with pytest.raises(DataLoss):
            await read(mirror, digest)
        assert await read(mirror, digest) == LARGE

    async def test_reads_in_bulk_find_what_either_side_has(self, mirror: Mirror) -> None:
        blobs = {mirror.add(data): data for data in CONTENTS}
        lost = [digest for digest in blobs if mirror.preferred(digest)[0] is mirror.first]
        for digest in lost:
            del mirror.first.blobs[digest]
        assert await mirror.store.read_many([ABSENT, *blobs]) == blobs
        assert await mirror.repaired() == len(lost)
        assert mirror.first.blobs == mirror.second.blobs == blobs

    async def test_reads_go_on_while_a_side_is_down(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        blobs = {mirror.add(data): data for data in (LARGE, *CONTENTS)}
        side.error = DOWN
        assert await mirror.store.read_many(list(blobs)) == blobs
        for digest, data in blobs.items():
            assert await read(mirror, digest) == data
        assert mirror.count("repairs") == mirror.count("repair_failures") == 0

    async def test_what_may_be_on_the_side_that_is_down_is_not_called_absent(
        self, mirror: Mirror, side: MemoryBlobStore
    ) -> None:
        side.error = DOWN
        with pytest.raises(Unavailable):
            await read(mirror, ABSENT)
        with pytest.raises(Unavailable):
            await mirror.store.read_many([ABSENT])

    async def test_what_both_sides_lack_is_not_found(self, mirror: Mirror) -> None:
        with pytest.raises(NotFound):
            await read(mirror, ABSENT)
        assert await mirror.store.read_many([ABSENT]) == {}
        assert mirror.count("repair_failures") == 0
